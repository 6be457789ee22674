//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package netx

import "syscall"

// attempt is one write that does not wait, of nothing here: all is left to one that does.
type attempt struct{}

func (*attempt) write(syscall.RawConn, []byte) (int, error) { return 0, nil }
