package server

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/invariants"
	"github.com/walser-io/walser/internal/xsync"
)

// budget bounds the bytes of all buffers that hold request bytes, over all connections. Large frames may
// use all of it but the reserve; small ones (64 KiB and less) may use everything, so that frames of ordinary
// size are served while large ones wait.
type budget struct {
	total   int64
	reserve int64

	used    atomic.Int64
	large   atomic.Int64 // the part of used that large buffers take
	waiting atomic.Int32 // waiters in both queues; discharge looks here first

	mu struct {
		xsync.Mutex
		small, large budgetQueue
	}
}

// budgetQueue is who waits for one kind of bytes, in order of arrival.
type budgetQueue struct {
	waiters  []*budgetWaiter
	lastShed time.Time
}

// budgetWaiter is one reader that waits for bytes. granted is closed once they have been charged to it.
type budgetWaiter struct {
	n       int64
	granted chan struct{}
}

// newBudget returns a budget of total bytes of which large buffers may not use the reserve.
func newBudget(total, reserve int64) *budget {
	return &budget{total: total, reserve: reserve}
}

// tryCharge takes n bytes if they are there and nobody has waited for longer.
func (b *budget) tryCharge(n int64, large bool) bool {
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.queueLocked(large).waiters) > 0 {
			return false
		}
	}
	return b.take(n, large)
}

// take takes n bytes if they are there.
func (b *budget) take(n int64, large bool) bool {
	if large && b.large.Add(n) > b.total-b.reserve {
		b.large.Add(-n)
		return false
	}
	if b.used.Add(n) > b.total {
		b.used.Add(-n)
		if large {
			b.large.Add(-n)
		}
		return false
	}
	return true
}

// ample says whether so little is used that a buffer may be larger than what has arrived of its frame by far.
func (b *budget) ample() bool { return b.used.Load() < b.total/4 }

// charge takes n bytes, waiting for them. After each patience it calls shed, which is to close connections
// that hold much and send little; shed calls of several waiters of a kind are one patience apart.
// It returns ctx's cause when ctx ends first.
func (b *budget) charge(ctx context.Context, n int64, large bool, patience time.Duration, shed func()) error {
	w := &budgetWaiter{n: n, granted: make(chan struct{})}
	b.mu.Lock()
	queue := b.queueLocked(large)
	queue.waiters = append(queue.waiters, w)
	b.waiting.Add(1)
	b.grantLocked() // what was discharged between the caller's try and the registration
	b.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-w.granted:
			return nil
		case <-ctx.Done():
			b.leave(w, large)
			return context.Cause(ctx)
		case <-timer.C:
			if b.mayShed(large, patience) {
				shed()
			}
			timer.Reset(patience)
		}
	}
}

// discharge gives n bytes back and serves those who wait.
func (b *budget) discharge(n int64, large bool) {
	if large {
		b.large.Add(-n)
	}
	left := b.used.Add(-n)
	invariants.Assertf(left >= 0, "budget discharged %d bytes too many", -left)
	if b.waiting.Load() > 0 {
		b.mu.Lock()
		b.grantLocked()
		b.mu.Unlock()
	}
}

// mayShed says whether a patience has passed since it last said so for this kind of bytes.
func (b *budget) mayShed(large bool, patience time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue, now := b.queueLocked(large), time.Now()
	if now.Sub(queue.lastShed) < patience {
		return false
	}
	queue.lastShed = now
	return true
}

// leave takes the waiter out of its queue, and gives back what it was granted meanwhile.
func (b *budget) leave(w *budgetWaiter, large bool) {
	b.mu.Lock()
	queue := b.queueLocked(large)
	for i, other := range queue.waiters {
		if other == w {
			queue.waiters = slices.Delete(queue.waiters, i, i+1)
			b.waiting.Add(-1)
			b.grantLocked() // the one behind it may need less
			b.mu.Unlock()
			return
		}
	}
	b.mu.Unlock()
	b.discharge(w.n, large)
}

// grantLocked charges for the waiters at the heads of the queues while there is room, small ones first.
func (b *budget) grantLocked() {
	for _, large := range [...]bool{false, true} {
		queue := b.queueLocked(large)
		for len(queue.waiters) > 0 && b.take(queue.waiters[0].n, large) {
			close(queue.waiters[0].granted)
			queue.waiters[0] = nil
			queue.waiters = queue.waiters[1:]
			b.waiting.Add(-1)
		}
	}
}

func (b *budget) queueLocked(large bool) *budgetQueue {
	if large {
		return &b.mu.large
	}
	return &b.mu.small
}
