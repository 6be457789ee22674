// Package membership is a broker's life in the cluster: it registers the process, learns its broker
// epoch, and opens the start-up gate.
//
//	Run ──► Register (again until it works) ──► Begin(epoch) ──► image holds the registration ──► Ready
//
// Guarantees. Ready is closed once the published image of this node contains its own registration, and
// with it all that was committed before: from then on no answer is older than this process. Until then
// nothing of the past is handed to listeners. The package decides nothing about other brokers.
package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/metadata"
)

// Deps are what a membership works with.
type Deps struct {
	// Register registers the broker with the active controller and returns its broker epoch, which is the
	// offset of the registration. An error with a retriable code, and NotController, is tried again.
	Register func(ctx context.Context, broker metadata.Broker) (epoch int64, err error)
	// Publisher is told where to begin.
	Publisher interface {
		Begin(offset int64)
		Await(ctx context.Context, offset int64) error
	}
	Logger *slog.Logger
}

// Membership is this process as a member of its cluster.
type Membership struct {
	broker metadata.Broker
	deps   Deps
	epoch  atomic.Int64
	ready  chan struct{}
}

// New returns the membership of a broker: its id, incarnation, endpoints, rack and directory ids. The
// incarnation is drawn anew at each process start.
func New(broker metadata.Broker, deps Deps) *Membership {
	m := &Membership{broker: broker, deps: deps, ready: make(chan struct{})}
	m.epoch.Store(-1)
	return m
}

// Ready is closed when the node may answer clients.
func (m *Membership) Ready() <-chan struct{} { return m.ready }

// Epoch returns the broker epoch, -1 before the registration.
func (m *Membership) Epoch() int64 { return m.epoch.Load() }

// Registration is tried again after these times.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
	// tryFor bounds one try, so that a controller that does not answer shows in the log.
	tryFor = 10 * time.Second
)

// Run registers the broker and returns when the context ends, or with an error when the cluster refuses
// this broker for good.
func (m *Membership) Run(ctx context.Context) error {
	epoch, err := m.register(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("register broker %d: %w", m.broker.ID, err)
	}
	m.epoch.Store(epoch)
	m.deps.Publisher.Begin(epoch)
	if err := m.deps.Publisher.Await(ctx, epoch); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("replay metadata up to the registration of broker %d: %w", m.broker.ID, err)
	}
	m.deps.Logger.Info("the broker is registered", "broker", m.broker.ID, "epoch", epoch)
	close(m.ready)
	<-ctx.Done()
	return nil
}

func (m *Membership) register(ctx context.Context) (epoch int64, err error) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		try, cancel := context.WithTimeout(ctx, tryFor)
		epoch, err = m.deps.Register(try, m.broker)
		cancel()
		if err == nil || !retriable(err) || ctx.Err() != nil {
			return epoch, err
		}
		m.deps.Logger.Warn("the registration did not succeed, trying again", "broker", m.broker.ID, "err", err, "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, ctx.Err()
		}
	}
}

func retriable(err error) bool {
	return kafkaerr.CodeOf(err).Retriable() || errors.Is(err, kafkaerr.NotController) || errors.Is(err, kafkaerr.DuplicateBrokerRegistration)
}
