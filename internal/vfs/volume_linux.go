package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/walser-io/walser/internal/xsync"
)

// linuxVolume syncs by syncfs(2). Its directory stays open: a descriptor learns of each write that failed
// behind its back once, and one that was opened for the occasion might learn of none.
type linuxVolume struct {
	dir     *os.File
	meminfo *os.File
	mu      struct {
		xsync.Mutex
		text [4096]byte // of meminfo
	}
}

// openVolume refuses whatever is not ext4 on a kernel that says which writes failed. Other file systems may be as
// good, but ext4's code was read: its sync_fs commits the journal and flushes the disk's cache even where the
// journal has nothing to commit.
func openVolume(dir string) (Volume, error) {
	if !reportsFailedWrites() {
		return nil, fmt.Errorf("%w: the kernel is older than 5.8", errors.ErrUnsupported)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if kind, err := fileSystemOf(d); err != nil || kind != "ext4" {
		return nil, errors.Join(fmt.Errorf("%w: the file system is %q", errors.ErrUnsupported, kind), err, d.Close())
	}
	meminfo, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errors.ErrUnsupported, err), d.Close())
	}
	return &linuxVolume{dir: d, meminfo: meminfo}, nil
}

// reportsFailedWrites says whether syncfs returns errors of writes that were made in the background: since 5.8.
func reportsFailedWrites() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 5 || major == 5 && minor >= 8
}

// fileSystemOf returns the type of the file system that holds f: statfs says the same of ext2 and ext4.
func fileSystemOf(f *os.File) (string, error) {
	var st unix.Stat_t
	if err := control(f, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range strings.Lines(string(mounts)) {
		mount, kind, _ := strings.Cut(line, " - ") // proc_pid_mountinfo(5)
		if words := strings.Fields(mount); len(words) > 2 && words[2] == device {
			kind, _, _ = strings.Cut(kind, " ")
			return kind, nil
		}
	}
	return "", nil
}

func (v *linuxVolume) Sync() error {
	if err := control(v.dir, unix.Syncfs); err != nil {
		return &os.PathError{Op: "syncfs", Path: v.dir.Name(), Err: err}
	}
	return nil
}

// Unwritten returns the dirty bytes of the whole page cache, with those that are being written.
func (v *linuxVolume) Unwritten() (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, err := v.meminfo.ReadAt(v.mu.text[:], 0)
	if n == 0 {
		return 0, err
	}
	dirty, ok := kibOf(v.mu.text[:n], "\nDirty:")
	writing, ok2 := kibOf(v.mu.text[:n], "\nWriteback:")
	if !ok || !ok2 {
		return 0, fmt.Errorf("%s does not say what is dirty", v.meminfo.Name())
	}
	return (dirty + writing) << 10, nil
}

// kibOf returns the number behind a name in meminfo, whose unit is KiB.
func kibOf(text []byte, name string) (int64, bool) {
	at := bytes.Index(text, []byte(name))
	if at < 0 {
		return 0, false
	}
	value, _, _ := bytes.Cut(bytes.TrimLeft(text[at+len(name):], " "), []byte(" "))
	n, err := strconv.ParseInt(string(value), 10, 64)
	return n, err == nil
}

func (v *linuxVolume) Close() error { return errors.Join(v.dir.Close(), v.meminfo.Close()) }
