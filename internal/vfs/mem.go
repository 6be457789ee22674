package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// ErrCrashed is returned by every operation on a Mem, and on its files, after Crash or KillProcess:
// goroutines of the process that died can do no more harm.
var ErrCrashed = errors.New("the process that used this file system is gone")

// Mem is a file system in memory that knows the difference between the page cache and the disk. What was
// written is read back at once; what survives Crash is what was synced, plus whatever luck leaves of the
// rest. It is safe for concurrent use, keeps no goroutine, and runs in testing/synctest.
//
// All names are taken from its root: "/a/b" and "a/b" are the same file.
type Mem struct {
	mu struct {
		xsync.RWMutex
		dead     bool
		root     *inode
		seq      uint64 // of the next directory operation
		locks    map[*inode]struct{}
		rand     *rand.Rand
		bootID   string
		used     int64 // bytes of the blocks of all live files
		capacity int64
		freed    []*block // what lately removed files held, for CrashOptions.StaleBlocks
	}
}

var _ FS = (*Mem)(nil)

// defaultCapacity is what an untold Mem has: more than any test writes.
const defaultCapacity = 1 << 40

// NewMem returns an empty file system. Crashes draw their luck from seed, unless they bring their own.
func NewMem(seed uint64) *Mem {
	root := newDir(0o755)
	return newMem(root, rand.New(rand.NewPCG(seed, 0)))
}

func newMem(root *inode, rng *rand.Rand) *Mem {
	m := &Mem{}
	m.mu.root = root
	m.mu.rand = rng
	m.mu.locks = make(map[*inode]struct{})
	m.mu.capacity = defaultCapacity
	m.mu.bootID = fmt.Sprintf("%016x-%016x", rng.Uint64(), rng.Uint64())
	return m
}

// SetCapacity bounds the bytes that files may hold. A write past it stores what fits and returns
// syscall.ENOSPC; removing and truncating files gives space back.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.capacity = bytes
}

// OpenFile opens or creates a file, as FS says.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	node, err := m.openNode(name, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &memFile{m: m, node: node, name: name, flag: flag}, nil
}

func (m *Mem) openNode(name string, flag int, perm fs.FileMode) (*inode, error) {
	if flag&os.O_APPEND != 0 {
		return nil, errAppend
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return nil, err
	}
	node := dir.entries[base]
	switch {
	case node == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case node == nil:
		node = newFile(perm)
		m.linkLocked(effect{dir, base, node})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	case node.isDir():
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0:
		m.resizeLocked(node, 0)
	}
	node.opens++
	return node, nil
}

// Remove removes a file or an empty directory.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	node := dir.entries[base]
	switch {
	case node == nil:
		err = syscall.ENOENT
	case node.isDir() && len(node.entries) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	m.unlinkLocked(dir, base)
	return nil
}

// RemoveAll removes a tree, entry by entry: each is an operation of its own that a crash may undo.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "removeall", Path: name, Err: err}
	}
	if dir.entries[base] != nil {
		m.removeTreeLocked(dir, base)
	}
	return nil
}

func (m *Mem) removeTreeLocked(dir *inode, base string) {
	node := dir.entries[base]
	for _, child := range node.names() {
		m.removeTreeLocked(node, child)
	}
	m.unlinkLocked(dir, base)
}

// Rename gives a file or directory a new name, in one operation.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.renameLocked(oldname, newname); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *Mem) renameLocked(oldname, newname string) error {
	oldDir, oldBase, err := m.parentLocked(oldname)
	if err != nil {
		return err
	}
	newDir, newBase, err := m.parentLocked(newname)
	if err != nil {
		return err
	}
	node, target := oldDir.entries[oldBase], newDir.entries[newBase]
	switch {
	case node == nil:
		return syscall.ENOENT
	case node == target:
		return nil
	case target != nil && target.isDir():
		return syscall.EEXIST
	case target != nil && node.isDir():
		return syscall.ENOTDIR
	case node.holds(newDir):
		return syscall.EINVAL
	}
	if target != nil {
		m.forgetLocked(target)
	}
	m.linkLocked(effect{oldDir, oldBase, nil}, effect{newDir, newBase, node})
	return nil
}

// MkdirAll makes dir and the parents it lacks, each an operation in its own parent.
func (m *Mem) MkdirAll(dir string, perm fs.FileMode) error {
	elems, err := elements(dir)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: ErrCrashed}
	}
	at := m.mu.root
	for _, elem := range elems {
		next := at.entries[elem]
		if next == nil {
			next = newDir(perm)
			m.linkLocked(effect{at, elem, next})
		}
		if !next.isDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		at = next
	}
	return nil
}

// ReadDir lists a directory, sorted by name.
func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.dirLocked(dir)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	names := node.names()
	list := make([]fs.DirEntry, len(names))
	for i, name := range names {
		list[i] = fs.FileInfoToDirEntry(node.entries[name].info(name))
	}
	return list, nil
}

// Stat describes a file or directory. The modification time is zero: no one may decide by it.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.lookupLocked(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return node.info(filepath.Base(name)), nil
}

// SyncDir makes what happened to the entries of dir survive a crash.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.dirLocked(dir)
	if err != nil {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: err}
	}
	node.syncEntries()
	return nil
}

// Lock takes a file's lock, which ends with Close, Crash or KillProcess.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	node := f.(*memFile).node
	if err := m.takeLock(node); err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.Join(err, f.Close())}
	}
	return &memLock{f: f.(*memFile)}, nil
}

func (m *Mem) takeLock(node *inode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead {
		return ErrCrashed
	}
	if _, held := m.mu.locks[node]; held {
		return ErrLocked
	}
	m.mu.locks[node] = struct{}{}
	return nil
}

// Usage measures the whole Mem, whatever dir is, as long as it exists.
func (m *Mem) Usage(dir string) (Usage, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.lookupLocked(dir); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Usage{TotalBytes: m.mu.capacity, FreeBytes: max(0, m.mu.capacity-m.mu.used)}, nil
}

// OpenVolume returns the whole Mem, whatever dir is, as long as it exists.
func (m *Mem) OpenVolume(dir string) (Volume, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.lookupLocked(dir); err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return memVolume{m}, nil
}

type memVolume struct{ m *Mem }

func (v memVolume) Sync() error {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	if v.m.mu.dead {
		return ErrCrashed
	}
	v.m.mu.root.walk((*inode).sync)
	return nil
}

// loseDirty is what a failed Sync does, by a Faulty.
func (v memVolume) loseDirty() {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	v.m.mu.root.walk((*inode).loseDirty)
}

// Unwritten returns the size of the blocks that are not on disk.
func (v memVolume) Unwritten() (bytes int64, err error) {
	v.m.mu.RLock()
	defer v.m.mu.RUnlock()
	v.m.mu.root.walk(func(file *inode) { bytes += blockSize * int64(len(file.dirty)) })
	return bytes, nil
}

func (memVolume) Close() error { return nil }

// BootID stays the same over KillProcess and changes with Crash.
func (m *Mem) BootID() (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mu.dead {
		return "", ErrCrashed
	}
	return m.mu.bootID, nil
}

type memLock struct{ f *memFile }

func (l *memLock) Close() error {
	m := l.f.m
	m.mu.Lock()
	_, held := m.mu.locks[l.f.node]
	if l.f.closed {
		held = false // a second Close must not end another holder's lock
	}
	if held {
		delete(m.mu.locks, l.f.node)
	}
	m.mu.Unlock()
	if !held {
		return nil
	}
	return l.f.Close()
}

// elements splits a name into the steps from the root.
func elements(name string) ([]string, error) {
	if name == "" {
		return nil, syscall.ENOENT
	}
	clean := filepath.ToSlash(filepath.Clean(name))
	clean = strings.Trim(strings.TrimPrefix(clean, filepath.ToSlash(filepath.VolumeName(clean))), "/")
	if clean == "" || clean == "." {
		return nil, nil
	}
	elems := strings.Split(clean, "/")
	if elems[0] == ".." {
		return nil, syscall.EINVAL
	}
	return elems, nil
}

func (m *Mem) lookupLocked(name string) (*inode, error) {
	elems, err := elements(name)
	if err != nil {
		return nil, err
	}
	return m.walkLocked(elems)
}

func (m *Mem) dirLocked(name string) (*inode, error) {
	node, err := m.lookupLocked(name)
	if err == nil && !node.isDir() {
		err = syscall.ENOTDIR
	}
	return node, err
}

// parentLocked finds the directory of name and the last element of name, which need not exist.
func (m *Mem) parentLocked(name string) (*inode, string, error) {
	elems, err := elements(name)
	if err != nil {
		return nil, "", err
	}
	if len(elems) == 0 {
		return nil, "", syscall.EISDIR
	}
	last := len(elems) - 1
	dir, err := m.walkLocked(elems[:last])
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, elems[last], err
}

func (m *Mem) walkLocked(elems []string) (*inode, error) {
	if m.mu.dead {
		return nil, ErrCrashed
	}
	at := m.mu.root
	for _, elem := range elems {
		if !at.isDir() {
			return nil, syscall.ENOTDIR
		}
		if at = at.entries[elem]; at == nil {
			return nil, syscall.ENOENT
		}
	}
	return at, nil
}

// linkLocked does one directory operation and remembers it until its directories are synced.
func (m *Mem) linkLocked(effects ...effect) {
	m.mu.seq++
	op := &dirOp{seq: m.mu.seq, effects: effects}
	for _, e := range effects {
		e.apply(e.dir.entries)
		if n := len(e.dir.pending); n == 0 || e.dir.pending[n-1] != op {
			e.dir.pending = append(e.dir.pending, op)
		}
		if e.to != nil {
			e.to.linked = true
		}
	}
}

func (m *Mem) unlinkLocked(dir *inode, base string) {
	m.forgetLocked(dir.entries[base])
	m.linkLocked(effect{dir, base, nil})
}

// forgetLocked takes the last name from a node, and its space with it unless someone has it open.
func (m *Mem) forgetLocked(node *inode) {
	node.linked = false
	if node.opens == 0 {
		m.freeLocked(node)
	}
}

// freeLocked accounts for a file that has neither a name nor a handle. Its blocks stay for the case that
// a crash brings the name back.
func (m *Mem) freeLocked(node *inode) {
	m.mu.used -= node.allocated()
	m.keepFreedLocked(node.blocks)
}

// keepFreedLocked remembers some of the blocks that were given back.
func (m *Mem) keepFreedLocked(blocks []*block) {
	const most = 64
	for _, b := range blocks {
		if b != nil {
			m.mu.freed = append(m.mu.freed, b)
		}
	}
	if over := len(m.mu.freed) - most; over > 0 {
		m.mu.freed = slices.Delete(m.mu.freed, 0, over)
	}
}

// resizeLocked sets a file's size and accounts for the space it gives back.
func (m *Mem) resizeLocked(node *inode, size int64) {
	before := node.allocated()
	m.keepFreedLocked(node.resize(size))
	m.mu.used += node.allocated() - before
}

// memInfo is the description of a node at one moment.
type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
