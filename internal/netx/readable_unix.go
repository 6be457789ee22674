//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package netx

import (
	"net"

	"golang.org/x/sys/unix"
)

// waitReadable peeks before it waits: the poller reports edges, and bytes that came before this call
// make none.
func waitReadable(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var b [1]byte
	return raw.Read(func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch err {
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				return true
			}
		}
	})
}
