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
	if err := f.Preallocate(size); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 0 {
		t.Errorf("size is %d; want 0", info.Size())
	}
	if got := info.Sys().(*syscall.Stat_t).Blocks * 512; got == 0 {
		t.Skip("this file system has no fallocate")
	} else if got < size {
		t.Errorf("%d bytes are allocated; want %d", got, size)
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
