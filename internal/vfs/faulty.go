package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/walser-io/walser/internal/xsync"
)

// OpKind is a kind of operation on a file system or a file.
type OpKind int8

// The kinds of operations that a Faulty asks about.
const (
	OpOpen   OpKind = iota // of a file that exists or need not be created
	OpCreate               // an open with os.O_CREATE
	OpRemove
	OpRemoveAll
	OpRename
	OpMkdirAll
	OpReadDir
	OpStat
	OpSyncDir
	OpLock
	OpUsage
	OpBootID
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncVolume
	OpPreallocate
	OpSize
	OpClose
	opKinds int = iota
)

var opNames = [opKinds]string{
	"open", "create", "remove", "removeall", "rename", "mkdirall", "readdir", "stat", "syncdir", "lock",
	"usage", "bootid", "read", "write", "truncate", "sync", "syncvolume", "preallocate", "size", "close",
}

// String returns the kind in one word.
func (k OpKind) String() string {
	if k < 0 || int(k) >= opKinds {
		return fmt.Sprintf("op(%d)", int(k))
	}
	return opNames[k]
}

// Op is one operation, before it happens.
type Op struct {
	Kind    OpKind
	Name    string // the file or directory
	NewName string // of a rename
	Offset  int64  // of a read, write or preallocation; the size of a truncation
	Len     int    // bytes of a read, write or preallocation
	Nth     int    // which operation of its kind on this Faulty, from 1
	// SyncNth is which sync this is, of a file, directory or volume, all counted together, from 1; 0 for other kinds.
	SyncNth int
	// Caller is the function and line that asked for a sync, as "storage.(*Log).roll:120", the
	// first outside this package; "" for other kinds.
	Caller string
}

// String returns the operation in one line, as in "sync /data/t-0/0.log by segment.(*Segment).Flush:88".
func (o Op) String() string {
	s := o.Kind.String() + " " + o.Name
	if o.NewName != "" {
		s += " -> " + o.NewName
	}
	if o.Caller != "" {
		s += " by " + o.Caller
	}
	return s
}

// ErrDropped, returned by a decide function, makes a sync report success and do nothing: a
// disk that lies, or a program without that line. For other kinds it is an error like any other.
var ErrDropped = errors.New("dropped")

// PartialError, returned by a decide function for a write or read, lets the first N bytes through.
type PartialError struct {
	N   int
	Err error
}

// Error returns the text of the error that follows the partial operation.
func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap returns that error.
func (e *PartialError) Unwrap() error { return e.Err }

// Faulty is a file system that fails as it is told, and records each sync. It hides the
// descriptors of the one it wraps, so that nothing reads past it.
type Faulty struct {
	inner  FS
	decide func(Op) error
	counts [opKinds]atomic.Int64
	mu     struct {
		xsync.Mutex
		syncs []Op
		drop  func(Op) bool
	}
}

var _ FS = (*Faulty)(nil)

// NewFaulty wraps inner. decide is asked before each operation, from the goroutine that does it and
// without a lock held, so it may also wait: nil lets the operation happen, an error fails it, PartialError
// and ErrDropped do what they say. A nil decide lets everything happen.
func NewFaulty(inner FS, decide func(Op) error) *Faulty {
	if decide == nil {
		decide = func(Op) error { return nil }
	}
	return &Faulty{inner: inner, decide: decide}
}

// DropSyncs makes each sync that match holds for report success and do nothing. A test that
// runs once to learn Syncs, and then once per entry with that entry dropped, shows which syncs are needed.
func (f *Faulty) DropSyncs(match func(Op) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.drop = match
}

// Syncs returns each sync so far, of files, directories and volumes, in the order of the calls, dropped and failed ones too.
func (f *Faulty) Syncs() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mu.syncs)
}

// ask counts an operation and has it decided.
func (f *Faulty) ask(op Op) error {
	op.Nth = int(f.counts[op.Kind].Add(1))
	if op.Kind == OpSync || op.Kind == OpSyncDir || op.Kind == OpSyncVolume {
		op.Caller = caller()
		if f.record(&op) {
			return ErrDropped
		}
	}
	return f.decide(op)
}

// record numbers a sync and says whether DropSyncs wants it dropped.
func (f *Faulty) record(op *Op) bool {
	f.mu.Lock()
	op.SyncNth = len(f.mu.syncs) + 1
	f.mu.syncs = append(f.mu.syncs, *op)
	drop := f.mu.drop
	f.mu.Unlock()
	return drop != nil && drop(*op)
}

func (f *Faulty) askPath(kind OpKind, name string) error {
	if err := f.ask(Op{Kind: kind, Name: name}); err != nil {
		return injected(kind, name, err)
	}
	return nil
}

func injected(kind OpKind, name string, err error) error {
	return &fs.PathError{Op: kind.String(), Path: name, Err: err}
}

// OpenFile opens a file whose operations are decided too.
func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	kind := OpOpen
	if flag&os.O_CREATE != 0 {
		kind = OpCreate
	}
	if err := f.askPath(kind, name); err != nil {
		return nil, err
	}
	inner, err := f.inner.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{fs: f, inner: inner}, nil
}

// Remove is OpRemove.
func (f *Faulty) Remove(name string) error {
	if err := f.askPath(OpRemove, name); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

// RemoveAll is OpRemoveAll.
func (f *Faulty) RemoveAll(name string) error {
	if err := f.askPath(OpRemoveAll, name); err != nil {
		return err
	}
	return f.inner.RemoveAll(name)
}

// Rename is OpRename.
func (f *Faulty) Rename(oldname, newname string) error {
	if err := f.ask(Op{Kind: OpRename, Name: oldname, NewName: newname}); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return f.inner.Rename(oldname, newname)
}

// MkdirAll is OpMkdirAll.
func (f *Faulty) MkdirAll(dir string, perm fs.FileMode) error {
	if err := f.askPath(OpMkdirAll, dir); err != nil {
		return err
	}
	return f.inner.MkdirAll(dir, perm)
}

// ReadDir is OpReadDir.
func (f *Faulty) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.askPath(OpReadDir, dir); err != nil {
		return nil, err
	}
	return f.inner.ReadDir(dir)
}

// Stat is OpStat.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.askPath(OpStat, name); err != nil {
		return nil, err
	}
	return f.inner.Stat(name)
}

// SyncDir is OpSyncDir.
func (f *Faulty) SyncDir(dir string) error {
	if err := f.askPath(OpSyncDir, dir); err != nil {
		return unlessDropped(err)
	}
	return f.inner.SyncDir(dir)
}

// Lock is OpLock.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.askPath(OpLock, name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// Usage is OpUsage.
func (f *Faulty) Usage(dir string) (Usage, error) {
	if err := f.askPath(OpUsage, dir); err != nil {
		return Usage{}, err
	}
	return f.inner.Usage(dir)
}

// OpenVolume returns a volume whose Sync is OpSyncVolume.
func (f *Faulty) OpenVolume(dir string) (Volume, error) {
	inner, err := f.inner.OpenVolume(dir)
	if err != nil {
		return nil, err
	}
	return &faultyVolume{fs: f, Volume: inner, dir: dir}, nil
}

type faultyVolume struct {
	Volume
	fs  *Faulty
	dir string
}

// Sync fails as the Sync of a file does, for all files.
func (v *faultyVolume) Sync() error {
	err := v.fs.askPath(OpSyncVolume, v.dir)
	if err == nil {
		return v.Volume.Sync()
	}
	if err = unlessDropped(err); err != nil && !errors.Is(err, ErrCrashed) {
		v.loseDirty()
	}
	return err
}

// loseDirty passes on what a Faulty around this one asks for.
func (v *faultyVolume) loseDirty() {
	if mem, ok := v.Volume.(interface{ loseDirty() }); ok {
		mem.loseDirty()
	}
}

// BootID is OpBootID.
func (f *Faulty) BootID() (string, error) {
	if err := f.ask(Op{Kind: OpBootID}); err != nil {
		return "", err
	}
	return f.inner.BootID()
}

func unlessDropped(err error) error {
	if errors.Is(err, ErrDropped) {
		return nil
	}
	return err
}

// caller finds the first frame outside this package's code: tests in it count as outside.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		file := filepath.ToSlash(frame.File)
		if !strings.Contains(file, "/internal/vfs/") || strings.HasSuffix(file, "_test.go") {
			name := frame.Function[strings.LastIndexByte(frame.Function, '/')+1:]
			return fmt.Sprintf("%s:%d", name, frame.Line)
		}
		if !more {
			return ""
		}
	}
}

type faultyFile struct {
	fs    *Faulty
	inner File
}

var _ File = (*faultyFile)(nil)

func (f *faultyFile) Name() string { return f.inner.Name() }

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	return f.transfer(OpRead, p, off, f.inner.ReadAt)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(OpWrite, p, off, f.inner.WriteAt)
}

func (f *faultyFile) transfer(kind OpKind, p []byte, off int64, do func([]byte, int64) (int, error)) (int, error) {
	err := f.fs.ask(Op{Kind: kind, Name: f.Name(), Offset: off, Len: len(p)})
	if err == nil {
		return do(p, off)
	}
	n := 0
	if partial, ok := errors.AsType[*PartialError](err); ok {
		var innerErr error
		n, innerErr = do(p[:min(max(0, partial.N), len(p))], off)
		if innerErr != nil {
			return n, innerErr
		}
		err = partial.Err
	}
	return n, injected(kind, f.Name(), err)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.ask(Op{Kind: OpTruncate, Name: f.Name(), Offset: size}); err != nil {
		return injected(OpTruncate, f.Name(), err)
	}
	return f.inner.Truncate(size)
}

// Sync fails the way a kernel does: what was dirty is lost, and a Sync that is tried again succeeds
// without having written it. ErrCrashed is no such failure: the process was gone before it could ask the
// kernel, and what it wrote stays dirty for the process after it.
func (f *faultyFile) Sync() error {
	err := f.fs.askPath(OpSync, f.Name())
	if err == nil {
		return f.inner.Sync()
	}
	if err = unlessDropped(err); err != nil && !errors.Is(err, ErrCrashed) {
		if mem, ok := f.inner.(interface{ loseDirty() }); ok {
			mem.loseDirty()
		}
	}
	return err
}

// loseDirty passes on what a Faulty around this one asks for.
func (f *faultyFile) loseDirty() {
	if mem, ok := f.inner.(interface{ loseDirty() }); ok {
		mem.loseDirty()
	}
}

func (f *faultyFile) Preallocate(from, to int64) error {
	if err := f.fs.ask(Op{Kind: OpPreallocate, Name: f.Name(), Offset: from, Len: int(to - from)}); err != nil {
		return injected(OpPreallocate, f.Name(), err)
	}
	return f.inner.Preallocate(from, to)
}

func (f *faultyFile) Size() (int64, error) {
	if err := f.fs.askPath(OpSize, f.Name()); err != nil {
		return 0, err
	}
	return f.inner.Size()
}

// Close closes the file even where it reports an injected error, as close(2) does.
func (f *faultyFile) Close() error {
	err := f.fs.askPath(OpClose, f.Name())
	return errors.Join(err, f.inner.Close())
}

// FailNth returns a decide function that fails the nth operation of a kind, from 1, and no other.
func FailNth(kind OpKind, n int, err error) func(Op) error {
	return FailWhere(func(op Op) bool { return op.Kind == kind && op.Nth == n }, err)
}

// FailFrom returns a decide function that fails the nth operation of a kind and all later ones.
func FailFrom(kind OpKind, n int, err error) func(Op) error {
	return FailWhere(func(op Op) bool { return op.Kind == kind && op.Nth >= n }, err)
}

// FailWhere returns a decide function that fails the operations that match holds for.
func FailWhere(match func(Op) bool, err error) func(Op) error {
	return func(op Op) error {
		if match(op) {
			return err
		}
		return nil
	}
}

// OnPath returns a match for operations of a kind on names whose last element matches a pattern of
// path/filepath, as in OnPath(OpSync, "*.log"). It panics on a malformed pattern.
func OnPath(kind OpKind, pattern string) func(Op) bool {
	if _, err := filepath.Match(pattern, ""); err != nil {
		panic("vfs: " + err.Error() + ": " + pattern)
	}
	return func(op Op) bool {
		ok, _ := filepath.Match(pattern, filepath.Base(op.Name))
		return ok && op.Kind == kind
	}
}

// FirstOf returns a decide function that asks each of several in turn and takes the first error.
func FirstOf(decides ...func(Op) error) func(Op) error {
	return func(op Op) error {
		for _, decide := range decides {
			if err := decide(op); err != nil {
				return err
			}
		}
		return nil
	}
}

// Space is a budget of bytes to write. The write that exceeds it stores what fits and returns
// syscall.ENOSPC, and so do all later ones until Add. Unlike Mem.SetCapacity it counts every write, also
// one that overwrites, and gets nothing back from a removal.
type Space struct {
	left atomic.Int64
}

// NewSpace returns a budget.
func NewSpace(bytes int64) *Space {
	s := &Space{}
	s.left.Store(bytes)
	return s
}

// Add enlarges the budget.
func (s *Space) Add(bytes int64) { s.left.Add(bytes) }

// Decide is the decide function of the budget.
func (s *Space) Decide(op Op) error {
	if op.Kind != OpWrite {
		return nil
	}
	for {
		left := s.left.Load()
		take := min(left, int64(op.Len))
		if !s.left.CompareAndSwap(left, left-take) {
			continue
		}
		if take == int64(op.Len) {
			return nil
		}
		return &PartialError{N: int(take), Err: syscall.ENOSPC}
	}
}
