//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestProfileOnSignal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cpu.pprof")
	profileOnSignal(file)
	for range 2 { // one after the other
		signal := func() {
			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		}
		signal()
		await(t, file+".part") // it has begun
		if _, err := os.Stat(file); err == nil {
			t.Error("the profile is there before it has ended")
		}
		signal()
		await(t, file)
		if text, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
			t.Errorf("%d bytes, %v: not compressed with gzip, as a profile is", len(text), err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

func await(t *testing.T, file string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if _, err := os.Stat(file); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come", file)
		}
		<-time.After(time.Millisecond)
	}
}
