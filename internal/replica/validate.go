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
// looking at it computes and waits for nothing. There it gets memory and output for every batch of ordinary
// use. What wants more, of whatever codec, begins again in a place of which there is one, and works there half
// of the time. So a batch that inflates to gigabytes holds up its like and nobody else.
type validator struct {
	scratches sync.Pool // of *record.Scratch, with the limits of ordinary use
	light     chan struct{}
	heavy     chan struct{}
	waiting   atomic.Int32 // for heavy
}

// ordinary is what a batch of ordinary use needs: zstd's levels up to 19 have windows of 8 MiB, lz4's blocks
// have at most 4 MiB, and a producer's batch.size is far below 16 MiB.
var ordinary = record.Limits{MaxWindowBytes: 8 << 20, MaxBlockBytes: 4 << 20, MaxInflatedBytes: 16 << 20}

// heavyWaiters is how many batches may wait for the one place. Each holds its request's bytes meanwhile.
const heavyWaiters = 64

func newValidator() *validator {
	v := &validator{light: make(chan struct{}, runtime.GOMAXPROCS(0)), heavy: make(chan struct{}, 1)}
	v.scratches.New = func() any { return record.NewScratch(ordinary) }
	return v
}

// validate is record.Validate for a batch of a.
func (v *validator) validate(a *Append, b record.Batch, rules record.Rules) (record.Verdict, error) {
	verdict, err := v.validateLight(b, rules)
	if !verdict.OverLimits {
		return verdict, err
	}
	return v.validateHeavy(a, b, rules)
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

// validateHeavy waits for its turn and validates with all that a batch may take. The memory is let go of
// after each.
func (v *validator) validateHeavy(a *Append, b record.Batch, rules record.Rules) (record.Verdict, error) {
	if v.waiting.Add(1) > heavyWaiters {
		v.waiting.Add(-1)
		return record.Verdict{}, kafkaerr.New(kafkaerr.RequestTimedOut, "%d batches that inflate to more than %d bytes wait before this one",
			heavyWaiters, ordinary.MaxInflatedBytes)
	}
	timeout := time.NewTimer(a.Timeout)
	defer timeout.Stop()
	select {
	case v.heavy <- struct{}{}:
		v.waiting.Add(-1)
	case <-timeout.C:
		v.waiting.Add(-1)
		return record.Verdict{}, kafkaerr.RequestTimedOut
	}
	defer func() { <-v.heavy }()
	if a.Abandoned != nil && a.Abandoned() {
		return record.Verdict{}, kafkaerr.RequestTimedOut // nobody reads this
	}
	rules.Yield = halfTime()
	return record.Validate(b, rules, record.NewScratch(record.Limits{}))
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
