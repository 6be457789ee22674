package cleaner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/storage"
	"github.com/walser-io/walser/internal/storage/compact"
	"github.com/walser-io/walser/internal/xsync"
)

// Deps is what a Cleaner needs of the world.
type Deps struct {
	Logs       *storage.Manager
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	// Wall gives record time: compaction lags and delete horizons are measured against it.
	Wall func() time.Time
}

// Config are the settings of compaction. All can change while the cleaner runs. Zero values take Kafka's
// default, which the comment names.
type Config struct {
	Threads           int           // log.cleaner.threads; 1
	DedupeBufferBytes int64         // log.cleaner.dedupe.buffer.size, shared by the threads; 128 MiB
	MaxBytesPerSecond float64       // log.cleaner.io.max.bytes.per.second, read and written; no limit
	Backoff           time.Duration // log.cleaner.backoff.ms: the pause where no log is due; 15 s
}

func (c Config) withDefaults() Config {
	if c.Threads <= 0 {
		c.Threads = 1
	}
	if c.DedupeBufferBytes <= 0 {
		c.DedupeBufferBytes = 128 << 20
	}
	if c.Backoff <= 0 {
		c.Backoff = 15 * time.Second
	}
	return c
}

// Cleaner compacts the logs of a node.
type Cleaner struct {
	deps    Deps
	metrics *metrics
	limit   limiter
	config  atomic.Pointer[Config]

	mu struct {
		xsync.Mutex
		busy    map[*storage.Log]struct{}
		aside   map[*storage.Log]setAside
		workers map[int]struct{} // running, by number
		changed chan struct{}    // closed and replaced when the configuration or the workers change
	}
}

// setAside is a log that is left alone, for good where until is zero.
type setAside struct {
	err   error
	until time.Time
}

// New returns a cleaner. It does nothing until Run.
func New(deps Deps, cfg Config) *Cleaner {
	c := &Cleaner{deps: deps, metrics: newMetrics(deps.Registerer)}
	c.mu.busy = map[*storage.Log]struct{}{}
	c.mu.aside = map[*storage.Log]setAside{}
	c.mu.workers = map[int]struct{}{}
	c.mu.changed = make(chan struct{})
	c.SetConfig(cfg)
	return c
}

// SetConfig replaces the configuration: the rate at once, the number of threads and the memory with the
// next round of each.
func (c *Cleaner) SetConfig(cfg Config) {
	cfg = cfg.withDefaults()
	c.config.Store(&cfg)
	c.limit.setRate(cfg.MaxBytesPerSecond)
	c.wake()
}

func (c *Cleaner) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

func (c *Cleaner) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.changed
}

// Uncleanable returns the logs that were set aside for good, with the reason. A restart of the node, or
// deleting the topic, takes them up again.
func (c *Cleaner) Uncleanable() map[model.TopicPartition]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[model.TopicPartition]error{}
	for l, s := range c.mu.aside {
		if s.until.IsZero() {
			found[l.TopicPartition()] = s.err
		}
	}
	return found
}

// Run compacts until ctx ends, and returns when the last thread has stopped. The error is always nil: what
// goes wrong concerns one log.
func (c *Cleaner) Run(ctx context.Context) error {
	var threads sync.WaitGroup
	defer threads.Wait()
	for ctx.Err() == nil {
		changed := c.changed()
		for n := range c.config.Load().Threads {
			if c.hire(n) {
				threads.Go(func() { c.work(ctx, n) })
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

func (c *Cleaner) hire(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, there := c.mu.workers[n]
	c.mu.workers[n] = struct{}{}
	return !there
}

// work is thread n: it cleans while it is one of those configured.
func (c *Cleaner) work(ctx context.Context, n int) {
	defer func() {
		c.mu.Lock()
		delete(c.mu.workers, n)
		c.mu.Unlock()
		c.wake() // the number may have been raised again meanwhile
	}()
	var w worker
	for ctx.Err() == nil {
		changed := c.changed()
		if n >= c.config.Load().Threads {
			return
		}
		if c.clean(ctx, &w) {
			continue
		}
		w = worker{} // idle threads hold no memory
		pause := time.NewTimer(c.config.Load().Backoff)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// CleanOne compacts the log that is most due, one round, and says whether there was one. Run does this;
// only who does not run it calls this.
func (c *Cleaner) CleanOne(ctx context.Context) bool { return c.clean(ctx, &worker{}) }

func (c *Cleaner) clean(ctx context.Context, w *worker) bool {
	job, ok := c.claim()
	if !ok {
		return false
	}
	defer c.release(job.log)
	began := time.Now()
	err := c.supervise(func() error { return w.round(ctx, c, job) })
	c.metrics.rounds.Observe(time.Since(began).Seconds())
	if ctx.Err() == nil {
		c.judge(job.log, err)
	}
	return true
}

// job is one round to do.
type job struct {
	log  *storage.Log
	look *storage.Compaction
	dirt compact.Dirt
}

// claim looks at all logs and takes the one that is most due.
func (c *Cleaner) claim() (job, bool) {
	nowMs := c.deps.Wall().UnixMilli()
	logs := c.deps.Logs.Logs()
	c.forget(logs)
	var due []job
	dirtiest := 0.0
	for _, l := range logs {
		if !l.Config().Compact || l.Err() != nil || c.leftAlone(l) {
			continue
		}
		var look *storage.Compaction
		err := c.supervise(func() (err error) { look, err = l.Compaction(); return err })
		if err != nil {
			c.judge(l, err)
			continue
		}
		dirt := look.Plan().Measure(nowMs)
		dirtiest = max(dirtiest, dirt.Ratio())
		if dirt.Due(look.Plan().Policy) {
			due = append(due, job{l, look, dirt})
		}
	}
	c.metrics.dirtiest.Set(dirtiest)
	slices.SortStableFunc(due, func(a, b job) int { return compact.Compare(a.dirt, b.dirt) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range due {
		if _, taken := c.mu.busy[j.log]; !taken && j.log.CleanedOffset() == j.look.Plan().Cleaned {
			c.mu.busy[j.log] = struct{}{}
			return j, true
		}
	}
	return job{}, false
}

func (c *Cleaner) release(l *storage.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.busy, l)
}

// leftAlone says whether l is being compacted, or set aside.
func (c *Cleaner) leftAlone(l *storage.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.mu.busy[l]; busy {
		return true
	}
	s, aside := c.mu.aside[l]
	if aside && !s.until.IsZero() && !time.Now().Before(s.until) {
		delete(c.mu.aside, l)
		return false
	}
	return aside
}

// forget drops what is known of logs that were closed.
func (c *Cleaner) forget(logs []*storage.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.aside) == 0 {
		return
	}
	open := make(map[*storage.Log]struct{}, len(logs))
	for _, l := range logs {
		open[l] = struct{}{}
	}
	maps.DeleteFunc(c.mu.aside, func(l *storage.Log, _ setAside) bool { _, ok := open[l]; return !ok })
	c.countLocked()
}

func (c *Cleaner) countLocked() {
	n := 0
	for _, s := range c.mu.aside {
		if s.until.IsZero() {
			n++
		}
	}
	c.metrics.uncleanable.Set(float64(n))
}

// judge sets a log aside whose round failed: for a while where that may pass, else for good.
func (c *Cleaner) judge(l *storage.Log, err error) {
	tp := l.TopicPartition()
	switch {
	case err == nil, errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrOffline), errors.Is(err, storage.ErrNotRecovered):
		return
	case errors.Is(err, storage.ErrSegmentsChanged), errors.Is(err, storage.ErrNoSpace):
		c.deps.Logger.Warn("compaction put off", "topic", tp.Topic, "partition", tp.Partition, "err", err)
		c.mu.Lock()
		c.mu.aside[l] = setAside{err, time.Now().Add(c.config.Load().Backoff)}
		c.mu.Unlock()
		return
	}
	c.deps.Logger.Error("log set aside: it cannot be compacted", "topic", tp.Topic, "partition", tp.Partition, "err", err)
	c.mu.Lock()
	c.mu.aside[l] = setAside{err: err}
	c.countLocked()
	c.mu.Unlock()
}

// errPanic is wrapped by what supervise makes of a panic.
var errPanic = errors.New("panic")

// supervise turns a panic into an error: it is one log's, and the others must go on (KAFKA-7215).
func (c *Cleaner) supervise(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return do()
}
