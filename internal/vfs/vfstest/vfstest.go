// Package vfstest is the suite that every vfs.FS passes: what callers may rely on, and nothing that only
// one implementation does. DroppedSyncs holds against its callers: it looks for syncs that they do not need.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/walser-io/walser/internal/vfs"
)

// Run checks a file system. open returns it and an empty directory in it, for each test anew.
func Run(t *testing.T, open func(t *testing.T) (vfs.FS, string)) {
	tests := []struct {
		name string
		run  func(*env)
	}{
		{"open_flags", testOpenFlags},
		{"access_mode", testAccessMode},
		{"read_at_end", testReadAtEnd},
		{"write_leaves_holes", testHoles},
		{"truncate_zeroes", testTruncate},
		{"preallocate_keeps_size", testPreallocate},
		{"closed_file", testClosed},
		{"negative_offsets", testNegative},
		{"remove", testRemove},
		{"remove_open_file", testRemoveOpen},
		{"remove_all", testRemoveAll},
		{"rename", testRename},
		{"rename_replaces_open_file", testRenameOpen},
		{"rename_directory", testRenameDir},
		{"mkdir_all", testMkdirAll},
		{"read_dir_sorted", testReadDir},
		{"stat", testStat},
		{"not_a_directory", testNotADirectory},
		{"sync", testSync},
		{"volume", testVolume},
		{"lock", testLock},
		{"usage", testUsage},
		{"boot_id", testBootID},
		{"concurrent", testConcurrent},
		{"write_file_atomic", testWriteFileAtomic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, dir := open(t)
			test.run(&env{T: t, fs: fsys, dir: dir})
		})
	}
}

// env is one test's file system and directory.
type env struct {
	*testing.T
	fs  vfs.FS
	dir string
}

func (e *env) path(elems ...string) string {
	return filepath.Join(append([]string{e.dir}, elems...)...)
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) is(err, target error) {
	e.Helper()
	if !errors.Is(err, target) {
		e.Fatalf("error is %v; want %v", err, target)
	}
}

func (e *env) open(name string, flag int) vfs.File {
	e.Helper()
	f, err := e.fs.OpenFile(e.path(name), flag, 0o644)
	e.ok(err)
	e.Cleanup(func() { _ = f.Close() })
	return f
}

func (e *env) create(name, content string) {
	e.Helper()
	f, err := e.fs.OpenFile(e.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	e.ok(err)
	e.write(f, content, 0)
	e.ok(f.Close())
}

func (e *env) write(f vfs.File, content string, off int64) {
	e.Helper()
	n, err := f.WriteAt([]byte(content), off)
	if n != len(content) || err != nil {
		e.Fatalf("WriteAt(%d) = %d, %v; want %d", off, n, err, len(content))
	}
}

func (e *env) size(f vfs.File, want int64) {
	e.Helper()
	if got, err := f.Size(); got != want || err != nil {
		e.Fatalf("Size = %d, %v; want %d", got, err, want)
	}
}

func (e *env) content(name, want string) {
	e.Helper()
	got, err := vfs.ReadFile(e.fs, e.path(name))
	if string(got) != want || err != nil {
		e.Fatalf("content of %s = %q, %v; want %q", name, got, err, want)
	}
}

func (e *env) names(dir string, want ...string) {
	e.Helper()
	list, err := e.fs.ReadDir(e.path(dir))
	e.ok(err)
	var got []string
	for _, entry := range list {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		e.Fatalf("entries of %q = %q; want %q", dir, got, want)
	}
}

func testOpenFlags(e *env) {
	_, err := e.fs.OpenFile(e.path("f"), os.O_RDWR, 0o644)
	e.is(err, fs.ErrNotExist)
	_, err = e.fs.OpenFile(e.path("none", "f"), os.O_RDWR|os.O_CREATE, 0o644)
	e.is(err, fs.ErrNotExist)
	_, err = e.fs.OpenFile(e.path("f"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		e.Fatal("O_APPEND was accepted")
	}
	e.names("")

	f := e.open("f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if f.Name() != e.path("f") {
		e.Fatalf("Name = %q; want %q", f.Name(), e.path("f"))
	}
	e.write(f, "hello", 0)
	_, err = e.fs.OpenFile(e.path("f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	e.is(err, fs.ErrExist)

	e.size(e.open("f", os.O_RDWR|os.O_CREATE), 5)
	e.size(e.open("f", os.O_RDWR|os.O_CREATE|os.O_TRUNC), 0)
	e.size(f, 0) // handles share the file

	e.ok(e.fs.MkdirAll(e.path("d"), 0o755))
	if _, err = e.fs.OpenFile(e.path("d"), os.O_RDWR, 0o644); err == nil {
		e.Fatal("a directory was opened for writing")
	}
}

func testAccessMode(e *env) {
	e.create("f", "hello")
	if _, err := e.open("f", os.O_RDONLY).WriteAt([]byte("x"), 0); err == nil {
		e.Fatal("wrote to a file opened for reading")
	}
	if err := e.open("f", os.O_RDONLY).Truncate(0); err == nil {
		e.Fatal("truncated a file opened for reading")
	}
	if _, err := e.open("f", os.O_WRONLY).ReadAt(make([]byte, 1), 0); err == nil {
		e.Fatal("read from a file opened for writing")
	}
	e.content("f", "hello")
}

func testReadAtEnd(e *env) {
	e.create("f", "hello")
	f := e.open("f", os.O_RDONLY)
	for _, c := range []struct {
		off  int64
		len  int
		want string
		err  error
	}{
		{0, 5, "hello", nil},
		{1, 3, "ell", nil},
		{3, 5, "lo", io.EOF},
		{5, 1, "", io.EOF},
		{1 << 40, 1, "", io.EOF},
		{0, 0, "", nil},
	} {
		buf := make([]byte, c.len)
		n, err := f.ReadAt(buf, c.off)
		if string(buf[:n]) != c.want || !errors.Is(err, c.err) {
			e.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", c.len, c.off, buf[:n], err, c.want, c.err)
		}
	}
}

func testHoles(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.write(f, "tail", 10_000)
	e.size(f, 10_004)
	e.write(f, "mid", 4095) // over a block's border
	got := make([]byte, 10_004)
	_, err := f.ReadAt(got, 0)
	e.ok(err)
	want := make([]byte, 10_004)
	copy(want[4095:], "mid")
	copy(want[10_000:], "tail")
	if !bytes.Equal(got, want) {
		e.Fatal("what was never written does not read as zeros")
	}
}

func testTruncate(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.write(f, string(bytes.Repeat([]byte("x"), 9000)), 0)
	e.ok(f.Truncate(4100))
	e.size(f, 4100)
	e.ok(f.Truncate(9000))
	e.size(f, 9000)
	got := make([]byte, 9000)
	_, err := f.ReadAt(got, 0)
	e.ok(err)
	want := append(bytes.Repeat([]byte("x"), 4100), make([]byte, 4900)...)
	if !bytes.Equal(got, want) {
		e.Fatal("a file that was cut and grown again does not read as zeros past the cut")
	}
	e.ok(f.Truncate(0))
	e.content("f", "")
}

func testPreallocate(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.ok(f.Preallocate(0, 1<<20))
	e.size(f, 0)
	e.write(f, "data", 0)
	e.ok(f.Preallocate(0, 0))
	e.ok(f.Preallocate(1<<20, 2<<20))
	e.ok(f.Truncate(4))
	e.size(f, 4)
	e.content("f", "data")
}

func testClosed(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.ok(f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	e.is(err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	e.is(err, fs.ErrClosed)
	_, err = f.Size()
	e.is(err, fs.ErrClosed)
	e.is(f.Truncate(0), fs.ErrClosed)
	e.is(f.Sync(), fs.ErrClosed)
	e.is(f.Close(), fs.ErrClosed)
}

func testNegative(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		e.Fatalf("ReadAt(-1) = %v", err)
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		e.Fatal("WriteAt(-1) succeeded")
	}
	if err := f.Truncate(-1); err == nil {
		e.Fatal("Truncate(-1) succeeded")
	}
	e.size(f, 0)
}

func testRemove(e *env) {
	e.is(e.fs.Remove(e.path("f")), fs.ErrNotExist)
	e.create("f", "x")
	e.ok(e.fs.Remove(e.path("f")))
	_, err := e.fs.Stat(e.path("f"))
	e.is(err, fs.ErrNotExist)

	e.ok(e.fs.MkdirAll(e.path("d"), 0o755))
	e.create("d/f", "x")
	if err := e.fs.Remove(e.path("d")); err == nil {
		e.Fatal("removed a directory that is not empty")
	}
	e.ok(e.fs.Remove(e.path("d", "f")))
	e.ok(e.fs.Remove(e.path("d")))
	e.names("")
}

func testRemoveOpen(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.write(f, "old", 0)
	e.ok(e.fs.Remove(e.path("f")))
	e.write(f, "er", 3)
	got := make([]byte, 5)
	_, err := f.ReadAt(got, 0)
	e.ok(err)
	if string(got) != "older" {
		e.Fatalf("the removed file reads %q through its handle", got)
	}
	e.create("f", "new") // another file of that name
	e.size(f, 5)
	e.ok(f.Sync())
	e.content("f", "new")
}

func testRemoveAll(e *env) {
	e.ok(e.fs.RemoveAll(e.path("none")))
	e.ok(e.fs.RemoveAll(e.path("none", "none")))
	e.ok(e.fs.MkdirAll(e.path("d", "a", "b"), 0o755))
	e.create("d/f", "x")
	e.create("d/a/b/f", "x")
	e.create("kept", "x")
	e.ok(e.fs.RemoveAll(e.path("d")))
	e.ok(e.fs.RemoveAll(e.path("d")))
	e.names("", "kept")
	e.ok(e.fs.RemoveAll(e.path("kept")))
	e.names("")
}

func testRename(e *env) {
	e.is(e.fs.Rename(e.path("a"), e.path("b")), fs.ErrNotExist)
	e.create("a", "A")
	e.is(e.fs.Rename(e.path("a"), e.path("none", "a")), fs.ErrNotExist)
	e.ok(e.fs.Rename(e.path("a"), e.path("b")))
	e.names("", "b")
	e.create("c", "C")
	e.ok(e.fs.Rename(e.path("b"), e.path("c")))
	e.names("", "c")
	e.content("c", "A")
	e.ok(e.fs.Rename(e.path("c"), e.path("c")))
	e.content("c", "A")
	e.ok(e.fs.MkdirAll(e.path("d"), 0o755))
	e.ok(e.fs.Rename(e.path("c"), e.path("d", "c")))
	e.names("", "d")
	e.content("d/c", "A")
}

func testRenameOpen(e *env) {
	e.create("a", "new")
	e.create("b", "old")
	a, b := e.open("a", os.O_RDWR), e.open("b", os.O_RDONLY)
	e.ok(e.fs.Rename(e.path("a"), e.path("b")))
	e.write(a, "er", 3) // the handle follows the file
	e.content("b", "newer")
	got := make([]byte, 3)
	_, err := b.ReadAt(got, 0)
	e.ok(err)
	if string(got) != "old" {
		e.Fatalf("the replaced file reads %q through its handle", got)
	}
}

func testRenameDir(e *env) {
	e.ok(e.fs.MkdirAll(e.path("d", "sub"), 0o755))
	e.create("d/f", "x")
	f := e.open("d/f", os.O_RDWR)
	if err := e.fs.Rename(e.path("d"), e.path("d", "sub", "d")); err == nil {
		e.Fatal("a directory was moved below itself")
	}
	e.ok(e.fs.Rename(e.path("d"), e.path("d-delete")))
	e.names("", "d-delete")
	e.names("d-delete", "f", "sub")
	e.write(f, "yz", 1)
	e.content("d-delete/f", "xyz")

	e.ok(e.fs.MkdirAll(e.path("other"), 0o755))
	e.is(e.fs.Rename(e.path("d-delete"), e.path("other")), fs.ErrExist)
	e.is(e.fs.Rename(e.path("d-delete", "f"), e.path("other")), fs.ErrExist)
	e.create("file", "x")
	if err := e.fs.Rename(e.path("other"), e.path("file")); err == nil {
		e.Fatal("a directory replaced a file")
	}
	e.content("file", "x")
}

func testMkdirAll(e *env) {
	e.ok(e.fs.MkdirAll(e.path("a", "b", "c"), 0o755))
	e.ok(e.fs.MkdirAll(e.path("a", "b", "c"), 0o755))
	e.ok(e.fs.MkdirAll(e.path("a", "b", "d"), 0o755))
	e.names("a/b", "c", "d")
	e.create("f", "x")
	if err := e.fs.MkdirAll(e.path("f", "g"), 0o755); err == nil {
		e.Fatal("made a directory below a file")
	}
}

func testReadDir(e *env) {
	_, err := e.fs.ReadDir(e.path("none"))
	e.is(err, fs.ErrNotExist)
	for _, name := range []string{"b", "a", "00000000000000000010.log", "00000000000000000002.log", "Z"} {
		e.create(name, name)
	}
	e.ok(e.fs.MkdirAll(e.path("dir"), 0o755))
	e.names("", "00000000000000000002.log", "00000000000000000010.log", "Z", "a", "b", "dir")
	list, err := e.fs.ReadDir(e.path())
	e.ok(err)
	for _, entry := range list {
		info, err := entry.Info()
		e.ok(err)
		isDir := entry.Name() == "dir"
		if entry.IsDir() != isDir || info.IsDir() != isDir || info.Name() != entry.Name() {
			e.Errorf("entry %s: IsDir %t, info %s %t", entry.Name(), entry.IsDir(), info.Name(), info.IsDir())
		}
		if !isDir && info.Size() != int64(len(entry.Name())) {
			e.Errorf("entry %s has size %d", entry.Name(), info.Size())
		}
	}
}

func testStat(e *env) {
	_, err := e.fs.Stat(e.path("f"))
	e.is(err, fs.ErrNotExist)
	e.create("f", "hello")
	info, err := e.fs.Stat(e.path("f"))
	e.ok(err)
	if info.Name() != "f" || info.Size() != 5 || info.IsDir() || !info.Mode().IsRegular() {
		e.Fatalf("Stat = %s %d %v", info.Name(), info.Size(), info.Mode())
	}
	info, err = e.fs.Stat(e.path())
	e.ok(err)
	if !info.IsDir() {
		e.Fatalf("Stat of a directory = %v", info.Mode())
	}
}

func testNotADirectory(e *env) {
	e.create("f", "x")
	for what, err := range map[string]error{
		"open":    second(e.fs.OpenFile(e.path("f", "g"), os.O_RDWR|os.O_CREATE, 0o644)),
		"stat":    second(e.fs.Stat(e.path("f", "g"))),
		"remove":  e.fs.Remove(e.path("f", "g")),
		"readdir": second(e.fs.ReadDir(e.path("f"))),
		"rename":  e.fs.Rename(e.path("f", "g"), e.path("h")),
	} {
		if err == nil {
			e.Errorf("%s below a file succeeded", what)
		}
	}
	e.content("f", "x")
}

func second[T any](_ T, err error) error { return err }

func testSync(e *env) {
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	e.write(f, "hello", 0)
	e.ok(f.Sync())
	e.ok(f.Sync())
	e.ok(e.open("f", os.O_RDONLY).Sync())
	e.ok(e.fs.SyncDir(e.dir))
	e.is(e.fs.SyncDir(e.path("none")), fs.ErrNotExist)
	e.content("f", "hello")
}

func testVolume(e *env) {
	v, err := e.fs.OpenVolume(e.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	e.ok(err)
	e.write(e.open("f", os.O_RDWR|os.O_CREATE), "hello", 0)
	unwritten, err := v.Unwritten()
	e.ok(err)
	if unwritten < int64(len("hello")) {
		e.Errorf("%d bytes are unwritten after a write of 5", unwritten)
	}
	e.ok(v.Sync())
	e.ok(v.Sync())
	e.content("f", "hello")
	e.ok(v.Close())
	e.is(second(e.fs.OpenVolume(e.path("none"))), fs.ErrNotExist)
}

func testLock(e *env) {
	name := e.path(".lock")
	first, err := e.fs.Lock(name)
	e.ok(err)
	_, err = e.fs.Lock(name)
	e.is(err, vfs.ErrLocked)
	e.names("", ".lock")
	other, err := e.fs.Lock(e.path("other"))
	e.ok(err)
	e.ok(other.Close())

	e.ok(first.Close())
	again, err := e.fs.Lock(name)
	e.ok(err)
	e.ok(first.Close()) // closed before: takes nothing from its successor
	_, err = e.fs.Lock(name)
	e.is(err, vfs.ErrLocked)
	e.ok(again.Close())
	e.names("", ".lock", "other")
	_, err = e.fs.Lock(e.path("none", ".lock"))
	e.is(err, fs.ErrNotExist)
}

func testUsage(e *env) {
	usage, err := e.fs.Usage(e.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		e.Skip(err)
	}
	e.ok(err)
	if usage.TotalBytes <= 0 || usage.FreeBytes < 0 || usage.FreeBytes > usage.TotalBytes {
		e.Fatalf("Usage = %+v", usage)
	}
	_, err = e.fs.Usage(e.path("none"))
	e.is(err, syscall.ENOENT)
}

func testBootID(e *env) {
	id, err := e.fs.BootID()
	if errors.Is(err, errors.ErrUnsupported) {
		e.Skip(err)
	}
	e.ok(err)
	again, err := e.fs.BootID()
	if id == "" || id != again || err != nil {
		e.Fatalf("BootID = %q, then %q, %v", id, again, err)
	}
}

// testConcurrent has writers on blocks of their own, readers on all, and other files come and go.
func testConcurrent(e *env) {
	const workers, rounds, span = 4, 50, 3000 // spans share blocks
	f := e.open("f", os.O_RDWR|os.O_CREATE)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			mine := bytes.Repeat([]byte{byte('a' + w)}, span)
			buf := make([]byte, span)
			for range rounds {
				if _, err := f.WriteAt(mine, int64(w*span)); err != nil {
					e.Error(err)
				}
				if _, err := f.ReadAt(buf, int64(w*span)); err != nil || !bytes.Equal(buf, mine) {
					e.Errorf("worker %d does not read what it wrote: %v", w, err)
				}
				if err := errors.Join(f.Sync(), second(f.Size())); err != nil {
					e.Error(err)
				}
			}
		})
		wg.Go(func() {
			name := e.path(string(rune('a' + w)))
			for range rounds {
				err := errors.Join(
					vfs.WriteFileAtomic(e.fs, name, []byte(name)),
					second(e.fs.ReadDir(e.dir)),
					e.fs.Remove(name))
				if err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.size(f, workers*span)
	e.names("", "f")
}

func testWriteFileAtomic(e *env) {
	for _, want := range []string{"first", "", "longer than before"} {
		e.ok(vfs.WriteFileAtomic(e.fs, e.path("meta"), []byte(want)))
		e.content("meta", want)
	}
	e.names("", "meta")
	e.is(vfs.WriteFileAtomic(e.fs, e.path("none", "meta"), nil), fs.ErrNotExist)
	e.ok(e.fs.MkdirAll(e.path("dir"), 0o755))
	if err := vfs.WriteFileAtomic(e.fs, e.path("dir"), []byte("x")); err == nil {
		e.Fatal("a file replaced a directory")
	}
	e.names("", "dir", "meta")
}
