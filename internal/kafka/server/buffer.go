package server

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/walser-io/walser/internal/invariants"
)

// Request bytes lie in buffers of a few size classes: 4, 16 and 64 KiB to read into, then powers of two
// for frames that outgrow these. A class of 1 MiB and more has 64 KiB on top, so that a batch of a round
// size fits with the request around it.
const (
	smallestClass = 0
	chunkClass    = 2 // the largest that is read into before a frame's size is known
	firstLarge    = chunkClass + 1
	classes       = 17
	classSlack    = 64 << 10
)

// classSize returns the bytes of a buffer of the class.
func classSize(class int) int {
	switch {
	case class <= firstLarge:
		return 4 << 10 << (2 * class) // 4K 16K 64K 256K
	case class == firstLarge+1:
		return 512 << 10
	default:
		return 256<<10<<(class-firstLarge) + classSlack
	}
}

// classFor returns the smallest class that holds n bytes.
func classFor(n int) int {
	switch {
	case n <= 4<<10:
		return 0
	case n <= 16<<10:
		return 1
	case n <= 64<<10:
		return 2
	case n <= 256<<10:
		return firstLarge
	case n <= 512<<10:
		return firstLarge + 1
	}
	return firstLarge + bits.Len(uint(max(n-classSlack, 512<<10+1)-1)>>18)
}

// classWithin returns the largest class of at most n bytes, what is on top of a round size not counted; the
// smallest one if there is none.
func classWithin(n int) int {
	switch {
	case n < 16<<10:
		return 0
	case n < 64<<10:
		return 1
	case n < 256<<10:
		return 2
	}
	return min(firstLarge+bits.Len(uint(n)>>18)-1, classes-1)
}

// buffer holds request bytes. The reader and every frame that lies in it hold a reference; the last
// release gives it back to its pool and its bytes back to the budget.
type buffer struct {
	b     []byte
	class int
	large bool // charged as a part of a large frame, whatever its own size
	refs  atomic.Int32
	pool  *bufferPool
}

// retain adds a reference.
func (b *buffer) retain() { b.refs.Add(1) }

// release gives a reference back. The caller must not touch the bytes afterwards.
func (b *buffer) release() {
	left := b.refs.Add(-1)
	invariants.Assertf(left >= 0, "buffer released %d times too often", -left)
	if left == 0 {
		b.pool.put(b)
	}
}

// shared reports whether a frame still lies in the buffer. Only the reader, which holds one reference,
// may ask.
func (b *buffer) shared() bool { return b.refs.Load() > 1 }

// bufferPool is the free lists of the size classes. It hands out buffers that have been charged, so the
// budget bounds what is in use; what is not in use is left to the garbage collector.
type bufferPool struct {
	budget *budget
	free   [classes]sync.Pool
}

// newBufferPool returns empty free lists that charge to the budget.
func newBufferPool(budget *budget) *bufferPool { return &bufferPool{budget: budget} }

// tryGet returns a buffer with one reference for a frame of that kind, or nil when the budget is out.
func (p *bufferPool) tryGet(class int, large bool) *buffer {
	if !p.budget.tryCharge(int64(classSize(class)), large) {
		return nil
	}
	return p.charged(class, large)
}

// charged returns a buffer with one reference whose bytes the caller has charged.
func (p *bufferPool) charged(class int, large bool) *buffer {
	b, _ := p.free[class].Get().(*buffer)
	if b == nil {
		b = &buffer{b: make([]byte, classSize(class)), class: class, pool: p}
	}
	b.large = large
	b.refs.Store(1)
	return b
}

func (p *bufferPool) put(b *buffer) {
	invariants.Mangle(b.b)
	class, large := b.class, b.large
	p.free[class].Put(b)
	p.budget.discharge(int64(classSize(class)), large)
}
