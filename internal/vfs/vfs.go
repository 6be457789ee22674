// Package vfs is the port to disk: everything that Walser stores goes through an FS.
//
// Three implementations stand behind it. OS is the real one. Mem is a file system in memory that knows
// what a page cache is: Crash gives the files as a power loss could have left them. Faulty wraps another
// and injects errors, short writes and syncs that do nothing. All pass the suite in vfstest, and callers
// may rely on what that suite checks and on nothing else.
//
// What is durable when (the strictest reading of POSIX; Mem holds callers to it):
//   - File.Sync makes the data and the size of that file durable, not the name under which it was created.
//   - Volume.Sync does that for all files of a file system.
//   - FS.SyncDir makes the creations, renames and removals in that one directory durable, not the data of
//     the files in it, and not the name of the directory itself, which its parent holds.
//   - A rename is one operation: after a crash it has happened or it has not. Across two directories each
//     needs its SyncDir, the destination first.
//   - Without a sync anything may survive in part, and in any order.
//
// How a test uses this: run the code on NewFaulty(NewMem(seed), decide). In decide, CrashClone gives the
// disk as a power loss before each single operation would leave it; open that and check that what was
// acknowledged is there. Then take Faulty.Syncs, run once more per entry with DropSyncs taking out that
// one, and expect some seed to turn red: a sync that no seed misses is not needed, or not tested.
//
// Errors satisfy errors.Is for fs.ErrNotExist, fs.ErrExist, fs.ErrClosed, fs.ErrPermission and
// syscall.ENOSPC. Nothing here retries a failed sync, and no caller may: the kernel reports a lost write
// once. Names are paths of the platform. File times decide nothing.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked is returned by FS.Lock where another process, or another holder in this one, has the lock.
var ErrLocked = errors.New("the lock is held by another process")

// FS is a file system. Its methods may be called from any goroutine.
type FS interface {
	// OpenFile opens a file with the os.O_* flags. os.O_APPEND is refused, since files are written at
	// explicit offsets only.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Remove removes a file or an empty directory. Open files live on without a name.
	Remove(name string) error
	// RemoveAll removes name and all below it. A name that does not exist is no error.
	RemoveAll(name string) error
	// Rename gives a file or directory a new name, replacing a file that has it. It does not replace a
	// directory.
	Rename(oldname, newname string) error
	// MkdirAll makes dir and the parents it lacks.
	MkdirAll(dir string, perm fs.FileMode) error
	// ReadDir lists dir, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock of a file, which it creates where it is missing. It does not wait:
	// ErrLocked when held. The lock ends with Close or with the process; the file stays.
	Lock(name string) (io.Closer, error)
	// Usage measures the file system that holds dir.
	Usage(dir string) (Usage, error)
	// OpenVolume opens the file system that holds dir, to sync all of it at once. errors.ErrUnsupported where
	// that is not known to promise as much as a File.Sync of each file.
	OpenVolume(dir string) (Volume, error)
	// BootID names the lifetime of the page cache: as long as it is the same, written data is there even
	// if it was never synced. errors.ErrUnsupported where the platform cannot tell; the caller then takes
	// every start for one after a power loss.
	BootID() (string, error)
}

// File is an open file. ReadAt and WriteAt may be called from any goroutine; other methods too, but a
// Truncate that runs beside a WriteAt leaves either result.
type File interface {
	io.ReaderAt
	// WriteAt writes at an offset. On an error the first n bytes may have been written.
	io.WriterAt
	// Close releases the descriptor and syncs nothing. A second Close returns fs.ErrClosed.
	io.Closer
	// Size returns the size in bytes.
	Size() (int64, error)
	// Truncate sets the size. What it adds reads as zeros.
	Truncate(size int64) error
	// Sync makes data and size durable, as fdatasync does. After an error the file's unsynced data must
	// be taken for lost; a second Sync proves nothing.
	Sync() error
	// Preallocate asks for the space between two offsets without changing Size; a Truncate gives back what lies beyond its
	// size. It does not fail where the platform or file system cannot; it does where there is no space.
	Preallocate(from, to int64) error
	// Name returns the name the file was opened by.
	Name() string
}

// Volume is a whole file system. Its methods may be called from any goroutine.
type Volume interface {
	// Sync does what File.Sync does for every file on it, whoever wrote to it, and no more: callers may not rely
	// on what it does for names. After an error all unsynced data must be taken for lost.
	Sync() error
	// Unwritten returns about how many bytes Sync would write, or more: where that is not known of one file
	// system, those of all.
	Unwritten() (int64, error)
	// Close releases it and syncs nothing.
	io.Closer
}

// Usage is the space of a file system, in bytes.
type Usage struct {
	TotalBytes int64
	FreeBytes  int64 // free to this process: without what is reserved for root
}

// ReadFile returns the whole content of a file.
func ReadFile(fsys FS, name string) (data []byte, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data = make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil // it became shorter since Size
	}
	return data[:n], err
}

// SyncPath makes the name of the directory dir durable, and those of the directories above it, which MkdirAll
// may have made too: in this process, or in one that was killed before it came to the sync. It ends where
// nobody but the administrator makes any: at a directory that cannot be opened or synced by right.
func SyncPath(fsys FS, dir string) error {
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		err := fsys.SyncDir(parent)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TempSuffix is what WriteFileAtomic adds to a name while it writes. A file that bears it after a start
// was never complete and may be removed.
const TempSuffix = ".tmp"

// WriteFileAtomic replaces the content of a file so that after a crash it is the old or the new one, and
// so that after a nil return it is the new one: ReplaceFile, SyncDir. Callers serialise writes of one name.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	if err := ReplaceFile(fsys, name, data); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ReplaceFile replaces the content of a file so that after a crash it is the old or the new one: write to
// name+TempSuffix, Sync, Rename. It is the new one for good after the caller's SyncDir.
func ReplaceFile(fsys FS, name string, data []byte) error {
	tmp := name + TempSuffix
	if err := writeSynced(fsys, tmp, data); err != nil {
		// The first error says what happened; a leftover is harmless, the next write truncates it.
		_ = fsys.Remove(tmp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte) (err error) {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	// Sync before the rename: a journal may commit the new name before the data it names.
	return f.Sync()
}
