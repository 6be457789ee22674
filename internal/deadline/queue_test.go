package deadline_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/deadline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts q.Run and returns what stops it and waits for it.
func run(t *testing.T, q *deadline.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	}
}

func TestQueue_CallsAtTheTimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := deadline.New()
		start := time.Now()
		type call struct {
			Name string
			At   time.Duration
		}
		var got []call
		record := func(name string) func(time.Time) {
			return func(now time.Time) {
				if !now.Equal(time.Now()) {
					t.Errorf("%s got the time %v at %v", name, now, time.Now())
				}
				got = append(got, call{name, now.Sub(start)})
			}
		}
		at := func(d time.Duration) time.Time { return start.Add(d) }
		q.Schedule(at(3*time.Second), record("third"))
		q.Schedule(at(-time.Hour), record("past"))
		defer run(t, q)()
		synctest.Wait() // Run waits for nothing now: a new first deadline must wake it
		q.Schedule(at(time.Second), record("first"))
		q.Schedule(at(2*time.Second), record("second"))
		q.Schedule(at(2*time.Second), record("second, too"))
		gone := q.Schedule(at(2*time.Second), record("cancelled"))
		moved := q.Schedule(at(time.Hour), record("brought forward"))
		later := q.Schedule(at(time.Second), record("put off"))
		if !q.Cancel(gone) || q.Cancel(gone) || q.Reschedule(gone, at(0)) {
			t.Error("a deadline can be cancelled once, and then not be moved")
		}
		synctest.Wait()
		if !q.Reschedule(moved, at(500*time.Millisecond)) || !q.Reschedule(later, at(3*time.Second)) {
			t.Error("a waiting deadline could not be moved")
		}
		q.Schedule(at(4*time.Second), func(now time.Time) {
			q.Schedule(now.Add(time.Second), record("scheduled by another"))
			q.Schedule(now, record("at once"))
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if q.Cancel(later) || q.Reschedule(later, at(time.Hour)) || q.Cancel(deadline.Handle{}) || q.Reschedule(deadline.Handle{}, start) {
			t.Error("a deadline that ran, or the zero Handle, was cancelled or moved")
		}
		reused := q.Schedule(time.Now().Add(time.Hour), record("never"))
		for _, old := range []deadline.Handle{gone, moved, later} {
			if q.Cancel(old) || q.Reschedule(old, start) {
				t.Error("a handle of a deadline that is over names a new one")
			}
		}
		if !q.Cancel(reused) {
			t.Error("a deadline could not be cancelled")
		}
		want := []call{
			{"past", 0},
			{"brought forward", 500 * time.Millisecond},
			{"first", time.Second},
			{"second", 2 * time.Second},
			{"second, too", 2 * time.Second},
			{"third", 3 * time.Second},
			{"put off", 3 * time.Second},
			{"at once", 4 * time.Second},
			{"scheduled by another", 5 * time.Second},
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if n := q.Len(); n != 0 {
			t.Errorf("%d deadlines are left", n)
		}
	})
}

func TestQueue_WakesForANewFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := deadline.New()
		defer run(t, q)()
		start := time.Now()
		var ran []time.Duration
		record := func(now time.Time) { ran = append(ran, now.Sub(start)) }
		for _, d := range []time.Duration{time.Hour, time.Minute, time.Second} {
			synctest.Wait() // Run waits, for nothing or for a later deadline
			q.Schedule(start.Add(d), record)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if want := []time.Duration{time.Second, time.Minute, time.Hour}; !slices.Equal(ran, want) {
			t.Errorf("ran after %v; want %v", ran, want)
		}
	})
}

func TestQueue_CancelInsideACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := deadline.New()
		at := time.Now().Add(time.Second)
		var second deadline.Handle
		q.Schedule(at, func(time.Time) {
			if !q.Cancel(second) {
				t.Error("Cancel of a deadline that is due but not started = false")
			}
		})
		second = q.Schedule(at, func(time.Time) { t.Error("a cancelled function ran") })
		defer run(t, q)()
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

func TestQueue_NothingRunsAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := deadline.New()
		stop := run(t, q)
		calls := 0
		for range 3 { // the first stops Run: those due at the same time stay
			q.Schedule(time.Now().Add(time.Second), func(time.Time) { calls++; go stop(); synctest.Wait() })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls != 1 || q.Len() != 2 {
			t.Errorf("%d calls, %d left; want 1 and 2", calls, q.Len())
		}
	})
}

// Thousands of deadlines, many cancelled or moved, against a list that is sorted.
func TestQueue_AgainstSortedList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		q := deadline.New()
		stop := run(t, q)
		start := time.Now()
		type item struct {
			id, order int
			at        time.Duration
			h         deadline.Handle
		}
		var model []*item
		var got []int
		order := 0
		draw := func() time.Duration { return time.Duration(rng.IntN(1000)+1) * time.Millisecond }
		for id := range 5000 {
			it := &item{id: id, order: order, at: draw()}
			order++
			it.h = q.Schedule(start.Add(it.at), func(now time.Time) {
				if now.Sub(start) != it.at {
					t.Errorf("%d ran at %v; want %v", id, now.Sub(start), it.at)
				}
				got = append(got, id)
			})
			model = append(model, it)
			switch i := rng.IntN(len(model)); rng.IntN(3) {
			case 0:
				if !q.Cancel(model[i].h) {
					t.Fatal("Cancel = false")
				}
				model = slices.Delete(model, i, i+1)
			case 1:
				model[i].at, model[i].order = draw(), order
				order++
				if !q.Reschedule(model[i].h, start.Add(model[i].at)) {
					t.Fatal("Reschedule = false")
				}
			}
		}
		if q.Len() != len(model) {
			t.Errorf("Len = %d; want %d", q.Len(), len(model))
		}
		time.Sleep(2 * time.Second)
		stop()
		slices.SortFunc(model, func(a, b *item) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.order, b.order))
		})
		var want []int
		for _, it := range model {
			want = append(want, it.id)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d calls differ from the %d of the sorted list", len(got), len(want))
		}
	})
}

func TestQueue_OneGoroutineForAll(t *testing.T) {
	q := deadline.New()
	stop := run(t, q)
	defer stop()
	before := runtime.NumGoroutine()
	for range 10_000 {
		q.Schedule(time.Now().Add(time.Hour), func(time.Time) {})
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("10000 deadlines took %d goroutines", after-before)
	}
}

// With the race detector: a function runs exactly when its Cancel says false.
func TestQueue_ConcurrentUse(t *testing.T) {
	q := deadline.New()
	stop := run(t, q)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 0))
			for range 500 {
				ran := make(chan struct{})
				h := q.Schedule(time.Now().Add(time.Duration(rng.IntN(200))*time.Microsecond), func(time.Time) { close(ran) })
				if rng.IntN(2) == 0 {
					q.Reschedule(h, time.Now())
				}
				if rng.IntN(2) == 0 {
					runtime.Gosched()
				}
				if !q.Cancel(h) {
					<-ran
				}
			}
		})
	}
	wg.Wait()
	stop()
	if n := q.Len(); n != 0 {
		t.Errorf("%d deadlines are left", n)
	}
}

func BenchmarkScheduleCancel(b *testing.B) {
	q := deadline.New()
	base := time.Now().Add(time.Hour)
	nothing := func(time.Time) {}
	for i := range 10_000 {
		q.Schedule(base.Add(time.Duration(i)*time.Millisecond), nothing)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		q.Cancel(q.Schedule(base.Add(time.Duration(i%10_000)*time.Millisecond), nothing))
	}
}
