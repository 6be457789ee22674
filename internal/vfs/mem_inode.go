package vfs

import (
	"io/fs"
	"maps"
	"slices"
)

const (
	blockSize  = 4096 // the unit in which the page cache is written back
	sectorSize = 512  // the unit that a disk writes whole or not at all
)

// block is one page of a file. Blocks reachable from inode.durable are never changed, so a crashed copy
// of the file system may share them.
type block [blockSize]byte

// inode is a file or a directory: what the page cache says, and what the disk says. Mem.mu guards it.
type inode struct {
	mode   fs.FileMode
	linked bool // a name leads to it
	opens  int  // open handles

	// A directory has entries.
	entries        map[string]*inode
	durableEntries map[string]*inode
	pending        []*dirOp // operations on this directory that are not durable, in order

	// A file has blocks; nil is a hole, which reads as zeros. Bytes of the last block past the size are
	// zero in both states.
	size, durableSize int64
	blocks, durable   []*block
	dirty             map[int]struct{} // indexes that the next sync writes
	reserved          int              // blocks below this index are allocated, holes too
}

func newFile(perm fs.FileMode) *inode { return &inode{mode: perm.Perm()} }

func newDir(perm fs.FileMode) *inode {
	return &inode{
		mode:           fs.ModeDir | perm.Perm(),
		linked:         true,
		entries:        make(map[string]*inode),
		durableEntries: make(map[string]*inode),
	}
}

// effect is what an operation does to one entry of one directory: it leads to a node, or to nothing.
type effect struct {
	dir  *inode
	name string
	to   *inode
}

func (e effect) apply(entries map[string]*inode) {
	if e.to == nil {
		delete(entries, e.name)
		return
	}
	entries[e.name] = e.to
}

// dirOp is a creation, removal or rename. A journal holds it whole, so a crash keeps all effects or none;
// only a sync of one of two directories makes one of them durable before the other.
type dirOp struct {
	seq     uint64
	effects []effect
}

func (n *inode) isDir() bool { return n.mode.IsDir() }

func (n *inode) names() []string { return slices.Sorted(maps.Keys(n.entries)) }

func (n *inode) info(name string) memInfo { return memInfo{name: name, size: n.size, mode: n.mode} }

// holds reports whether dir is n or lies below it.
func (n *inode) holds(dir *inode) bool {
	if n == dir {
		return true
	}
	for _, child := range n.entries {
		if child.isDir() && child.holds(dir) {
			return true
		}
	}
	return false
}

// walk calls visit with each file below n.
func (n *inode) walk(visit func(file *inode)) {
	if !n.isDir() {
		visit(n)
		return
	}
	for _, child := range n.entries {
		child.walk(visit)
	}
}

// syncEntries makes every pending operation durable as far as it touches n.
func (n *inode) syncEntries() {
	for _, op := range n.pending {
		op.effects = slices.DeleteFunc(op.effects, func(e effect) bool {
			if e.dir != n {
				return false
			}
			e.apply(n.durableEntries)
			return true
		})
	}
	n.pending = nil
}

// allocated returns the bytes of the blocks that n takes on disk.
func (n *inode) allocated() int64 {
	count := 0
	for i, b := range n.blocks {
		if b != nil || i < n.reserved {
			count++
		}
	}
	return blockSize * int64(count+max(0, n.reserved-len(n.blocks)))
}

// readAt copies from the page cache and returns how much of p lies below the size.
func (n *inode) readAt(p []byte, off int64) int {
	if off >= n.size {
		return 0
	}
	p = p[:min(int64(len(p)), n.size-off)]
	for done := 0; done < len(p); {
		i, at := split(off + int64(done))
		step := min(len(p)-done, blockSize-at)
		if b := blockAt(n.blocks, i); b != nil {
			copy(p[done:done+step], b[at:])
		} else {
			clear(p[done : done+step])
		}
		done += step
	}
	return len(p)
}

// writeBlock copies p, which fits, into block i from byte at on.
func (n *inode) writeBlock(i, at int, p []byte) {
	copy(n.dirtyBlock(i)[at:], p)
	n.size = max(n.size, int64(i)*blockSize+int64(at+len(p)))
}

// takesSpace reports whether writing block i allocates it.
func (n *inode) takesSpace(i int) bool { return i >= n.reserved && blockAt(n.blocks, i) == nil }

// dirtyBlock returns block i for writing: not the one that is on disk, but a copy of it.
func (n *inode) dirtyBlock(i int) *block {
	for len(n.blocks) <= i {
		n.blocks = append(n.blocks, nil)
	}
	n.markDirty(i)
	switch b := n.blocks[i]; {
	case b == nil:
		n.blocks[i] = new(block)
	case b == blockAt(n.durable, i):
		c := *b
		n.blocks[i] = &c
	}
	return n.blocks[i]
}

func (n *inode) markDirty(i int) {
	if n.dirty == nil {
		n.dirty = make(map[int]struct{})
	}
	n.dirty[i] = struct{}{}
}

// resize sets the size, zeroes what the last block holds past it, and returns the blocks it dropped.
func (n *inode) resize(size int64) (dropped []*block) {
	keep := blocksOf(size)
	n.reserved = min(n.reserved, keep)
	if size < n.size {
		if i, at := split(size); at > 0 && blockAt(n.blocks, i) != nil {
			clear(n.dirtyBlock(i)[at:])
		}
		if keep < len(n.blocks) {
			for i := keep; i < len(n.blocks); i++ {
				n.markDirty(i)
			}
			dropped = slices.Clone(n.blocks[keep:])
			clear(n.blocks[keep:])
			n.blocks = n.blocks[:keep]
		}
	}
	n.size = size
	return dropped
}

// sync makes data and size durable.
func (n *inode) sync() {
	for len(n.durable) < len(n.blocks) {
		n.durable = append(n.durable, nil)
	}
	for i := range n.dirty {
		if i < len(n.durable) {
			n.durable[i] = blockAt(n.blocks, i)
		}
	}
	clear(n.durable[len(n.blocks):])
	n.durable = n.durable[:len(n.blocks)]
	n.durableSize = n.size
	n.clean()
}

// loseDirty is what a failed fsync does: the pages stay readable, are clean from now on, and never reach
// the disk unless they are written again.
func (n *inode) loseDirty() { n.clean() }

// clean forgets which blocks were dirty. Clearing a map takes as long as it was ever large, so one that a
// burst made large is dropped, lest each later sync pays for the burst.
func (n *inode) clean() {
	if len(n.dirty) > 64 {
		n.dirty = nil
	}
	clear(n.dirty)
}

func split(off int64) (index, at int) { return int(off / blockSize), int(off % blockSize) }

func blocksOf(size int64) int { return int((size + blockSize - 1) / blockSize) }

func blockAt(blocks []*block, i int) *block {
	if i < len(blocks) {
		return blocks[i]
	}
	return nil
}
