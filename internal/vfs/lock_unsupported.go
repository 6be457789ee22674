//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package vfs

import (
	"errors"
	"os"
)

// lockFile refuses rather than pretends: two brokers in one directory destroy it.
func lockFile(*os.File) error { return errors.ErrUnsupported }
