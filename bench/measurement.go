package main

import (
	"fmt"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// measurement is one round of one peer, as it is kept in JSON.
type measurement struct {
	Round     int                `json:"round"`
	Peer      string             `json:"peer"`
	Records   int64              `json:"records"`
	Bytes     int64              `json:"bytes"`
	Elapsed   time.Duration      `json:"elapsed_ns"`
	BrokerCPU time.Duration      `json:"broker_cpu_ns"`
	ClientCPU time.Duration      `json:"client_cpu_ns"`
	DiskRead  int64              `json:"disk_read_bytes"`
	PeakRSS   int64              `json:"peak_rss_bytes"`
	IdleRSS   int64              `json:"idle_rss_bytes"`
	StartUp   time.Duration      `json:"start_up_ns"`
	Produce   *loadgen.Quantiles `json:"produce,omitempty"`
	EndToEnd  *loadgen.Quantiles `json:"end_to_end,omitempty"`
	Lag       *loadgen.Quantiles `json:"lag,omitempty"`
}

// take fills in what a run measured.
func (m *measurement) take(r loadgen.Result, books *account) {
	m.Records, m.Bytes, m.Elapsed = r.Records, r.Bytes, r.Elapsed
	m.BrokerCPU, m.ClientCPU, m.DiskRead = books.total.brokerCPU, books.total.clientCPU, books.total.diskRead
	quantiles := func(l *loadgen.Latency) *loadgen.Quantiles {
		if l == nil {
			return nil
		}
		q := l.Quantiles()
		return &q
	}
	m.Produce, m.EndToEnd, m.Lag = quantiles(r.Produce), quantiles(r.EndToEnd), quantiles(r.Lag)
}

// brief is the round in a line of progress.
func (m *measurement) brief() string {
	line := fmt.Sprintf("%s MiB/s, %s k records/s", number(m.mibPerSecond()), number(m.recordsPerSecond()/1000))
	if m.EndToEnd != nil {
		line += fmt.Sprintf(", end to end p99 %s ms", number(ms(m.EndToEnd.P99)))
	} else if m.Produce != nil {
		line += fmt.Sprintf(", p99 %s ms", number(ms(m.Produce.P99)))
	}
	return line
}

func (m *measurement) mibPerSecond() float64 {
	return float64(m.Bytes) / (1 << 20) / m.Elapsed.Seconds()
}

func (m *measurement) recordsPerSecond() float64 { return float64(m.Records) / m.Elapsed.Seconds() }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// better says which way a figure is good.
type better int

const (
	neither better = iota // it explains others
	lower
	higher
)

// figure is one row of a scenario's table.
type figure struct {
	name   string
	unit   string
	better better
	kinds  []kind // of scenarios that have it; nil: all
	of     func(*measurement) float64
}

var (
	reads = []kind{catchUp}
	loops = []kind{saturate, roundTrips, consume, catchUp}
)

// figures returns the rows, in the order of a table.
func figures() []figure {
	rows := []figure{
		{"throughput", "MiB/s", higher, loops, (*measurement).mibPerSecond},
		{"throughput", "k records/s", higher, loops, func(m *measurement) float64 { return m.recordsPerSecond() / 1000 }},
		{"rate", "k records/s", neither, []kind{stream}, func(m *measurement) float64 { return m.recordsPerSecond() / 1000 }},
		{"measured", "s", neither, nil, func(m *measurement) float64 { return m.Elapsed.Seconds() }},
	}
	for _, latency := range []struct {
		name   string
		better better
		kinds  []kind
		of     func(*measurement) *loadgen.Quantiles
	}{
		{"produce", lower, []kind{roundTrips, stream}, func(m *measurement) *loadgen.Quantiles { return m.Produce }},
		{"end to end", lower, []kind{stream}, func(m *measurement) *loadgen.Quantiles { return m.EndToEnd }},
		{"generator's lag", neither, []kind{stream}, func(m *measurement) *loadgen.Quantiles { return m.Lag }},
	} {
		quantile := func(name string, of func(*loadgen.Quantiles) time.Duration) {
			rows = append(rows, figure{
				latency.name + " " + name, "ms", latency.better, latency.kinds,
				func(m *measurement) float64 { return ms(of(latency.of(m))) },
			})
		}
		quantile("p50", func(q *loadgen.Quantiles) time.Duration { return q.P50 })
		quantile("p99", func(q *loadgen.Quantiles) time.Duration { return q.P99 })
		quantile("p99.9", func(q *loadgen.Quantiles) time.Duration { return q.P999 })
	}
	return append(rows,
		figure{"broker CPU", "s per GiB", lower, nil, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / (float64(m.Bytes) / (1 << 30)) }},
		figure{"broker CPU", "s per M records", lower, nil, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / (float64(m.Records) / 1e6) }},
		figure{"broker CPU", "cores", neither, nil, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / m.Elapsed.Seconds() }},
		figure{"client CPU", "cores", neither, nil, func(m *measurement) float64 { return m.ClientCPU.Seconds() / m.Elapsed.Seconds() }},
		figure{"read from disk", "share", neither, reads, func(m *measurement) float64 { return float64(m.DiskRead) / float64(m.Bytes) }},
		figure{"peak RSS", "MiB", lower, nil, func(m *measurement) float64 { return float64(m.PeakRSS) / (1 << 20) }},
		figure{"RSS before the load", "MiB", lower, nil, func(m *measurement) float64 { return float64(m.IdleRSS) / (1 << 20) }},
		figure{"start-up", "ms", lower, nil, func(m *measurement) float64 { return ms(m.StartUp) }},
	)
}
