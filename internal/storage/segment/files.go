package segment

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/walser-io/walser/internal/vfs"
	"github.com/walser-io/walser/internal/xsync"
)

// FileCache keeps up to a number of segment files open, and closes those that were not used lately. It
// may be shared by all logs of a node. A file that is in use stays open whatever the cache decides, and
// also when it is renamed or removed.
type FileCache struct {
	fs       vfs.FS
	capacity int
	buffers  sync.Pool // *[walkBuffer]byte

	mu struct {
		xsync.Mutex
		ring []*Handle // second chance: hand goes round, spares what was used since it last came by
		hand int
	}
}

// NewFileCache returns a cache of at most capacity open files (at least 1), plus those in use.
func NewFileCache(fs vfs.FS, capacity int) *FileCache {
	c := &FileCache{fs: fs, capacity: max(capacity, 1)}
	c.buffers.New = func() any { return new([walkBuffer]byte) }
	return c
}

// Open returns how many files the cache holds open.
func (c *FileCache) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.ring)
}

// Handle is a reference to an open segment file. It is released once by whoever acquired it.
type Handle struct {
	// File is the open N.log.
	File vfs.File

	cache *FileCache
	index atomic.Pointer[indexFile] // N.index, opened at the first lookup
	refs  atomic.Int32              // users, and one for the cache while it is in the ring
	used  atomic.Bool
	slot  int // in the ring; guarded by cache.mu
	seg   *Segment
}

type indexFile struct{ vfs.File }

// Retain adds a reference. It fails on a handle that has none any more.
func (h *Handle) Retain() bool {
	for {
		n := h.refs.Load()
		if n <= 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a reference back and closes the file with the last one.
func (h *Handle) Release() {
	if h.refs.Add(-1) > 0 {
		return
	}
	// Nothing is lost with a failed close: what must be durable was synced, and reported, before.
	_ = h.File.Close()
	if f := h.index.Load(); f != nil {
		_ = f.Close()
	}
}

// Acquire returns the segment's open file with a reference for the caller.
func (s *Segment) Acquire() (*Handle, error) {
	if h := s.handle.Load(); h != nil && h.Retain() {
		if !h.used.Load() {
			h.used.Store(true)
		}
		return h, nil
	}
	return s.files.open(s, os.O_RDWR)
}

func (c *FileCache) open(s *Segment, flag int) (*Handle, error) {
	f, err := s.openFile(LogSuffix, flag)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		c.shrink(0) // other parts of the process need descriptors too: give back what is not in use
		f, err = s.openFile(LogSuffix, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("open segment %d: %w", s.base, err)
	}
	h := &Handle{File: f, cache: c, seg: s}
	h.refs.Store(2)    // the ring's and the caller's
	h.used.Store(true) // or the next that comes would push out this one, and none of those that are idle
	c.mu.Lock()
	if other := s.handle.Load(); other != nil && other.Retain() {
		c.mu.Unlock()
		_ = f.Close()
		return other, nil
	}
	if s.closed.Load() {
		h.refs.Store(1) // not kept
	} else {
		h.slot = len(c.mu.ring)
		c.mu.ring = append(c.mu.ring, h)
		s.handle.Store(h)
	}
	over := len(c.mu.ring) > c.capacity
	c.mu.Unlock()
	if over {
		c.shrink(c.capacity)
	}
	return h, nil
}

// shrink drops files from the ring until it holds at most n; a file in use merely leaves the ring.
func (c *FileCache) shrink(n int) {
	var dropped []*Handle
	c.mu.Lock()
	for spared := 0; len(c.mu.ring) > n; {
		if c.mu.hand >= len(c.mu.ring) {
			c.mu.hand = 0
		}
		h := c.mu.ring[c.mu.hand]
		if h.used.Swap(false) && spared < len(c.mu.ring) {
			spared++
			c.mu.hand++
			continue
		}
		c.removeLocked(h)
		dropped = append(dropped, h)
	}
	c.mu.Unlock()
	for _, h := range dropped {
		h.Release()
	}
}

// drop takes the segment's file out of the cache; users keep it.
func (c *FileCache) drop(s *Segment) {
	c.mu.Lock()
	h := s.handle.Load()
	if h != nil {
		c.removeLocked(h)
	}
	c.mu.Unlock()
	if h != nil {
		h.Release()
	}
}

func (c *FileCache) removeLocked(h *Handle) {
	last := c.mu.ring[len(c.mu.ring)-1]
	last.slot = h.slot
	c.mu.ring[h.slot] = last
	c.mu.ring[len(c.mu.ring)-1] = nil
	c.mu.ring = c.mu.ring[:len(c.mu.ring)-1]
	h.seg.handle.CompareAndSwap(h, nil)
}

// indexFile returns N.index open for reading, kept as long as the handle.
func (h *Handle) indexFile() (vfs.File, error) {
	if f := h.index.Load(); f != nil {
		return f.File, nil
	}
	f, err := h.seg.openFile(IndexSuffix, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if !h.index.CompareAndSwap(nil, &indexFile{f}) {
		_ = f.Close()
	}
	return h.index.Load().File, nil
}
