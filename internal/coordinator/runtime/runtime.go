package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/coordinator"
	"github.com/walser-io/walser/internal/deadline"
	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/model"
	"github.com/walser-io/walser/internal/xsync"
)

// Kind is one internal topic whose partitions are shards.
type Kind struct {
	Topic string
	// New returns the empty shard of one partition, which counts in memory what it holds.
	New func(partition int32, memory coordinator.Memory) coordinator.Shard
	// Fail returns the answer to a request that the shard could not serve.
	Fail func(body any, code kafkaerr.Code) any
}

// Config is what an operator decides.
type Config struct {
	Workers       int           // goroutines that serve shards; 0 is an error, not a default
	CommitTimeout time.Duration // offsets.commit.timeout.ms: how long an answer may wait for its commit
	ReloadBackoff time.Duration // between attempts to load a partition that cannot be read, doubling up to 30 times it
	MaxMemory     int64         // group.coordinator.memory.max.bytes: what all shards may hold together; 0: no bound
}

// DefaultConfig returns Kafka's defaults, and a worker for each of procs processors.
func DefaultConfig(procs int) Config {
	return Config{Workers: max(procs, 1), CommitTimeout: 5 * time.Second, ReloadBackoff: time.Second}
}

// Validate says everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("coordinator workers = %d, want at least 1", c.Workers))
	}
	if c.CommitTimeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("offsets.commit.timeout.ms = %v, want at least 1ms", c.CommitTimeout))
	}
	if c.ReloadBackoff < time.Millisecond {
		errs = append(errs, fmt.Errorf("coordinator reload backoff = %v, want at least 1ms", c.ReloadBackoff))
	}
	if c.MaxMemory < 0 {
		errs = append(errs, fmt.Errorf("group.coordinator.memory.max.bytes = %d, want at least 0", c.MaxMemory))
	}
	return errors.Join(errs...)
}

// Deps is what the runtime stands on.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Wall       func() time.Time
	// Deadlines is run by its owner. It must be running whenever Run is.
	Deadlines *deadline.Queue
}

// Runtime holds the shards of this node. It is safe for concurrent use.
type Runtime struct {
	config  Config
	deps    Deps
	kinds   map[string]*Kind
	metrics *metrics
	memory  memory
	work    chan struct{} // a token for each worker that may have something to do
	stop    chan struct{}

	mu struct {
		xsync.Mutex
		executors map[model.TopicPartition]*executor // that requests go to
		live      map[*executor]struct{}             // these, and those that have not answered everyone yet
		ready     []*executor                        // those with mail, each once
		closing   bool
	}
}

// New returns a runtime without shards. Nothing is served before Run.
func New(config Config, deps Deps, kinds ...Kind) (*Runtime, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r := &Runtime{
		config: config,
		deps:   deps,
		kinds:  map[string]*Kind{},
		work:   make(chan struct{}, config.Workers),
		stop:   make(chan struct{}),
	}
	r.memory.limit = config.MaxMemory
	r.metrics = newMetrics(deps.Registerer, &r.memory)
	for _, kind := range kinds {
		if r.kinds[kind.Topic] != nil {
			return nil, fmt.Errorf("two kinds of shards for topic %s", kind.Topic)
		}
		r.kinds[kind.Topic] = &kind
	}
	r.mu.executors = map[model.TopicPartition]*executor{}
	r.mu.live = map[*executor]struct{}{}
	return r, nil
}

// Run serves until ctx is done; then it resigns from every partition, answers what is parked, and returns
// after the last worker.
func (r *Runtime) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range r.config.Workers {
		workers.Go(r.serve)
	}
	<-ctx.Done()
	r.mu.Lock()
	r.mu.closing = true
	executors := slices.Collect(maps.Keys(r.mu.live))
	clear(r.mu.executors)
	r.mu.Unlock()
	for _, x := range executors {
		x.post(event{kind: closing})
	}
	for _, x := range executors {
		<-x.gone
	}
	close(r.stop)
	workers.Wait()
	return ctx.Err()
}

// serve is one worker.
func (r *Runtime) serve() {
	for {
		if x := r.next(); x != nil {
			x.turn()
			continue
		}
		select {
		case <-r.work:
		case <-r.stop:
			return
		}
	}
}

func (r *Runtime) next() *executor {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.ready) == 0 {
		return nil
	}
	x := r.mu.ready[0]
	r.mu.ready[0] = nil
	r.mu.ready = r.mu.ready[1:]
	return x
}

// enqueue makes x ready for a worker. The caller has made sure that it is not ready yet.
func (r *Runtime) enqueue(x *executor) {
	r.mu.Lock()
	r.mu.ready = append(r.mu.ready, x)
	r.mu.Unlock()
	select {
	case r.work <- struct{}{}:
	default: // as many tokens as workers: each of them looks again before it waits
	}
}

// forget is the last call of an executor.
func (r *Runtime) forget(x *executor) {
	r.mu.Lock()
	delete(r.mu.live, x)
	r.mu.Unlock()
}

// Elect makes this node the coordinator of a partition that it leads at leaderEpoch, and loads it. An
// election that is not newer than the one that stands does nothing.
func (r *Runtime) Elect(tp model.TopicPartition, leaderEpoch int32, log Log) {
	kind := r.kinds[tp.Topic]
	if kind == nil {
		return
	}
	x := newExecutor(r, kind, tp, leaderEpoch, log)
	r.mu.Lock()
	old := r.mu.executors[tp]
	if r.mu.closing || old != nil && old.leaderEpoch >= leaderEpoch {
		r.mu.Unlock()
		return
	}
	r.mu.executors[tp] = x
	r.mu.live[x] = struct{}{}
	r.mu.Unlock()
	if old != nil {
		old.post(event{kind: closing})
	}
	x.post(event{kind: loading})
}

// Resign gives a partition up: this node stopped leading it at leaderEpoch, or it was deleted. What is
// parked is answered with NOT_COORDINATOR. A resignation older than the election that stands does nothing.
func (r *Runtime) Resign(tp model.TopicPartition, leaderEpoch int32) {
	r.mu.Lock()
	x := r.mu.executors[tp]
	if x == nil || x.leaderEpoch > leaderEpoch {
		r.mu.Unlock()
		return
	}
	delete(r.mu.executors, tp)
	r.mu.Unlock()
	x.post(event{kind: closing})
}

// Submit hands a request to the shard of tp. done is called exactly once with the shard's answer, or with
// what Kind.Fail makes of NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS or COORDINATOR_NOT_AVAILABLE:
// from any goroutine, maybe before Submit returns. It must not block.
func (r *Runtime) Submit(tp model.TopicPartition, body any, done func(response any)) *Call {
	kind := r.kinds[tp.Topic]
	if kind == nil {
		done(nil)
		return &Call{}
	}
	r.mu.Lock()
	x, closing := r.mu.executors[tp], r.mu.closing
	r.mu.Unlock()
	c := &Call{executor: x, body: body, done: done}
	switch {
	case closing:
		done(kind.Fail(body, kafkaerr.CoordinatorNotAvailable))
	case x == nil || !x.post(event{kind: submitted, call: c}):
		done(kind.Fail(body, kafkaerr.NotCoordinator))
	}
	return c
}

// Gather hands the same request to every shard of topic that this node has, and calls done once with all
// answers. Shards must not write to the request.
func (r *Runtime) Gather(topic string, body any, done func(responses []any)) {
	partitions := r.Partitions(topic)
	if len(partitions) == 0 {
		done(nil)
		return
	}
	var mu xsync.Mutex
	responses := make([]any, 0, len(partitions))
	for _, partition := range partitions {
		r.Submit(model.TopicPartition{Topic: topic, Partition: partition}, body, func(response any) {
			mu.Lock()
			responses = append(responses, response)
			complete := len(responses) == len(partitions)
			mu.Unlock()
			if complete {
				done(responses)
			}
		})
	}
}

// Notify hands something that happened to every shard of topic that this node has, those that are loading
// included: they get it once they have loaded.
func (r *Runtime) Notify(topic string, body any) {
	r.mu.Lock()
	var executors []*executor
	for tp, x := range r.mu.executors {
		if tp.Topic == topic {
			executors = append(executors, x)
		}
	}
	r.mu.Unlock()
	for _, x := range executors {
		x.post(event{kind: submitted, call: &Call{executor: x, body: body, done: func(any) {}, patient: true}})
	}
}

// Partitions returns the partitions of topic that this node coordinates, loading ones included, in order.
func (r *Runtime) Partitions(topic string) []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var partitions []int32
	for tp := range r.mu.executors {
		if tp.Topic == topic {
			partitions = append(partitions, tp.Partition)
		}
	}
	slices.Sort(partitions)
	return partitions
}

// Call is one request that was submitted.
type Call struct {
	executor *executor
	body     any
	done     func(response any)
	patient  bool // waits while the shard loads

	// The executor's.
	waiter coordinator.WaiterID // 0: not with the shard
}

// Cancel tells the shard that nobody waits for the answer any more. The answer still comes, from the
// shard if it was on its way.
func (c *Call) Cancel() {
	if c.executor != nil {
		c.executor.post(event{kind: cancelled, call: c})
	}
}
