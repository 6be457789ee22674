package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

func TestWriteFileAtomic(t *testing.T) {
	fsys := vfs.OS()
	name := filepath.Join(t.TempDir(), "meta")
	for _, want := range []string{"first", "", "second, longer"} {
		if err := vfs.WriteFileAtomic(fsys, name, []byte(want)); err != nil {
			t.Fatal(err)
		}
		got, err := vfs.ReadFile(fsys, name)
		if err != nil || string(got) != want {
			t.Fatalf("ReadFile = %q, %v; want %q", got, err, want)
		}
		if _, err := fsys.Stat(name + vfs.TempSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the temporary file is still there: %v", err)
		}
	}
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
