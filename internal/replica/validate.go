package replica

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/record"
)

// validator bounds what the batches of producers can take of the node while they are looked at, whatever
// they inflate to: memory by limits and by how many there are at a time, processors by letting others go first.
//
// A batch that is compressed, or is to be, waits for one of as many places as there are processors, since
// looking at it computes and waits for nothing. There it gets what a client's batch needs, whose size most
// clients count before they compress. What wants more, of whatever codec, begins again in a place of which
// there are few, and what wants more than that in one of which there is one; there it works half of the time.
// So batches that inflate far hold up their like and nobody else.
type validator struct {
	scratches sync.Pool // of *record.Scratch, with the limits of light
	light     chan struct{}
	large     queue
	boundless queue
}

// queue is where batches that inflate far take turns.
type queue struct {
	places  chan struct{}
	limits  record.Limits
	waiting atomic.Int32
}

var (
	// light is what the batches of stock clients need with their default settings, and some more.
	light = record.Limits{MaxWindowBytes: 8 << 20, MaxBlockBytes: 4 << 20, MaxInflatedBytes: 2 << 20}
	// large is what any batch of sane use needs: zstd's levels up to 19 have windows of 8 MiB, lz4's blocks have
	// at most 4 MiB, and a producer's batch.size is far below 16 MiB.
	large = record.Limits{MaxWindowBytes: 8 << 20, MaxBlockBytes: 4 << 20, MaxInflatedBytes: 16 << 20}
)

// heavyWaiters is how many batches may wait in a queue. Each holds its request's bytes meanwhile.
const heavyWaiters = 64

func newValidator() *validator {
	processors := runtime.GOMAXPROCS(0)
	v := &validator{light: make(chan struct{}, processors)}
	v.scratches.New = func() any { return record.NewScratch(light) }
	v.large.places, v.large.limits = make(chan struct{}, max(1, processors/2)), large
	v.boundless.places = make(chan struct{}, 1)
	return v
}

// validate is record.Validate for a batch of a.
func (v *validator) validate(a *Append, b record.Batch, rules record.Rules) (record.Verdict, error) {
	verdict, err := v.validateLight(b, rules)
	if verdict.OverLimits {
		verdict, err = v.large.validate(a, b, rules)
	}
	if verdict.OverLimits {
		verdict, err = v.boundless.validate(a, b, rules)
	}
	return verdict, err
}

func (v *validator) validateLight(b record.Batch, rules record.Rules) (record.Verdict, error) {
	if b.Codec() != record.None || rules.TargetCodec.Resolve(record.None) != record.None {
		v.light <- struct{}{}
		defer func() { <-v.light }()
		rules.Yield = runtime.Gosched
	}
	scratch := v.scratches.Get().(*record.Scratch)
	defer v.scratches.Put(scratch)
	return record.Validate(b, rules, scratch)
}

// validate waits for its turn and validates within the limits of the queue. The memory is let go of after each.
func (q *queue) validate(a *Append, b record.Batch, rules record.Rules) (record.Verdict, error) {
	if q.waiting.Add(1) > heavyWaiters {
		q.waiting.Add(-1)
		return record.Verdict{}, kafkaerr.New(kafkaerr.RequestTimedOut, "%d batches that inflate as far wait before this one", heavyWaiters)
	}
	timeout := time.NewTimer(a.Timeout)
	defer timeout.Stop()
	select {
	case q.places <- struct{}{}:
		q.waiting.Add(-1)
	case <-timeout.C:
		q.waiting.Add(-1)
		return record.Verdict{}, kafkaerr.RequestTimedOut
	}
	defer func() { <-q.places }()
	if a.Abandoned != nil && a.Abandoned() {
		return record.Verdict{}, kafkaerr.RequestTimedOut // nobody reads this
	}
	rules.Yield = halfTime()
	return record.Validate(b, rules, record.NewScratch(q.limits))
}

// halfTime returns a function to call again and again in a long computation: it rests for as long as was
// computed since. To let other goroutines go first would not do where there are no idle processors: those
// that wait for the network are looked at when a processor has nothing else, or every 10 ms.
func halfTime() func() {
	since := time.Now()
	return func() {
		time.Sleep(time.Since(since)) //nolint:forbidigo // resting is what it is for
		since = time.Now()
	}
}
