// Package publish hands the metadata of the cluster to the parts of a node, in order.
//
//	quorum ──► Machine: committed image ──► Publisher: logs, coordinators, Current, watchers
//
// The Machine folds committed batches into images as the quorum delivers them. The Publisher takes each
// image through the stages: first the logs are opened and leader epochs set, then coordinators elected or
// resigned, then Current gives the image to handlers, then those who watch configs and the like are
// told. So a handler never sees a partition in an image that its owner does not know yet.
//
// Guarantees: every listener sees every image's changes in order, one call at a time; steps may be folded
// into one when the publisher is behind, and at the start the whole past is one step. Await returns when
// every listener has been told of an offset, so that a change which was answered is in force. The package
// decides nothing and holds no lock while listeners run.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/walser-io/walser/internal/metadata"
	"github.com/walser-io/walser/internal/xsync"
)

// Stage says when a listener hears of an image.
type Stage int

// The stages, in order. Current changes between Coordinators and Watchers.
const (
	Logs         Stage = iota // partitions: open logs, set leader epochs
	Coordinators              // elect and resign by leader epoch
	Watchers                  // handlers' caches, config listeners
	stages       = 3
)

// Listener is told of every image. It must not wait for Await. An error stops the node.
type Listener interface {
	OnMetadata(ctx context.Context, image *metadata.Image, delta *metadata.Delta) error
}

// Publisher takes images through the stages.
type Publisher struct {
	listeners [stages][]Listener
	current   atomic.Pointer[metadata.Image]
	mu        struct {
		xsync.Mutex
		queue   []step
		latest  int64 // offset of the last step that was offered
		told    int64 // offset of the last step that every listener has heard of
		begun   bool
		beginAt int64
		offered chan struct{} // closed at the next offer and at Begin
		heard   chan struct{} // closed at the next change of told
		ended   error         // why Run ended
	}
}

type step struct {
	image *metadata.Image
	delta *metadata.Delta
}

// New returns a publisher whose Current is the empty image.
func New() *Publisher {
	p := &Publisher{}
	p.current.Store(metadata.Empty())
	p.mu.latest, p.mu.told = -1, -1
	p.mu.offered = make(chan struct{})
	p.mu.heard = make(chan struct{})
	return p
}

// Subscribe adds a listener to a stage, behind those that are there. Before Run only.
func (p *Publisher) Subscribe(stage Stage, l Listener) {
	p.listeners[stage] = append(p.listeners[stage], l)
}

// Current returns the image that handlers work on. It is never nil and does not block.
func (p *Publisher) Current() *metadata.Image { return p.current.Load() }

// Await returns when Current has come to this offset and every listener has been told.
func (p *Publisher) Await(ctx context.Context, offset int64) error {
	for {
		p.mu.Lock()
		told, heard, ended := p.mu.told, p.mu.heard, p.mu.ended
		p.mu.Unlock()
		if told >= offset {
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Begin lets Run hand out images, the first when the committed image has come to this offset: that of
// the node's own registration. Until then parts of the past would be taken for the present.
func (p *Publisher) Begin(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.begun, p.mu.beginAt = true, offset
	p.wakeLocked()
}

func (p *Publisher) wakeLocked() {
	close(p.mu.offered)
	p.mu.offered = make(chan struct{})
}

// offer queues the next image. It does not wait: proposals wait for their publication, which bounds
// the queue.
func (p *Publisher) offer(image *metadata.Image, delta *metadata.Delta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.begun {
		p.mu.queue = append(p.mu.queue, step{image, delta})
	} else {
		p.mu.queue = append(p.mu.queue[:0], step{image: image}) // the past is one step
	}
	p.mu.latest = image.Offset()
	p.wakeLocked()
}

// errStopped is what Await returns once Run has ended without an error.
var errStopped = errors.New("the publisher has stopped")

// Run hands out images until the context ends or a listener fails.
func (p *Publisher) Run(ctx context.Context) (err error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.mu.ended = err; err == nil {
			p.mu.ended = errStopped
		}
		p.wakeAwaitLocked()
	}()
	for {
		next, ok, offered := p.take()
		if !ok {
			select {
			case <-offered:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if err := p.publish(ctx, next); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("publish metadata up to offset %d: %w", next.image.Offset(), err)
		}
	}
}

// foldSteps is how many steps may wait before they become one: finding out what changed between two
// images costs as much as they are large.
const foldSteps = 16

// take returns the next step, or a channel that is closed when there may be one.
func (p *Publisher) take() (next step, ok bool, offered <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.begun || p.mu.latest < p.mu.beginAt || len(p.mu.queue) == 0 {
		return step{}, false, p.mu.offered
	}
	first := p.mu.queue[0]
	if first.delta == nil || first.delta.From != p.Current() || len(p.mu.queue) > foldSteps {
		next = p.mu.queue[len(p.mu.queue)-1]
		p.mu.queue = p.mu.queue[:0]
		return step{image: next.image}, true, nil
	}
	p.mu.queue[0] = step{}
	p.mu.queue = p.mu.queue[1:]
	return first, true, nil
}

func (p *Publisher) publish(ctx context.Context, next step) error {
	if next.delta == nil {
		next.delta = metadata.Diff(p.Current(), next.image)
	}
	for stage, listeners := range p.listeners {
		if Stage(stage) == Watchers {
			p.current.Store(next.image)
		}
		for _, l := range listeners {
			if err := l.OnMetadata(ctx, next.image, next.delta); err != nil {
				return err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.told = next.image.Offset()
	p.wakeAwaitLocked()
	return nil
}

func (p *Publisher) wakeAwaitLocked() {
	close(p.mu.heard)
	p.mu.heard = make(chan struct{})
}

// Machine is the state machine behind the quorum: the committed image. Its methods are those that
// quorum.Machine asks for.
type Machine struct {
	publisher *Publisher
	image     atomic.Pointer[metadata.Image]
}

// NewMachine returns a machine at the empty image that offers to p what it commits.
func NewMachine(p *Publisher) *Machine {
	m := &Machine{publisher: p}
	m.image.Store(metadata.Empty())
	return m
}

// Image returns the committed image, which may be ahead of what is published.
func (m *Machine) Image() *metadata.Image { return m.image.Load() }

// Apply folds a committed batch into the image. A stale one is rejected and has no effect; one that
// cannot be folded is fatal.
func (m *Machine) Apply(batch []byte) (offset int64, rejected, fatal error) {
	before := m.image.Load()
	image, delta, err := before.Commit(batch)
	switch {
	case errors.Is(err, metadata.ErrStale):
		return before.Offset(), err, nil
	case err != nil:
		return before.Offset(), nil, err
	}
	m.image.Store(image)
	m.publisher.offer(image, delta)
	return image.Offset(), nil, nil
}

// Snapshot returns the committed image's offset and how to write it.
func (m *Machine) Snapshot() (offset int64, write func(io.Writer) error) {
	image := m.image.Load()
	return image.Offset(), image.WriteSnapshot
}

// Restore replaces the committed image by that of a snapshot.
func (m *Machine) Restore(r io.Reader) error {
	image, err := metadata.ReadSnapshot(r)
	if err != nil {
		return err
	}
	m.image.Store(image)
	m.publisher.offer(image, nil)
	return nil
}
