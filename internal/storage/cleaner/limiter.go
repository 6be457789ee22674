package cleaner

import (
	"context"
	"math"
	"time"

	"github.com/walser-io/walser/internal/xsync"
)

// limiter holds the threads together below a rate of bytes per second. It lets no burst through: a second
// of idling is no credit.
type limiter struct {
	mu struct {
		xsync.Mutex
		rate float64   // bytes per second, 0 no limit
		free time.Time // when the bytes that were let through are paid
	}
}

// maxDebt is how far the payment may lag: waiting for less is not worth a timer.
const maxDebt = 10 * time.Millisecond

func (l *limiter) setRate(rate float64) {
	if math.IsNaN(rate) || rate <= 0 || rate >= math.MaxFloat64 || math.IsInf(rate, 0) {
		rate = 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.rate, l.mu.free = rate, time.Time{}
}

// wait returns when n more bytes may pass, or with the error of ctx.
func (l *limiter) wait(ctx context.Context, n int) error {
	now := time.Now()
	pause := l.take(now, n)
	if pause < maxDebt {
		return ctx.Err()
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (l *limiter) take(now time.Time, n int) (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.rate == 0 {
		return 0
	}
	if l.mu.free.Before(now) {
		l.mu.free = now
	}
	l.mu.free = l.mu.free.Add(time.Duration(min(float64(n)/l.mu.rate*float64(time.Second), float64(time.Hour))))
	return l.mu.free.Sub(now)
}
