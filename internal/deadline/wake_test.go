package deadline

import (
	"testing"
	"time"
)

// Run is woken for what it would miss and for nothing else: each request that waits schedules a deadline, and a wake-up of
// another thread would cost it more than everything else.
func TestQueue_WakesRunForWhatItWouldMiss(t *testing.T) {
	now := time.Now()
	at := func(ms int) time.Time { return now.Add(time.Duration(ms) * time.Millisecond) }
	nothing := func(time.Time) {}
	q := New()
	expect := func(what string, want bool) {
		t.Helper()
		woken := len(q.wake) > 0
		if woken {
			<-q.wake
			q.next(now) // as Run does then
		}
		if woken != want {
			t.Errorf("%s: woken %v", what, woken)
		}
	}

	q.Schedule(at(500), nothing)
	expect("Run has not looked yet", false)
	q.next(now)
	later := q.Schedule(at(501), nothing)
	expect("a later deadline", false)
	first := q.Schedule(at(400), nothing)
	expect("an earlier one", true)
	q.Cancel(first)
	q.Schedule(at(450), nothing)
	expect("the first one now, after what Run waits for", false)
	q.Reschedule(later, at(420))
	expect("moved to before the first, after what Run waits for", false)
	q.Reschedule(later, at(300))
	expect("moved to before what Run waits for", true)

	if fn, _ := q.next(at(310)); fn == nil {
		t.Fatal("nothing is due")
	}
	q.Schedule(at(1), nothing)
	expect("Run calls a function, and looks again", false)
	for len(q.mu.entries) > 0 {
		q.next(at(1000))
	}
	q.next(at(1000))
	q.Schedule(at(9000), nothing)
	expect("Run waits for nothing", true)
}
