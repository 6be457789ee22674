package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

func TestOS_PreallocateTakesSpace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := vfs.OS().OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 20
	if err := f.Preallocate(0, size); err != nil {
		t.Fatal(err)
	}
	allocated := func() int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != 0 {
			t.Errorf("size is %d; want 0", info.Size())
		}
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	if got := allocated(); got == 0 {
		t.Skip("this file system has no fallocate")
	} else if got < size {
		t.Errorf("%d bytes are allocated; want %d", got, size)
	}
	if err := f.Preallocate(size, 2*size); err != nil {
		t.Fatal(err)
	}
	if got := allocated(); got < 2*size {
		t.Errorf("%d bytes are allocated; want %d", got, 2*size)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if got := allocated(); got >= size {
		t.Errorf("%d bytes are allocated after a truncation to the size it had", got)
	}
}

// A lock holds against another process, and ends when that process is killed.
func TestOS_LockDiesWithItsProcess(t *testing.T) {
	const env = "VFS_TEST_LOCK"
	if name := os.Getenv(env); name != "" { // the child
		if _, err := vfs.OS().Lock(name); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
		os.Exit(0)
	}
	name := filepath.Join(t.TempDir(), ".lock")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOS_LockDiesWithItsProcess$")
	child.Env = append(os.Environ(), env+"="+name)
	if _, err := child.StdinPipe(); err != nil { // which stays open
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "locked\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if _, err := vfs.OS().Lock(name); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("Lock beside another process = %v; want ErrLocked", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // "signal: killed"
	lock, err := vfs.OS().Lock(name)
	if err != nil {
		t.Fatalf("Lock after kill -9 of its holder: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
