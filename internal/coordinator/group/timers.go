package group

import (
	"container/heap"
	"time"
)

// timerKind says what a timer means when it fires.
type timerKind int8

const (
	sessionTimer timerKind = iota // of a member
	pendingTimer                  // of a member id that was handed out
	joinTimer                     // of a group: the time to join is up
	syncTimer                     // of a group: the time to sync is up
	expiryTimer                   // of the shard: look for offsets to expire
)

// timer is one deadline; it lives in what it belongs to.
type timer struct {
	kind   timerKind
	group  *group
	member *member // of a sessionTimer
	id     string  // of a pendingTimer
	due    time.Time
	at     time.Time // the key in the heap: due, or earlier if due was put off since
	pos    int       // in the heap, from 1 on; 0: not armed
}

// timers is the one deadline structure of a shard. Putting a deadline off, which every heartbeat does,
// touches only the timer: it is moved in the heap when its old deadline comes up.
type timers struct{ heap timerHeap }

func (t *timers) arm(tm *timer, due time.Time) {
	tm.due = due
	switch {
	case tm.pos == 0:
		tm.at = due
		heap.Push(&t.heap, tm)
	case due.Before(tm.at):
		tm.at = due
		heap.Fix(&t.heap, tm.pos-1)
	}
}

func (t *timers) stop(tm *timer) {
	if tm.pos != 0 {
		heap.Remove(&t.heap, tm.pos-1)
	}
}

// fired takes one timer that is due at now out, or nil.
func (t *timers) fired(now time.Time) *timer {
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		tm := t.heap[0]
		if tm.due.After(now) {
			tm.at = tm.due
			heap.Fix(&t.heap, 0)
			continue
		}
		heap.Pop(&t.heap)
		return tm
	}
	return nil
}

func (t *timers) next() (time.Time, bool) {
	if len(t.heap) == 0 {
		return time.Time{}, false
	}
	return t.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	tm := x.(*timer)
	tm.pos = len(*h) + 1
	*h = append(*h, tm)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	tm := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	tm.pos = 0
	return tm
}
