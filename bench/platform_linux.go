package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// profileSignal begins and ends a CPU profile of walser.
const profileSignal = syscall.SIGUSR1

// childAttr keeps Ctrl-C in the terminal from the child, which is ended in order, and lets the kernel end it
// where this program dies without a chance to.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// dropCache writes the files below dir back and throws them out of the page cache. It needs no privilege.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil { // a dirty page cannot be dropped
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

func freeBytes(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("look at the space in %s: %w", dir, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// fileSystem names the file system that holds dir: the mount with the longest path above it.
func fileSystem(dir string) string {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	best, name := "", "unknown"
	for line := range strings.Lines(string(mounts)) {
		words := strings.Fields(line) // device, path, type, options
		if len(words) < 3 {
			continue
		}
		above := words[1] == "/" || dir == words[1] || strings.HasPrefix(dir, words[1]+"/")
		if above && len(words[1]) >= len(best) {
			best, name = words[1], words[2]+" on "+words[0]
		}
	}
	return name
}
