package runtime

import (
	"fmt"
	"time"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/deadline"
)

// load is how far a load has come. A load takes one turn for each chunk, so that a large partition does
// not keep the worker from others.
type load struct {
	shard   coordinator.Shard // nil: no load is under way
	next    int64
	end     int64
	records int
	started time.Time
	backoff time.Duration // before the next attempt, after one that failed
	retry   deadline.Handle
}

const maxBackoffs = 30 // the longest wait between attempts, in first waits

// startLoad makes the executor load from the log start, in its next turns.
func (x *executor) startLoad() {
	x.state = isLoading
	start, end := x.log.Bounds()
	x.load = load{
		shard: x.kind.New(x.tp.Partition, &x.memory), next: start, end: end,
		started: time.Now(), backoff: x.load.backoff,
	}
	x.post(event{kind: loading})
}

// loadMore reads the next chunk, and after the last one has the shard serve.
func (x *executor) loadMore() {
	switch {
	case x.state == isActive, x.state == isGone:
		return
	case x.load.shard == nil:
		x.startLoad()
		return
	case x.load.next < x.load.end:
		if err := x.loadChunk(); err != nil {
			x.loadFailed(err)
			return
		}
	}
	if x.load.next < x.load.end {
		x.post(event{kind: loading})
		return
	}
	x.loaded()
}

func (x *executor) loadChunk() error {
	l := &x.load
	next, err := x.log.Read(l.next, func(rec coordinator.Record) error {
		l.records++
		return l.shard.Replay(rec)
	})
	switch {
	case err != nil:
		return fmt.Errorf("load from offset %d: %w", l.next, err)
	case next <= l.next:
		return fmt.Errorf("load from offset %d: the log holds nothing up to %d", l.next, l.end)
	}
	l.next = next
	return nil
}

// loaded has the shard serve. What it holds may not be committed yet: answers wait until it is.
func (x *executor) loaded() {
	l := x.load
	x.load = load{}
	x.shard, x.state = l.shard, isActive
	elapsed := time.Since(l.started)
	x.runtime.metrics.loadSeconds.Observe(elapsed.Seconds())
	x.logger.Info("coordinator loaded", "records", l.records, "end", l.end, "elapsed", elapsed)
	if l.records > 0 {
		f := &flight{}
		x.launch(f)
		x.log.AwaitCommit(l.end, func(err error) { x.post(event{kind: committed, flight: f, err: err}) })
	}
	x.absorb(x.shard.Loaded(x.now))
	for _, c := range x.patient {
		x.submit(c)
	}
	x.patient = nil
}

// loadFailed tries again later. Until then clients are told to try again too.
func (x *executor) loadFailed(err error) {
	first := x.runtime.config.ReloadBackoff
	wait := max(x.load.backoff, first)
	x.logger.Error("coordinator cannot load", "retryIn", wait, "err", err)
	x.runtime.metrics.loadFailures.Inc()
	x.state = isBroken
	x.load = load{backoff: min(2*wait, maxBackoffs*first)}
	x.memory.close()
	x.retryLoad(wait)
}

func (x *executor) retryLoad(wait time.Duration) {
	x.load.retry = x.runtime.deps.Deadlines.Schedule(time.Now().Add(wait), func(time.Time) {
		x.post(event{kind: loading})
	})
}
