package controller

import (
	"context"

	"github.com/walser-io/walser/internal/control"
)

// ProducerIDSource hands out producer ids of a broker's blocks, each id once in the life of the cluster.
// A restart begins a new block; what was left of the old one is never used. For any goroutine.
type ProducerIDSource struct {
	allocate func(context.Context) (control.ProducerIDs, error)
	// turn holds the block; whoever has taken it out may ask for the next.
	turn chan control.ProducerIDs
}

// NewProducerIDSource returns a source that gets its blocks from allocate.
func NewProducerIDSource(allocate func(context.Context) (control.ProducerIDs, error)) *ProducerIDSource {
	s := &ProducerIDSource{allocate: allocate, turn: make(chan control.ProducerIDs, 1)}
	s.turn <- control.ProducerIDs{}
	return s
}

// Next returns an id that nobody has had. It waits for a new block every control.ProducerIDBlock calls.
func (s *ProducerIDSource) Next(ctx context.Context) (int64, error) {
	select {
	case block := <-s.turn:
		defer func() { s.turn <- block }()
		if block.Count == 0 {
			next, err := s.allocate(ctx)
			if err != nil {
				return 0, err
			}
			block = next
		}
		id := block.First
		block.First++
		block.Count--
		return id, nil
	case <-ctx.Done():
		return 0, timedOut(ctx)
	}
}
