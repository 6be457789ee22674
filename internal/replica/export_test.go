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

// OccupyLarge takes the places of large batches until done is called.
func (v Validator) OccupyLarge() (done func()) { return v.large.occupy() }

// OccupyBoundless takes the place of batches without bounds until done is called.
func (v Validator) OccupyBoundless() (done func()) { return v.boundless.occupy() }

func (q *queue) occupy() (done func()) {
	for range cap(q.places) {
		q.places <- struct{}{}
	}
	return func() {
		for range cap(q.places) {
			<-q.places
		}
	}
}
