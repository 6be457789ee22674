package quorum

import (
	"bytes"
	"context"
	"fmt"

	"github.com/walser-io/walser/internal/xsync"
)

// tailBytes bounds the committed batches that are kept for streams. A stream that falls further behind
// goes on with a snapshot.
const tailBytes = 8 << 20

// Commit is one step of a Stream: a batch, or the whole state in its place.
type Commit struct {
	// Offset is that of the last record in the state after this step.
	Offset int64
	// Batch is the batch as it was proposed. It was not rejected. Read only.
	Batch []byte
	// Snapshot is the state as Machine.Snapshot writes it. Exactly one of Batch and Snapshot is set.
	Snapshot []byte
}

// tail is the end of the committed log in memory.
type tail struct {
	machine Machine
	mu      struct {
		xsync.Mutex
		before  int64 // offset before the first batch
		batches []Commit
		bytes   int
		changed chan struct{} // closed when a batch is added
		closed  bool
	}
}

func newTail(m Machine) *tail {
	t := &tail{machine: m}
	t.mu.before = -1
	t.mu.changed = make(chan struct{})
	return t
}

// add appends a batch that was applied.
func (t *tail) add(c Commit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.batches = append(t.mu.batches, c)
	for t.mu.bytes += len(c.Batch); t.mu.bytes > tailBytes && len(t.mu.batches) > 1; {
		first := t.mu.batches[0]
		t.mu.before = first.Offset
		t.mu.bytes -= len(first.Batch)
		t.mu.batches[0] = Commit{}
		t.mu.batches = t.mu.batches[1:]
	}
	t.wakeLocked()
}

// reset forgets all batches: the machine's state came from a snapshot.
func (t *tail) reset(offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.batches, t.mu.bytes, t.mu.before = nil, 0, offset
	t.wakeLocked()
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.closed = true
	t.wakeLocked()
}

func (t *tail) wakeLocked() {
	close(t.mu.changed)
	t.mu.changed = make(chan struct{})
}

// find returns the batch that holds the record at offset from, or behind with nothing where it is too
// old to be here, or a channel that is closed when there is more.
func (t *tail) find(from int64) (c Commit, behind bool, more <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return Commit{}, false, nil, ErrClosed
	}
	if from <= t.mu.before {
		return Commit{}, true, nil, nil
	}
	// Most streams are at the end.
	for i := len(t.mu.batches); i > 0; i-- {
		start := t.mu.before
		if i > 1 {
			start = t.mu.batches[i-2].Offset
		}
		if from > start {
			if from <= t.mu.batches[i-1].Offset {
				return t.mu.batches[i-1], false, nil, nil
			}
			break
		}
	}
	return Commit{}, false, t.mu.changed, nil
}

// Stream reads the committed batches in order. Not for several goroutines.
type Stream struct {
	tail *tail
	next int64
}

// Next returns the next step; it waits for one. It ends with the context's error or ErrClosed.
func (s *Stream) Next(ctx context.Context) (Commit, error) {
	for {
		c, behind, more, err := s.tail.find(s.next)
		switch {
		case err != nil:
			return Commit{}, err
		case behind:
			if c, err = s.snapshot(); err != nil {
				return Commit{}, err
			}
			fallthrough
		case more == nil:
			s.next = c.Offset + 1
			return c, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Commit{}, ctx.Err()
		}
	}
}

func (s *Stream) snapshot() (Commit, error) {
	offset, write := s.tail.machine.Snapshot()
	var state bytes.Buffer
	if err := write(&state); err != nil {
		return Commit{}, fmt.Errorf("write a snapshot for a stream: %w", err)
	}
	return Commit{Offset: offset, Snapshot: state.Bytes()}, nil
}
