//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package netx

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt is one write that does not wait. It holds what its callback works on, so that this is bound once.
type attempt struct {
	b        []byte
	n        int
	err      error
	onSocket func(fd uintptr) bool
}

// write writes what the socket takes at once, and returns how many bytes that were.
func (a *attempt) write(raw syscall.RawConn, b []byte) (int, error) {
	if a.onSocket == nil {
		a.onSocket = a.toSocket
	}
	a.b, a.n, a.err = b, 0, nil
	closed := raw.Write(a.onSocket)
	a.b = nil
	if closed != nil {
		return 0, closed
	}
	return a.n, a.err
}

func (a *attempt) toSocket(fd uintptr) (done bool) {
	for {
		n, err := unix.Write(int(fd), a.b)
		switch err {
		case nil:
			a.n = n
		case unix.EINTR:
			continue
		case unix.EAGAIN:
		default:
			a.err = err
		}
		return true
	}
}
