// Package deadline keeps the deadlines of a whole component in one heap: session timeouts, parked
// requests, delayed completions. A Queue of ten thousand entries costs one goroutine, the one in Run, and
// one timer, whatever is scheduled and cancelled.
//
// Guarantees: a function runs at most once, not before its time, in the order of the deadlines and, among
// equal ones, in the order of scheduling. It runs on the goroutine of Run with no lock held, so it may
// schedule and cancel; it must not block, or it holds up every other deadline. Times are compared as
// package time does, on the monotonic clock where they come from time.Now, so wall clock jumps move
// nothing.
package deadline

import (
	"container/heap"
	"context"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// Queue is a set of deadlines. It is safe for concurrent use. New makes one.
type Queue struct {
	// wake tells Run of a deadline before the one it waits for. It holds one token, so that telling never waits.
	wake chan struct{}
	mu   struct {
		xsync.Mutex
		entries entries
		nextSeq uint64
		waits   bool      // Run waits, or is about to
		until   time.Time // for what Run waits; zero where there was nothing to wait for
		free    []*entry  // to be used again, so that a request that waits allocates nothing
	}
}

// Handle names one scheduled function. The zero Handle names none.
type Handle struct {
	e   *entry
	use uint64
}

// entry is one deadline, and then another one. Queue.mu guards it.
type entry struct {
	at    time.Time
	seq   uint64 // order among equal deadlines
	index int    // in the heap
	use   uint64 // tells the deadlines that it served from each other
	fn    func(now time.Time)
}

// maxFree bounds the entries that are kept: a burst of deadlines leaves no more behind.
const maxFree = 1024

// New returns an empty queue. Nothing happens until Run.
func New() *Queue { return &Queue{wake: make(chan struct{}, 1)} }

// Schedule has fn called with the current time at or soon after at. A deadline that has passed is due at
// once, on Run's goroutine like any other. It takes O(log n).
func (q *Queue) Schedule(at time.Time, fn func(now time.Time)) Handle {
	q.mu.Lock()
	e := q.entryLocked()
	e.at, e.fn, e.seq = at, fn, q.mu.nextSeq
	q.mu.nextSeq++
	heap.Push(&q.mu.entries, e)
	missed := q.missedLocked(at)
	h := Handle{e, e.use}
	q.mu.Unlock()
	if missed {
		q.nudge()
	}
	return h
}

// missedLocked says whether Run would sleep past at. It mostly would not: of requests that wait for records all but a few
// are answered before their time, and Run then wakes once for all of those.
func (q *Queue) missedLocked(at time.Time) bool {
	return q.mu.waits && (q.mu.until.IsZero() || at.Before(q.mu.until))
}

func (q *Queue) entryLocked() *entry {
	last := len(q.mu.free) - 1
	if last < 0 {
		return new(entry)
	}
	e := q.mu.free[last]
	q.mu.free[last] = nil
	q.mu.free = q.mu.free[:last]
	return e
}

// freeLocked takes an entry that has left the heap. Handles of its deadline name nothing from here on.
func (q *Queue) freeLocked(e *entry) {
	e.fn = nil // handles may be kept; what fn holds on to need not be
	e.use++
	if len(q.mu.free) < maxFree {
		q.mu.free = append(q.mu.free, e)
	}
}

// Cancel takes a deadline out in O(log n). It returns true where fn had not been started and now never
// will be, and false where it ran, runs, or was cancelled before.
func (q *Queue) Cancel(h Handle) bool {
	if h.e == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if h.e.use != h.use {
		return false
	}
	// Run is not told when the first goes: it then wakes once for nothing, which costs less than a wake-up
	// for each of the many deadlines that are cancelled in time.
	heap.Remove(&q.mu.entries, h.e.index)
	q.freeLocked(h.e)
	return true
}

// Reschedule moves a deadline in O(log n) and puts it behind others of the same time. It returns false,
// and does nothing, where Cancel would return false.
func (q *Queue) Reschedule(h Handle, at time.Time) bool {
	if h.e == nil {
		return false
	}
	q.mu.Lock()
	if h.e.use != h.use {
		q.mu.Unlock()
		return false
	}
	h.e.at = at
	h.e.seq = q.mu.nextSeq
	q.mu.nextSeq++
	heap.Fix(&q.mu.entries, h.e.index)
	missed := q.missedLocked(at)
	q.mu.Unlock()
	if missed {
		q.nudge()
	}
	return true
}

// Len returns how many deadlines have not been started.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.mu.entries)
}

// Run calls what is due until ctx is done, and returns ctx.Err(). What is then left never runs. Only one
// Run may be active.
func (q *Queue) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.runDue(ctx, timer)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// runDue calls what is due and sets the timer for what comes next.
func (q *Queue) runDue(ctx context.Context, timer *time.Timer) {
	for ctx.Err() == nil {
		now := time.Now()
		fn, wait := q.next(now)
		if fn == nil {
			timer.Stop()
			if wait >= 0 {
				timer.Reset(wait)
			}
			return
		}
		fn(now)
	}
}

// next takes out the first entry if it is due. Otherwise it returns how long to wait for it, or -1 where
// there is none, and Run has to be told of an earlier one.
func (q *Queue) next(now time.Time) (fn func(time.Time), wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.waits, q.mu.until = true, time.Time{}
	if len(q.mu.entries) == 0 {
		return nil, -1
	}
	first := q.mu.entries[0]
	if wait := first.at.Sub(now); wait > 0 {
		q.mu.until = first.at
		return nil, wait
	}
	q.mu.waits = false
	heap.Pop(&q.mu.entries)
	fn = first.fn
	q.freeLocked(first)
	return fn, 0
}

func (q *Queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// entries is a heap by time, then by order of scheduling.
type entries []*entry

func (h entries) Len() int { return len(h) }

func (h entries) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *entries) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *entries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
