package replica

import (
	"github.com/walser-io/walser/internal/record"
	"github.com/walser-io/walser/internal/storage"
)

// Log returns the replica's log.
func (r *Replica) Log() *storage.Log { return r.log }

// HeavyWaiters is how many batches may wait for their turn to inflate far.
const HeavyWaiters = heavyWaiters

// Validator is a validator of its own.
type Validator struct{ *validator }

// NewValidator returns one where nothing is validated.
func NewValidator() Validator { return Validator{newValidator()} }

// Validate validates a batch of a.
func (v Validator) Validate(a *Append, b record.Batch, rules record.Rules) (record.Verdict, error) {
	return v.validate(a, b, rules)
}

// Occupy takes the place of the batches that inflate far until done is called.
func (v Validator) Occupy() (done func()) {
	v.heavy <- struct{}{}
	return func() { <-v.heavy }
}
