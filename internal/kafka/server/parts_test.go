package server_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/walser-io/walser/internal/kafka/server"
)

func TestClassFor_IsTheSmallestThatFits(t *testing.T) {
	for class := range server.Classes {
		size := server.ClassSize(class)
		if got := server.ClassFor(size); got != class {
			t.Errorf("class %d for its own size %d, want %d", got, size, class)
		}
		if got := server.ClassFor(size + 1); got != class+1 && class+1 < server.Classes {
			t.Errorf("class %d for %d, want %d", got, size+1, class+1)
		}
	}
	round := func(class int) int { return server.ClassSize(class) / (256 << 10) * (256 << 10) }
	for n := 256 << 10; n < 1<<30; n = n*5/4 + 1 {
		class := server.ClassWithin(n)
		if round(class) > n || round(class+1) <= n {
			t.Errorf("class of %d bytes is not the largest within %d", round(class), n)
		}
	}
	for n, want := range map[int]int{0: 0, 16<<10 - 1: 0, 16 << 10: 1, 64 << 10: 2, 256<<10 - 1: 2, 1 << 40: server.Classes - 1} {
		if got := server.ClassWithin(n); got != want {
			t.Errorf("class %d within %d, want %d", got, n, want)
		}
	}
	if got := server.ClassSize(server.Classes - 1); got < 1<<31 {
		t.Errorf("the largest class holds %d bytes, less than a frame may have", got)
	}
}

func TestRing_IsAQueueWithAMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q server.Ring
		var inFlight, waiting []int
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) {
				next++
				q.Push(next)
				waiting = append(waiting, next)
			},
			"start": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nothing waits")
				}
				if got := q.Start(); got != waiting[0] {
					t.Fatalf("started %d, want %d", got, waiting[0])
				}
				inFlight, waiting = append(inFlight, waiting[0]), waiting[1:]
			},
			"pop": func(t *rapid.T) {
				if len(inFlight) == 0 {
					t.Skip("nothing is in flight")
				}
				if got := q.Pop(); got != inFlight[0] {
					t.Fatalf("popped %d, want %d", got, inFlight[0])
				}
				inFlight = inFlight[1:]
			},
			"drain": func(t *rapid.T) {
				if got := q.Drain(); !slices.Equal(got, slices.Concat(inFlight, waiting)) {
					t.Fatalf("drained %v, want %v and %v", got, inFlight, waiting)
				}
				inFlight, waiting = nil, nil
			},
			"": func(t *rapid.T) {
				if q.Len() != len(inFlight)+len(waiting) || q.InFlight() != (len(inFlight) > 0) || q.Waiting() != (len(waiting) > 0) {
					t.Fatalf("ring of %d, want %v in flight and %v waiting", q.Len(), inFlight, waiting)
				}
			},
		})
	})
}

func TestBudget_LargeLeavesTheReserve(t *testing.T) {
	b := server.NewBudget(100, 30)
	steps := []struct {
		n     int64
		large bool
		want  bool
	}{
		{70, true, true},
		{1, true, false},
		{30, false, true},
		{1, false, false},
	}
	for _, step := range steps {
		if got := b.Try(step.n, step.large); got != step.want {
			t.Fatalf("%d large=%v: %v", step.n, step.large, got)
		}
	}
	b.Give(30, false)
	b.Give(70, true)
	if all, large := b.Used(); all != 0 || large != 0 {
		t.Errorf("%d and %d are used after all was given back", all, large)
	}
	if !b.Try(100, false) {
		t.Error("small ones may not use all of it")
	}
}

func TestBudget_WaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := server.NewBudget(100, 10)
		b.Try(85, true)
		served := make(chan int64, 9)
		for _, n := range []int64{80, 1, 2} {
			go func() {
				if err := b.Wait(t.Context(), n, true, time.Hour, func() {}); err != nil {
					t.Error(err)
				}
				served <- n
			}()
			synctest.Wait()
		}
		if b.Try(1, true) {
			t.Error("one who came later went first")
		}
		if !b.Try(10, false) {
			t.Error("a small one waits for the large ones")
		}
		b.Give(70, true)
		synctest.Wait()
		if len(served) != 0 {
			t.Error("a waiter behind the first was served")
		}
		b.Give(15, true)
		if sum := <-served + <-served + <-served; sum != 83 {
			t.Errorf("%d bytes were served, want 83", sum)
		}
		if all, large := b.Used(); all != 93 || large != 83 {
			t.Errorf("%d and %d are used, want 93 and 83", all, large)
		}
	})
}

func TestBudget_AWaiterThatLeavesTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := server.NewBudget(100, 10)
		b.Try(90, true)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() { left <- b.Wait(ctx, 50, true, time.Hour, func() {}) }()
		synctest.Wait()
		behind := make(chan error)
		go func() { behind <- b.Wait(t.Context(), 5, true, time.Hour, func() {}) }()
		synctest.Wait()
		b.Give(5, true) // enough for the second only
		cancel(gone)
		if err := <-left; !errors.Is(err, gone) {
			t.Errorf("left with %v", err)
		}
		if err := <-behind; err != nil {
			t.Error(err)
		}
		b.Give(90, true)
		if all, large := b.Used(); all != 0 || large != 0 {
			t.Errorf("%d and %d are used in the end", all, large)
		}
	})
}

// A grant and the end of the waiter's context may meet: the bytes are either the waiter's or nobody's.
func TestBudget_AGrantThatMeetsTheEndIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			b := server.NewBudget(100, 10)
			b.Try(90, true)
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan error)
			go func() { left <- b.Wait(ctx, 50, true, time.Hour, func() {}) }()
			synctest.Wait()
			cancel() // the waiter leaves for this, but perhaps not before the bytes are its own
			b.Give(90, true)
			want := int64(50)
			if err := <-left; err != nil {
				want = 0
			}
			if _, large := b.Used(); large != want {
				t.Fatalf("%d bytes are used, want %d", large, want)
			}
		}
	})
}

func TestBudget_ShedsOncePerPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := server.NewBudget(100, 10)
		b.Try(90, true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		shed := make(chan struct{}, 99)
		done := make(chan error)
		for range 5 {
			go func() { done <- b.Wait(ctx, 10, true, time.Second, func() { shed <- struct{}{} }) }()
		}
		for range 5 {
			if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		if got := len(shed); got != 10 {
			t.Errorf("five waiters shed %d times in 10 s, want 10", got)
		}
	})
}

func ip(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func TestAdmission_Caps(t *testing.T) {
	type step struct {
		addr string
		want error
	}
	tests := []struct {
		name   string
		change func(*server.Limits)
		steps  []step
	}{
		{"no bound per address", func(*server.Limits) {}, []step{{"10.0.0.1:1", nil}, {"10.0.0.1:2", nil}, {"10.0.0.1:3", nil}}},
		{"a bound per address", func(l *server.Limits) { l.MaxConnectionsPerIP = 2 }, []step{
			{"10.0.0.1:1", nil}, {"10.0.0.1:2", nil}, {"10.0.0.1:3", server.ErrTooManyPerIP}, {"10.0.0.2:1", nil},
		}},
		{"v4 in v6 is the same address", func(l *server.Limits) { l.MaxConnectionsPerIP = 1 }, []step{
			{"10.0.0.1:1", nil}, {"[::ffff:10.0.0.1]:2", server.ErrTooManyPerIP},
		}},
		{"loopback has none", func(l *server.Limits) { l.MaxConnectionsPerIP = 1 }, []step{
			{"127.0.0.1:1", nil}, {"127.0.0.1:2", nil}, {"[::1]:1", nil}, {"[::1]:2", nil}, {"[::ffff:127.0.0.1]:1", nil},
		}},
		{"a bound of nobody", func(l *server.Limits) { l.MaxConnectionsPerIP = 0 }, []step{
			{"10.0.0.1:1", server.ErrTooManyPerIP}, {"127.0.0.1:1", nil},
		}},
		{"an override", func(l *server.Limits) {
			l.MaxConnectionsPerIP = 1
			l.MaxConnectionsPerIPOverrides = map[netip.Addr]int{netip.MustParseAddr("10.0.0.9"): 2, netip.MustParseAddr("10.0.0.8"): 0}
		}, []step{
			{"10.0.0.9:1", nil},
			{"10.0.0.9:2", nil},
			{"10.0.0.9:3", server.ErrTooManyPerIP},
			{"10.0.0.8:1", server.ErrTooManyPerIP},
			{"10.0.0.1:1", nil},
			{"10.0.0.1:2", server.ErrTooManyPerIP},
		}},
		{"the global bound holds for loopback too", func(l *server.Limits) { l.MaxConnections = 2 }, []step{
			{"10.0.0.1:1", nil}, {"127.0.0.1:1", nil}, {"127.0.0.1:2", server.ErrTooMany}, {"10.0.0.2:1", server.ErrTooMany},
		}},
		{"a global bound of nobody", func(l *server.Limits) { l.MaxConnections = 0 }, []step{{"127.0.0.1:1", server.ErrTooMany}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			limits := server.DefaultLimits()
			test.change(&limits)
			a := server.NewAdmission(limits)
			var leaves []func()
			for round := range 2 { // the second shows that every place was given back
				for _, s := range test.steps {
					_, leave, err := a.Enter(ip(s.addr), 0)
					if !errors.Is(err, s.want) {
						t.Fatalf("round %d: %s: %v, want %v", round, s.addr, err, s.want)
					}
					if err == nil {
						leaves = append(leaves, leave)
					}
				}
				for _, leave := range leaves {
					leave()
				}
				leaves = leaves[:0]
				if n := a.Counted(); n != 0 {
					t.Errorf("%d addresses are remembered", n)
				}
			}
		})
	}
}

func TestAdmission_ChangedLimitsHoldForTheNextConnection(t *testing.T) {
	a := server.NewAdmission(server.DefaultLimits())
	var leaves []func()
	enter := func(addr string) error {
		_, leave, err := a.Enter(ip(addr), 0)
		if err == nil {
			leaves = append(leaves, leave)
		}
		return err
	}
	set := func(change func(*server.Limits)) {
		limits := server.DefaultLimits()
		change(&limits)
		a.SetLimits(limits)
	}
	for range 3 {
		if err := enter("10.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
	}
	set(func(l *server.Limits) { l.MaxConnectionsPerIP = 2 })
	if err := enter("10.0.0.1:2"); !errors.Is(err, server.ErrTooManyPerIP) {
		t.Errorf("with 3 of 2 from one address: %v", err)
	}
	leaves[0]() // two are left: the bound counts those of before
	if err := enter("10.0.0.1:2"); !errors.Is(err, server.ErrTooManyPerIP) {
		t.Errorf("with 2 of 2 from one address: %v", err)
	}
	set(func(l *server.Limits) { l.MaxConnections = 2 })
	if err := enter("10.0.0.2:1"); !errors.Is(err, server.ErrTooMany) {
		t.Errorf("with 2 of 2 in all: %v", err)
	}
	set(func(*server.Limits) {})
	if err := enter("10.0.0.1:2"); err != nil {
		t.Errorf("with the bounds taken away: %v", err)
	}
}

func TestAdmission_ChangedRateInheritsNoQueue(t *testing.T) {
	limits := server.DefaultLimits()
	limits.MaxConnectionCreationRate = 0
	a := server.NewAdmission(limits)
	const now = time.Hour
	last := func(connections int) (wait time.Duration) {
		for range connections {
			var err error
			if wait, _, err = a.Enter(ip("10.0.0.1:1"), now); err != nil {
				t.Fatal(err)
			}
		}
		return wait
	}
	if wait := last(100); wait != 99*time.Second {
		t.Errorf("at rate 0 the hundredth connection waits %v, want 99s", wait)
	}
	limits.MaxConnectionCreationRate = 10
	a.SetLimits(limits)
	if wait := last(10); wait != 0 {
		t.Errorf("the tenth connection at the new rate waits %v", wait)
	}
	limits.MaxConnections = 1000
	a.SetLimits(limits) // another limit does not hand out a second's worth
	if wait := last(1); wait != 100*time.Millisecond {
		t.Errorf("the eleventh connection at the new rate waits %v, want 100ms", wait)
	}
}

func TestAdmission_RateSpreadsConnections(t *testing.T) {
	limits := server.DefaultLimits()
	limits.MaxConnectionCreationRate = 10
	a := server.NewAdmission(limits)
	enter := func(addr string, now time.Duration) time.Duration {
		wait, _, err := a.Enter(ip(addr), now)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	const now = time.Hour
	for i := range 10 {
		if wait := enter("10.0.0.1:1", now); wait != 0 {
			t.Errorf("connection %d of the first second waits %v", i, wait)
		}
	}
	for i := range 5 {
		if wait, want := enter("10.0.0.1:1", now), time.Duration(i+1)*100*time.Millisecond; wait != want {
			t.Errorf("connection %d waits %v, want %v", 10+i, wait, want)
		}
	}
	if wait := enter("127.0.0.1:1", now); wait != 0 {
		t.Errorf("loopback waits %v", wait)
	}
	if wait := enter("10.0.0.1:1", now+time.Hour); wait != 0 {
		t.Errorf("after a quiet hour a connection waits %v", wait)
	}
}

// Group members show the addresses of their clients, and Kafka shows what Java makes of them.
func TestClientHost_IsWhatJavaPrints(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:5":              "/10.0.0.1",
		"[::ffff:10.0.0.1]:5":     "/10.0.0.1",
		"[::1]:5":                 "/0:0:0:0:0:0:0:1",
		"[2001:db8::ff00:42]:5":   "/2001:db8:0:0:0:0:ff00:42",
		"[fe80::a00:27ff%eth0]:5": "/fe80:0:0:0:0:0:a00:27ff%eth0",
	} {
		if got := server.ClientHost(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
