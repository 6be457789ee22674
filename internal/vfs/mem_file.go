package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// memFile is an open file of a Mem.
type memFile struct {
	m      *Mem
	node   *inode
	name   string
	flag   int
	closed bool // guarded by m.mu
}

var _ File = (*memFile)(nil)

func (f *memFile) Name() string { return f.name }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	if err := f.usableLocked(off, f.flag&os.O_WRONLY == 0); err != nil {
		return 0, f.pathError("read", err)
	}
	n := f.node.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	m := f.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := f.usableLocked(off, f.writable()); err != nil {
		return 0, f.pathError("write", err)
	}
	n := 0
	for n < len(p) {
		i, at := split(off + int64(n))
		step := min(len(p)-n, blockSize-at)
		if f.node.takesSpace(i) {
			if m.mu.used+blockSize > m.mu.capacity {
				return n, f.pathError("write", syscall.ENOSPC)
			}
			m.mu.used += blockSize
		}
		f.node.writeBlock(i, at, p[n:n+step])
		n += step
	}
	return n, nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked(0, true); err != nil {
		return f.pathError("close", err)
	}
	f.closed = true
	f.node.opens--
	if f.node.opens == 0 && !f.node.linked {
		f.m.freeLocked(f.node)
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	if err := f.usableLocked(0, true); err != nil {
		return 0, f.pathError("stat", err)
	}
	return f.node.size, nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked(size, f.writable()); err != nil {
		return f.pathError("truncate", err)
	}
	f.m.resizeLocked(f.node, size)
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked(0, true); err != nil {
		return f.pathError("sync", err)
	}
	f.node.sync()
	return nil
}

// Preallocate reserves holes below from as well.
func (f *memFile) Preallocate(from, to int64) error {
	m := f.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := f.usableLocked(from, f.writable()); err != nil {
		return f.pathError("preallocate", err)
	}
	want := int64(0)
	for i := f.node.reserved; i < blocksOf(to); i++ {
		if blockAt(f.node.blocks, i) == nil {
			want += blockSize
		}
	}
	if m.mu.used+want > m.mu.capacity {
		return f.pathError("preallocate", syscall.ENOSPC)
	}
	m.mu.used += want
	f.node.reserved = max(f.node.reserved, blocksOf(to))
	return nil
}

// loseDirty is for Faulty: see inode.loseDirty.
func (f *memFile) loseDirty() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.m.mu.dead {
		f.node.loseDirty()
	}
}

func (f *memFile) writable() bool { return f.flag&(os.O_WRONLY|os.O_RDWR) != 0 }

// usableLocked says why the handle cannot do what is asked of it: permitted is whether the flags it was
// opened with allow the operation, and off must not be negative.
func (f *memFile) usableLocked(off int64, permitted bool) error {
	switch {
	case f.m.mu.dead:
		return ErrCrashed
	case f.closed:
		return fs.ErrClosed
	case !permitted:
		return syscall.EBADF
	case off < 0:
		return syscall.EINVAL
	}
	return nil
}

func (f *memFile) pathError(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}
