package vfs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/vfs/vfstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Run("os", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
	})
	mem := func(t *testing.T) (vfs.FS, string) {
		m := vfs.NewMem(1)
		if err := m.MkdirAll("/data", 0o755); err != nil {
			t.Fatal(err)
		}
		return m, "/data"
	}
	t.Run("mem", func(t *testing.T) { vfstest.Run(t, mem) })
	t.Run("faulty_without_faults", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			m, dir := mem(t)
			return vfs.NewFaulty(m, nil), dir
		})
	})
	// A crash with all luck and a killed process leave a file system that works like a new one.
	t.Run("mem_after_crash", func(t *testing.T) {
		vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
			m, dir := mem(t)
			return m.(*vfs.Mem).Crash(vfs.CrashOptions{UnsyncedDataPercent: 100}).KillProcess(), dir
		})
	})
}

func TestOS_FileHasDescriptor(t *testing.T) {
	f, err := vfs.OS().OpenFile(filepath.Join(t.TempDir(), "f"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conn, ok := f.(syscall.Conn)
	if !ok {
		t.Fatal("a file of the real file system has no SyscallConn")
	}
	if _, err := conn.SyscallConn(); err != nil {
		t.Fatal(err)
	}
}
