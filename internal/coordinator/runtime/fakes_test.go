package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/coordinator/runtime"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
)

// fakeLog is a partition in memory. Unless manual is set, what is appended is committed at once.
type fakeLog struct {
	mu       sync.Mutex
	epoch    int32
	batches  [][]coordinator.Record
	start    int64 // of the first batch: each record takes one offset
	waiting  []func(error)
	manual   bool
	fail     error // of the next append
	failRead error // of the next read
	reads    int
	entered  func() // called by Read, without the lock
	maxBytes int
}

func (l *fakeLog) Append(epoch int32, records []coordinator.Record, committed func(error)) (int64, error) {
	l.mu.Lock()
	err := l.fail
	l.fail = nil
	if epoch != l.epoch {
		err = kafkaerr.NotLeaderOrFollower
	}
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	batch := make([]coordinator.Record, len(records))
	copy(batch, records)
	l.batches = append(l.batches, batch)
	end := l.endLocked()
	manual := l.manual
	if manual {
		l.waiting = append(l.waiting, committed)
	}
	l.mu.Unlock()
	if !manual {
		committed(nil)
	}
	return end, nil
}

func (l *fakeLog) AwaitCommit(_ int64, committed func(error)) {
	l.mu.Lock()
	manual := l.manual
	if manual {
		l.waiting = append(l.waiting, committed)
	}
	l.mu.Unlock()
	if !manual {
		committed(nil)
	}
}

func (l *fakeLog) endLocked() int64 {
	end := l.start
	for _, batch := range l.batches {
		end += int64(len(batch))
	}
	return end
}

func (l *fakeLog) Bounds() (int64, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start, l.endLocked()
}

// Read reads one batch.
func (l *fakeLog) Read(offset int64, visit func(coordinator.Record) error) (int64, error) {
	if l.entered != nil {
		l.entered()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if err := l.failRead; err != nil {
		l.failRead = nil
		return offset, err
	}
	at := l.start
	for _, batch := range l.batches {
		if at += int64(len(batch)); at <= offset {
			continue
		}
		for _, rec := range batch {
			if err := visit(rec); err != nil {
				return offset, err
			}
		}
		return at, nil
	}
	return offset, nil
}

func (l *fakeLog) MaxBatchBytes() int { return l.maxBytes }

// commit ends every wait with err, the oldest first.
func (l *fakeLog) commit(err error) {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, committed := range waiting {
		committed(err)
	}
}

func (l *fakeLog) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *fakeLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batches []string
	for _, batch := range l.batches {
		var b strings.Builder
		for _, rec := range batch {
			fmt.Fprintf(&b, "%s=%s ", rec.Key, rec.Value)
		}
		batches = append(batches, strings.TrimSpace(b.String()))
	}
	return strings.Join(batches, " | ")
}

// The requests of a kvShard.
type (
	put     struct{ records string } // "a=1 b=2": written as one output
	putAll  struct{ records string } // the same, divisible
	get     struct{ key string }
	park    struct{}
	alarm   struct{ in time.Duration } // answered by a tick
	boom    struct{}
	curse   struct{} // Unload panics from now on
	gossip  struct{ events int }
	noticed struct{ what string }
)

// kvShard is a shard that keeps strings.
type kvShard struct {
	values  map[string]string
	parked  []coordinator.WaiterID
	alarms  map[coordinator.WaiterID]time.Time
	loaded  bool
	cursed  bool
	undone  *[]string
	unloads *atomic.Int32
}

func (s *kvShard) Replay(rec coordinator.Record) error {
	if string(rec.Key) == "bad" {
		return fmt.Errorf("a bad record")
	}
	s.values[string(rec.Key)] = string(rec.Value)
	return nil
}

func (s *kvShard) Loaded(time.Time) coordinator.Output {
	s.loaded = true
	return coordinator.Output{}
}

func (s *kvShard) Handle(now time.Time, req coordinator.Request) coordinator.Output {
	if !s.loaded {
		panic("a request before the shard was loaded")
	}
	answer := func(response any) []coordinator.Reply {
		return []coordinator.Reply{{Waiter: req.Waiter, Response: response, AfterCommit: true}}
	}
	switch body := req.Body.(type) {
	case put:
		return coordinator.Output{Records: records(body.records), Replies: answer("put " + body.records), Failed: s.undo(body.records)}
	case putAll:
		return coordinator.Output{
			Records: records(body.records), Replies: answer("put " + body.records), Failed: s.undo(body.records),
			Divisible: true, Flush: true,
		}
	case get:
		return coordinator.Output{Replies: answer(body.key + "=" + s.values[body.key])}
	case park:
		s.parked = append(s.parked, req.Waiter)
	case alarm:
		s.alarms[req.Waiter] = now.Add(body.in)
	case curse:
		s.cursed = true
	case boom:
		panic("boom")
	case gossip:
		return coordinator.Output{Replies: answer("ok"), Events: slices.Repeat([]coordinator.Event{{Name: "gossip", Attrs: []any{"a", 1}}}, body.events)}
	case noticed:
		return coordinator.Output{Records: records("noticed=" + body.what), Replies: answer("ok")}
	}
	return coordinator.Output{}
}

func (s *kvShard) undo(what string) func(error) coordinator.Output {
	return func(err error) coordinator.Output {
		*s.undone = append(*s.undone, what+": "+err.Error())
		return coordinator.Output{Events: []coordinator.Event{{Name: "undone"}}}
	}
}

func records(text string) []coordinator.Record {
	var recs []coordinator.Record
	for _, field := range strings.Fields(text) {
		k, v, _ := strings.Cut(field, "=")
		recs = append(recs, coordinator.Record{Key: []byte(k), Value: []byte(v)})
	}
	return recs
}

func (s *kvShard) Cancel(_ time.Time, w coordinator.WaiterID) coordinator.Output {
	for i, parked := range s.parked {
		if parked == w {
			s.parked = append(s.parked[:i], s.parked[i+1:]...)
			break
		}
	}
	return coordinator.Output{}
}

func (s *kvShard) Tick(now time.Time) coordinator.Output {
	var out coordinator.Output
	for w, at := range s.alarms {
		if !at.After(now) {
			delete(s.alarms, w)
			out.Replies = append(out.Replies, coordinator.Reply{Waiter: w, Response: "alarm"})
		}
	}
	return out
}

func (s *kvShard) Unload() coordinator.Output {
	s.unloads.Add(1)
	if s.cursed {
		panic("cursed")
	}
	var out coordinator.Output
	for _, w := range s.parked {
		out.Replies = append(out.Replies, coordinator.Reply{Waiter: w, Response: "unloaded"})
	}
	return out
}

func (s *kvShard) NextDeadline() (next time.Time, ok bool) {
	for _, at := range s.alarms {
		if !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	return next, ok
}

var (
	p0 = model.TopicPartition{Topic: "kv", Partition: 0}
	p1 = model.TopicPartition{Topic: "kv", Partition: 1}
)

// world is a runtime of kvShards inside a synctest bubble.
type world struct {
	t       *testing.T
	runtime *runtime.Runtime
	log     *fakeLog
	undone  []string
	unloads atomic.Int32
	stop    func()
	answers answers

	logged   lockedBuffer
	registry *prometheus.Registry
}

// lockedBuffer takes the lines of several workers.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// answers collects what was answered, in order.
type answers struct {
	mu  sync.Mutex
	all []string
}

func (a *answers) add(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, text)
}

// take returns what was answered since the last take.
func (a *answers) take() string {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	text := strings.Join(a.all, ", ")
	a.all = nil
	return text
}

func fail(_ any, code kafkaerr.Code) any { return code.Error() }

// start runs a world with partition 0 elected in epoch 1.
func start(t *testing.T, config runtime.Config) *world {
	w := &world{t: t, registry: prometheus.NewRegistry(), log: &fakeLog{epoch: 1, maxBytes: 1 << 20}}
	deadlines := deadline.New()
	var err error
	w.runtime, err = runtime.New(config, runtime.Deps{
		Logger:     slog.New(slog.NewTextHandler(&w.logged, nil)),
		Registerer: w.registry,
		// The node's clock is off by years: only differences of it may count.
		Wall:      func() time.Time { return time.Now().AddDate(7, 0, 0) },
		Deadlines: deadlines,
	}, runtime.Kind{Topic: "kv", New: w.newShard, Fail: fail})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = w.runtime.Run(ctx) })
	running.Go(func() { _ = deadlines.Run(ctx) })
	w.stop = func() {
		cancel()
		running.Wait()
	}
	w.runtime.Elect(p0, 1, w.log)
	synctest.Wait()
	return w
}

func (w *world) newShard(_ int32, memory coordinator.Memory) coordinator.Shard {
	return &kvShard{
		values: map[string]string{}, alarms: map[coordinator.WaiterID]time.Time{},
		undone: &w.undone, unloads: &w.unloads,
	}
}

func (w *world) submit(body any) *runtime.Call { return w.submitTo(p0, body) }

func (w *world) submitTo(tp model.TopicPartition, body any) *runtime.Call {
	return w.runtime.Submit(tp, body, func(response any) { w.answers.add(fmt.Sprint(response)) })
}

// together submits bodies so that one turn finds them all.
func (w *world) together(bodies ...any) {
	w.runtime.Submit(p0, get{"-"}, func(any) {
		for _, body := range bodies {
			w.submit(body)
		}
	})
}

// sleep lets time pass, and what is due then happen.
func (w *world) sleep(d time.Duration) {
	pass(d)
	synctest.Wait()
}

func pass(d time.Duration) {
	time.Sleep(d)
}

func (w *world) expect(want string) {
	w.t.Helper()
	if got := w.answers.take(); got != want {
		w.t.Errorf("answers %q, want %q", got, want)
	}
}

func (w *world) expectLog(want string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.log.text(); got != want {
		w.t.Errorf("log %q, want %q", got, want)
	}
}
