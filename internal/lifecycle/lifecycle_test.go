package lifecycle_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal records what happens to parts, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// part records its start, stop and end, and ends when it is asked to.
func (j *journal) part(name string) lifecycle.Part {
	return lifecycle.Part{
		Name:  name,
		Start: func(context.Context) error { j.add("start " + name); return nil },
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			j.add("end " + name)
			return ctx.Err()
		},
		Stop: func(context.Context) error { j.add("stop " + name); return nil },
	}
}

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, j.lines); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

func TestRun_StartsInOrderStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		started := func() {
			j.add("started")
			time.AfterFunc(time.Hour, cancel)
		}
		passive := lifecycle.Part{Name: "passive", Stop: func(context.Context) error { j.add("stop passive"); return nil }}
		slow := j.part("slow")
		slow.Run = func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute) // those before it wait for its last goroutine
			j.add("end slow")
			return nil
		}
		err := lifecycle.Run(ctx, lifecycle.Options{Started: started}, j.part("log"), passive, slow, j.part("server"))
		if err != nil {
			t.Errorf("Run = %v", err)
		}
		j.check(t, "start log", "start slow", "start server", "started",
			"stop server", "end server", "stop slow", "end slow", "stop passive", "stop log", "end log")
	})
}

func TestRun_FailedStart(t *testing.T) {
	var j journal
	bad := j.part("bad")
	bad.Start = func(context.Context) error { return io.ErrUnexpectedEOF }
	err := lifecycle.Run(t.Context(), lifecycle.Options{Started: func() { j.add("started") }}, j.part("log"), bad, j.part("server"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "start bad: unexpected EOF" {
		t.Errorf("Run = %v", err)
	}
	j.check(t, "start log", "stop log", "end log")
}

func TestRun_CancelledWhileStarting(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	waits := j.part("waits")
	waits.Start = func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }
	err := lifecycle.Run(ctx, lifecycle.Options{Started: func() { j.add("started") }}, j.part("log"), waits, j.part("server"))
	if err != nil {
		t.Errorf("Run = %v; a start that was called off is no error", err)
	}
	j.check(t, "start log", "stop log", "end log")

	j = journal{}
	if err := lifecycle.Run(ctx, lifecycle.Options{Started: func() { j.add("started") }}, j.part("log")); err != nil {
		t.Errorf("Run on a context that is done = %v", err)
	}
	j.check(t)
}

// A part that ends while those after it start: they have not all started then.
func TestRun_PartEndsWhileOthersStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		fails, slow := j.part("fails"), j.part("slow")
		fails.Run = func(context.Context) error { return io.ErrClosedPipe }
		slow.Start = func(context.Context) error { synctest.Wait(); return nil }
		err := lifecycle.Run(t.Context(), lifecycle.Options{Started: func() { j.add("started") }}, fails, slow)
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Run = %v", err)
		}
		j.check(t, "start fails", "stop slow", "end slow", "stop fails")
	})
}

func TestRun_PartEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(context.Context) error
		want string
		is   error
	}{
		{"with_an_error", func(context.Context) error { return io.ErrClosedPipe }, "run raft: io: read/write on closed pipe", io.ErrClosedPipe},
		{"without_one", func(context.Context) error { return nil }, "run raft: it ended by itself", lifecycle.ErrEnded},
		{"with_a_cancel_of_its_own", func(context.Context) error { return context.Canceled }, "run raft: context canceled", context.Canceled},
		{"by_panic", func(context.Context) error { panic(io.ErrNoProgress) }, "run raft: panic: multiple Read calls", io.ErrNoProgress},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				raft := j.part("raft")
				raft.Run = func(ctx context.Context) error {
					time.Sleep(time.Hour)
					return test.run(ctx)
				}
				err := lifecycle.Run(t.Context(), lifecycle.Options{}, j.part("log"), raft, j.part("server"))
				if !errors.Is(err, test.is) || !strings.HasPrefix(err.Error(), test.want) {
					t.Errorf("Run = %v; want %s", err, test.want)
				}
				j.check(t, "start log", "start raft", "start server",
					"stop server", "end server", "stop raft", "stop log", "end log")
			})
		})
	}
}

func TestRun_JoinsErrorsAndBoundsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		hangs, panics, fails := j.part("hangs"), j.part("panics"), j.part("fails")
		hangs.Stop = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		panics.Stop = func(context.Context) error { panic("oh") }
		fails.Run = func(ctx context.Context) error { <-ctx.Done(); return io.ErrShortWrite }
		begin := time.Now()
		err := lifecycle.Run(ctx, lifecycle.Options{StopTimeout: time.Second, Started: cancel}, hangs, panics, fails)
		var got []string
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if strings.HasPrefix(line, "run ") || strings.HasPrefix(line, "stop ") {
				got = append(got, line)
			}
		}
		want := []string{"run fails: short write", "stop panics: panic: oh", "stop hangs: context deadline exceeded"}
		if !slices.Equal(got, want) {
			t.Errorf("Run = %q; want %q", got, want)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("stopping took %v; want the bound of one Stop", took)
		}
		j.check(t, "start hangs", "start panics", "start fails", "stop fails", "end panics", "end hangs")
	})
}

func TestGroup_OneFailsAllEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lifecycle.NewGroup(t.Context())
		begin := time.Now()
		g.Go("early", func(context.Context) error { return nil })
		g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		g.Go("cleans up", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute)
			return io.ErrShortWrite
		})
		g.Go("fails", func(context.Context) error { time.Sleep(time.Hour); return io.ErrUnexpectedEOF })
		err := g.Wait()
		if want := "fails: unexpected EOF\ncleans up: short write"; err == nil || err.Error() != want {
			t.Errorf("Wait = %v; want %q", err, want)
		}
		if took := time.Since(begin); took != time.Hour+time.Minute {
			t.Errorf("Wait took %v", took)
		}
	})
}

func TestGroup_PanicIsAnError(t *testing.T) {
	g := lifecycle.NewGroup(t.Context())
	g.Go("flusher", func(context.Context) error { panic("bad state") })
	err := g.Wait()
	p, ok := errors.AsType[*lifecycle.PanicError](err)
	if !ok || p.Value != "bad state" || !strings.Contains(string(p.Stack), "TestGroup_PanicIsAnError") {
		t.Fatalf("Wait = %v", err)
	}
	if !strings.HasPrefix(err.Error(), "flusher: panic: bad state\n") {
		t.Errorf("Wait = %v", err)
	}
}

func TestGroup_AskedToEnd(t *testing.T) {
	for _, how := range []string{"parent", "stop"} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := lifecycle.NewGroup(ctx)
			for range 3 {
				g.Go("worker", func(ctx context.Context) error {
					g.Go("child", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
					<-g.Context().Done()
					return ctx.Err()
				})
			}
			if how == "parent" {
				cancel()
			} else {
				g.Stop()
			}
			if err := g.Wait(); err != nil {
				t.Errorf("Wait = %v", err)
			}
		})
	}
}

// A cancel that comes from elsewhere, not from the group, is a failure like any other.
func TestGroup_ForeignCancelIsAnError(t *testing.T) {
	g := lifecycle.NewGroup(t.Context())
	g.Go("worker", func(context.Context) error { return context.Canceled })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
}

func TestProtect(t *testing.T) {
	if err := lifecycle.Protect(func() error { return io.EOF }); err != io.EOF {
		t.Errorf("Protect = %v", err)
	}
	if err := lifecycle.Protect(func() error { panic(io.EOF) }); !errors.Is(err, io.EOF) {
		t.Errorf("Protect of a panic = %v", err)
	}
}
