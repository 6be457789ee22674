//go:build unix

package server

import "syscall"

// poller runs a function whenever a connection may be readable, until it says that it is done.
type poller interface {
	Read(f func(fd uintptr) (done bool)) error
	// Control runs a function on the descriptor at once, beside a Read too.
	Control(f func(fd uintptr)) error
}

// newPoller returns the poller of a plain TCP connection, nil for any other: TLS holds a buffer of its
// own, and memory has no descriptor.
func newPoller(raw syscall.RawConn) poller {
	if raw == nil {
		return nil
	}
	return raw
}

// readFD reads what is there. again says that nothing is.
func readFD(fd uintptr, p []byte) (n int, again bool, err error) {
	for {
		n, err = syscall.Read(int(fd), p)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}

// hungUp says, without waiting or taking anything, whether a read would say that the peer has gone. What it
// sent before hides that.
func hungUp(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return n == 0 && err == nil || n < 0 && err != syscall.EAGAIN && err != syscall.EINTR
}
