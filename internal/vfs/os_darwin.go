package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func usage(dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Usage{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	size := int64(st.Bsize)
	return Usage{TotalBytes: int64(st.Blocks) * size, FreeBytes: int64(st.Bavail) * size}, nil
}
