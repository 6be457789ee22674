//go:build !unix

package server

import "syscall"

// poller is what no connection has on this platform: a reader waits with a small buffer.
type poller interface {
	Read(f func(fd uintptr) (done bool)) error
	// Control runs a function on the descriptor at once, beside a Read too.
	Control(f func(fd uintptr)) error
}

func newPoller(syscall.RawConn) poller { return nil }

// readFD is not called: there is no poller.
func readFD(uintptr, []byte) (n int, again bool, err error) { panic("unreachable") }

func hungUp(uintptr) bool { panic("unreachable") }
