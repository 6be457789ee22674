package membership_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/walser-io/walser/internal/kafkaerr"
	"github.com/walser-io/walser/internal/membership"
	"github.com/walser-io/walser/internal/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publisher comes to the offset when told to.
type publisher struct {
	begun chan int64
	there chan struct{}
}

func (p *publisher) Begin(offset int64) { p.begun <- offset }
func (p *publisher) Await(ctx context.Context, _ int64) error {
	select {
	case <-p.there:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isReady(m *membership.Membership) bool {
	select {
	case <-m.Ready():
		return true
	default:
		return false
	}
}

func TestMembership_ReadyWhenItsRegistrationIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{begun: make(chan int64, 1), there: make(chan struct{})}
		answers := []error{kafkaerr.NotController, kafkaerr.RequestTimedOut, nil}
		m := membership.New(metadata.Broker{ID: 3}, membership.Deps{
			Register: func(_ context.Context, b metadata.Broker) (int64, error) {
				err := answers[0]
				answers = answers[1:]
				return 17, err
			},
			Publisher: p, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		if offset := <-p.begun; offset != 17 || len(answers) != 0 {
			t.Errorf("began at %d with %d tries left, want 17 after all", offset, len(answers))
		}
		synctest.Wait()
		if isReady(m) || m.Epoch() != 17 {
			t.Errorf("ready %v with epoch %d before the image holds the registration", isReady(m), m.Epoch())
		}
		close(p.there)
		synctest.Wait()
		if !isReady(m) {
			t.Error("not ready though the image holds the registration")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestMembership_RefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := membership.New(metadata.Broker{ID: 3}, membership.Deps{
			Register: func(context.Context, metadata.Broker) (int64, error) { return 0, kafkaerr.InconsistentClusterID },
			Logger:   slog.New(slog.DiscardHandler),
		})
		if err := m.Run(t.Context()); !errors.Is(err, kafkaerr.InconsistentClusterID) || isReady(m) {
			t.Errorf("Run: %v, ready %v", err, isReady(m))
		}
	})
}

func TestMembership_StopsWhileItTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := membership.New(metadata.Broker{ID: 3}, membership.Deps{
			Register: func(ctx context.Context, _ metadata.Broker) (int64, error) {
				<-ctx.Done()
				return 0, kafkaerr.RequestTimedOut
			},
			Logger: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}
