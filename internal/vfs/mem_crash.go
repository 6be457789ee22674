package vfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashOptions says how much luck a power loss leaves. The zero value is the strict one: what was not
// synced is gone.
type CrashOptions struct {
	// UnsyncedDataPercent is the chance of each unsynced 4 KiB block, size change and directory operation
	// to be on disk. 0 keeps none, 100 keeps all.
	UnsyncedDataPercent int
	// TornWrites lets a lost block have some of its 512-byte sectors, as a prefix or here and there, and a
	// lost size be any size in between.
	TornWrites bool
	// StaleBlocks lets lost blocks that a file grew by show what removed files held, as file systems do
	// that commit a size before the data (ext4 with data=writeback). Otherwise they are zeros.
	StaleBlocks bool
	// Rand overrides the generator of the Mem.
	Rand *rand.Rand
}

// Crash is a power loss. It returns the file system as the next boot finds it: no locks, another boot id,
// all that is there is durable. The old one and its handles return ErrCrashed from now on.
func (m *Mem) Crash(opts CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.crashLocked(opts)
	m.killLocked()
	return next
}

// CrashClone returns what Crash would, and leaves m as it is: one run can be cut at every one of its
// steps. On a dead Mem it returns an empty one.
func (m *Mem) CrashClone(opts CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crashLocked(opts)
}

// KillProcess is kill -9. It returns the file system as the next process finds it: everything written is
// there, synced or not, under the same boot id; locks are gone. The old one and its handles return
// ErrCrashed from now on.
func (m *Mem) KillProcess() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &Mem{}
	next.mu.root = m.mu.root
	next.mu.seq = m.mu.seq
	next.mu.locks = make(map[*inode]struct{})
	next.mu.rand = m.mu.rand
	next.mu.bootID = m.mu.bootID
	next.mu.capacity = m.mu.capacity
	next.mu.freed = m.mu.freed
	next.mu.used = disown(next.mu.root)
	m.killLocked()
	return next
}

func (m *Mem) killLocked() {
	m.mu.dead = true
	// The next Mem owns the nodes: nothing may reach them from here.
	m.mu.root = newDir(0o755)
	m.mu.locks = nil
	m.mu.freed = nil
	m.mu.rand = rand.New(rand.NewPCG(0, 0))
}

// disown forgets the handles of the process that died, and measures what is left.
func disown(node *inode) (used int64) {
	node.opens = 0
	for _, child := range node.entries {
		used += disown(child)
	}
	return used + node.allocated()
}

func (m *Mem) crashLocked(opts CrashOptions) *Mem {
	c := crash{CrashOptions: opts, freed: m.mu.freed, built: make(map[*inode]*inode)}
	if c.Rand == nil {
		c.Rand = m.mu.rand
	}
	c.entries = c.surviving(m.mu.root)
	root := c.build(m.mu.root)
	next := newMem(root, rand.New(rand.NewPCG(c.Rand.Uint64(), c.Rand.Uint64())))
	next.mu.capacity = m.mu.capacity
	next.mu.used = disown(root)
	return next
}

// crash is one power loss being drawn. All draws happen in an order that depends on the operations before
// it alone, so a seed gives one result.
type crash struct {
	CrashOptions
	freed   []*block
	entries map[*inode]map[string]*inode // what each directory holds afterwards
	built   map[*inode]*inode            // from the old tree to the new
}

// lucky draws whether one unsynced thing is on disk.
func (c *crash) lucky() bool {
	switch {
	case c.UnsyncedDataPercent <= 0:
		return false
	case c.UnsyncedDataPercent >= 100:
		return true
	}
	return c.Rand.IntN(100) < c.UnsyncedDataPercent
}

// surviving draws which directory operations are on disk.
func (c *crash) surviving(root *inode) map[*inode]map[string]*inode {
	entries := make(map[*inode]map[string]*inode)
	var ops []*dirOp
	var visit func(*inode)
	visit = func(node *inode) {
		if _, seen := entries[node]; seen || !node.isDir() {
			return
		}
		entries[node] = maps.Clone(node.durableEntries)
		ops = append(ops, node.pending...)
		for _, child := range node.entries {
			visit(child)
		}
		for _, child := range node.durableEntries {
			visit(child)
		}
		for _, op := range node.pending {
			for _, e := range op.effects {
				visit(e.dir)
				if e.to != nil {
					visit(e.to)
				}
			}
		}
	}
	visit(root)
	slices.SortFunc(ops, func(a, b *dirOp) int { return cmp.Compare(a.seq, b.seq) })
	for _, op := range slices.Compact(ops) {
		if !c.lucky() {
			continue
		}
		for _, e := range op.effects {
			e.apply(entries[e.dir])
		}
	}
	return entries
}

// build copies a node as it is on disk, and what lies below it.
func (c *crash) build(node *inode) *inode {
	if done := c.built[node]; done != nil {
		return done
	}
	if !node.isDir() {
		f := c.buildFile(node)
		c.built[node] = f
		return f
	}
	dir := newDir(node.mode)
	c.built[node] = dir
	found := c.entries[node]
	for _, name := range slices.Sorted(maps.Keys(found)) {
		dir.entries[name] = c.build(found[name])
	}
	dir.durableEntries = maps.Clone(dir.entries)
	return dir
}

func (c *crash) buildFile(node *inode) *inode {
	f := newFile(node.mode)
	f.linked = true
	f.size = c.drawSize(node)
	f.blocks = make([]*block, blocksOf(f.size))
	for i := range f.blocks {
		f.blocks[i] = c.drawBlock(node, i)
	}
	// What a block holds past the end is not part of the file: it must not come back when it grows.
	if i, at := split(f.size); at > 0 && f.blocks[i] != nil {
		cut := *f.blocks[i]
		clear(cut[at:])
		f.blocks[i] = &cut
	}
	f.durable = slices.Clone(f.blocks)
	f.durableSize = f.size
	return f
}

// drawSize says which size is on disk: the new one, the synced one, or one on the way where the file grew
// in steps.
func (c *crash) drawSize(node *inode) int64 {
	from, to := node.durableSize, node.size
	if from == to || c.lucky() {
		return to
	}
	if c.UnsyncedDataPercent <= 0 || to < from || c.Rand.IntN(2) == 0 {
		return from
	}
	unit := int64(blockSize)
	if c.TornWrites {
		unit = []int64{blockSize, sectorSize, 1}[c.Rand.IntN(3)]
	}
	cut := from + c.Rand.Int64N(to-from)
	return max(from, cut-cut%unit)
}

// drawBlock says what block i holds on disk.
func (c *crash) drawBlock(node *inode, i int) *block {
	before, after := blockAt(node.durable, i), blockAt(node.blocks, i)
	if _, dirty := node.dirty[i]; !dirty {
		return before // as it is in the page cache, unless a failed sync lost it
	}
	if c.lucky() {
		if after == nil {
			return nil
		}
		kept := *after // the running file system may still write to it
		return &kept
	}
	lost := c.lostBlock(before, int64(i)*blockSize >= node.durableSize)
	if c.UnsyncedDataPercent <= 0 || !c.TornWrites {
		return lost
	}
	return c.tear(lost, after)
}

// lostBlock is what lies on disk where a block was not written: the synced content, or zeros, or what
// another file left there.
func (c *crash) lostBlock(before *block, fresh bool) *block {
	if before != nil || !fresh || !c.StaleBlocks || c.UnsyncedDataPercent <= 0 || len(c.freed) == 0 {
		return before
	}
	stale := *c.freed[c.Rand.IntN(len(c.freed))]
	return &stale
}

// tear mixes the sectors of a block as it was and as it should have become: mostly a prefix of the new,
// as for an append cut short, else any of them.
func (c *crash) tear(before, after *block) *block {
	var torn block
	if before != nil {
		torn = *before
	}
	prefix := c.Rand.IntN(blockSize/sectorSize + 1)
	scattered := c.Rand.IntN(4) == 0
	for s := range blockSize / sectorSize {
		isNew := s < prefix
		if scattered {
			isNew = c.Rand.IntN(2) == 0
		}
		if !isNew {
			continue
		}
		sector := torn[s*sectorSize : (s+1)*sectorSize]
		if after == nil {
			clear(sector)
		} else {
			copy(sector, after[s*sectorSize:])
		}
	}
	return &torn
}
