package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
)

// OS returns the file system of the operating system. Its files also have
// SyscallConn() (syscall.RawConn, error), so that netx can send from them without a copy.
func OS() FS { return osFS{} }

type osFS struct{}

var _ FS = osFS{}

// errAppend: with O_APPEND the kernel ignores the offset of a pwrite.
var errAppend = errors.New("O_APPEND is not supported: files are written at explicit offsets")

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errAppend}
	}
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &osFile{f, raw}, nil
}

func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) RemoveAll(name string) error                 { return os.RemoveAll(name) }
func (osFS) Rename(oldname, newname string) error        { return os.Rename(oldname, newname) }
func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Stat(name string) (fs.FileInfo, error)       { return os.Stat(name) }
func (osFS) SyncDir(dir string) error                    { return syncDir(dir) }
func (osFS) Usage(dir string) (Usage, error)             { return usage(dir) }
func (osFS) BootID() (string, error)                     { return bootID() }
func (osFS) OpenVolume(dir string) (Volume, error)       { return openVolume(dir) }

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.Join(err, f.Close())}
	}
	return &osLock{f: f}, nil
}

// osLock holds a lock as long as its descriptor is open.
type osLock struct {
	f      *os.File
	closed atomic.Bool
}

func (l *osLock) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.f.Close()
}

// osFile adds to an os.File what a log needs. It has no position: nothing here reads or writes at one.
type osFile struct {
	f   *os.File
	raw syscall.RawConn // of f, which makes a new one whenever it is asked
}

var _ interface {
	File
	syscall.Conn
} = (*osFile)(nil)

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Close() error                             { return f.f.Close() }
func (f *osFile) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f *osFile) Name() string                             { return f.f.Name() }

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Sync() error {
	if err := datasync(f.f); err != nil {
		return f.pathError("sync", err)
	}
	return nil
}

func (f *osFile) Preallocate(from, to int64) error {
	if err := preallocate(f.f, from, to); err != nil {
		return f.pathError("preallocate", err)
	}
	return nil
}

// SyscallConn gives the raw descriptor, as os.File does.
func (f *osFile) SyscallConn() (syscall.RawConn, error) { return f.raw, nil }

func (f *osFile) pathError(op string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &fs.PathError{Op: op, Path: f.f.Name(), Err: err}
}
