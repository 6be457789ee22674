package loadgen

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/walser-io/walser/internal/xsync"
)

// The span of a histogram, and its precision: 1 in 1000 of each value. What lies outside counts as the end
// of the span.
const (
	shortest = time.Microsecond
	longest  = 5 * time.Minute
	digits   = 3
)

// Latency is a histogram of durations. It is safe for several goroutines.
type Latency struct {
	mu struct {
		xsync.Mutex
		h *hdrhistogram.Histogram
	}
}

// NewLatency returns an empty histogram.
func NewLatency() *Latency {
	l := &Latency{}
	l.mu.h = hdrhistogram.New(int64(shortest), int64(longest), digits)
	return l
}

// Record counts one duration.
func (l *Latency) Record(d time.Duration) {
	d = min(max(d, shortest), longest)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.mu.h.RecordValue(int64(d)) // it refuses only what lies outside the span
}

// Quantiles are what a report says of a histogram.
type Quantiles struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Quantiles returns the quantiles of what was counted so far.
func (l *Latency) Quantiles() Quantiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(percent float64) time.Duration { return time.Duration(l.mu.h.ValueAtQuantile(percent)) }
	return Quantiles{Count: l.mu.h.TotalCount(), P50: at(50), P99: at(99), P999: at(99.9), Max: time.Duration(l.mu.h.Max())}
}
