//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package vfs

import (
	"os"
	"syscall"
)

// lockFile takes flock(2), which belongs to the open file: a second open in this process is refused too.
func lockFile(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if callErr = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB); callErr != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case callErr == syscall.EWOULDBLOCK:
		return ErrLocked
	}
	return callErr
}
