package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

func usage(dir string) (Usage, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Usage{}, &os.PathError{Op: "usage", Path: dir, Err: err}
	}
	var free, total, totalFree uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, &totalFree); err != nil {
		return Usage{}, &os.PathError{Op: "usage", Path: dir, Err: err}
	}
	return Usage{TotalBytes: int64(total), FreeBytes: int64(free)}, nil
}
