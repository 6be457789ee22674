//go:build !linux

package vfs

import (
	"errors"
	"os"
	"runtime"
)

func datasync(f *os.File) error { return f.Sync() }

// preallocate does nothing: these platforms cannot reserve space and keep the size.
func preallocate(*os.File, int64, int64) error { return nil }

// syncDir flushes the directory. Windows has no such call; its journal orders what it does.
func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if runtime.GOOS == "windows" {
		return nil
	}
	return d.Sync()
}

// bootID says that it cannot tell, so that every start counts as one after a power loss.
func bootID() (string, error) { return "", errors.ErrUnsupported }
