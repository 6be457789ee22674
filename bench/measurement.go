package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/walser-io/walser/internal/loadgen"
)

// measurement is one round of one peer, as it is kept in JSON. A kind of case fills in what it measures.
type measurement struct {
	Round     int                `json:"round"`
	Peer      string             `json:"peer"`
	Records   int64              `json:"records,omitempty"`
	Bytes     int64              `json:"bytes,omitempty"`
	Elapsed   time.Duration      `json:"elapsed_ns,omitempty"`
	BrokerCPU time.Duration      `json:"broker_cpu_ns,omitempty"`
	ClientCPU time.Duration      `json:"client_cpu_ns,omitempty"`
	OtherCPU  time.Duration      `json:"other_cpu_ns,omitempty"` // of the machine: the kernel, the peers whose turn it is not, others
	DiskRead  int64              `json:"disk_read_bytes,omitempty"`
	PeakRSS   int64              `json:"peak_rss_bytes,omitempty"` // of the process, over all rounds that it served
	IdleRSS   int64              `json:"idle_rss_bytes,omitempty"`
	Produce   *loadgen.Quantiles `json:"produce,omitempty"`
	EndToEnd  *loadgen.Quantiles `json:"end_to_end,omitempty"`
	Lag       *loadgen.Quantiles `json:"lag,omitempty"`

	StartUp        time.Duration `json:"start_up_ns,omitempty"`
	Acknowledged   time.Duration `json:"acknowledged_ns,omitempty"`     // since the kill
	AllServed      time.Duration `json:"all_served_ns,omitempty"`       // since the kill
	ConnectionsRSS int64         `json:"connections_rss_bytes"`         // what open connections added; may be negative
	BatchCPU       time.Duration `json:"batch_cpu_ns,omitempty"`        // of a batch to one of many partitions
	SoleBatchCPU   time.Duration `json:"batch_cpu_of_one_ns,omitempty"` // of a batch to the only partition
}

// take fills in what a load measured.
func (m *measurement) take(r loadgen.Result, books *account) {
	m.Records, m.Bytes, m.Elapsed = r.Records, r.Bytes, r.Elapsed
	m.BrokerCPU, m.ClientCPU, m.OtherCPU, m.DiskRead = books.total.brokerCPU, books.total.clientCPU, books.total.otherCPU(), books.total.diskRead
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
func (m *measurement) brief(k kind) string {
	switch k {
	case startUp:
		return fmt.Sprintf("%s ms, %s MB", number(ms(m.StartUp)), number(mb(m.IdleRSS)))
	case restart:
		return number(ms(m.Acknowledged)) + " ms"
	case idleConnections:
		return number(mb(m.ConnectionsRSS)) + " MB"
	}
	line := fmt.Sprintf("%s MiB/s, %s k records/s, %s cores", number(m.mibPerSecond()), number(m.recordsPerSecond()/1000), number(m.BrokerCPU.Seconds()/m.Elapsed.Seconds()))
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

func (m *measurement) otherCores() float64 { return m.OtherCPU.Seconds() / m.Elapsed.Seconds() }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// better says which way a figure is good.
type better int

const (
	neither better = iota // it explains others
	lower
	higher
)

// The figures that targets name.
const (
	throughput        = "throughput, k records/s"
	produceP99        = "produce p99, ms"
	endToEndP50       = "end to end p50, ms"
	endToEndP99       = "end to end p99, ms"
	endToEndP999      = "end to end p99.9, ms"
	cpuPerByte        = "broker CPU, s per GiB"
	cpuPerRecord      = "broker CPU, s per M records"
	peakRSS           = "peak RSS, MB"
	idleRSS           = "idle RSS, MB"
	metadataAfterExec = "exec to first Metadata, ms"
	ackAfterKill      = "kill -9 to acknowledged produce, ms"
	connectionsRSS    = "RSS of 5 000 idle connections, MB"
	manyByOne         = "CPU per batch, 1 000 partitions by 1"
)

// figure is one row of a case's table.
type figure struct {
	name   string
	better better
	kinds  []kind // of cases that have it
	of     func(*measurement) float64
}

var (
	closedLoops = []kind{saturate, replay, roundTrips, consume, catchUp, manyPartitions, javaProducer, librdkafka}
	loads       = append([]kind{stream}, closedLoops...)
)

// figures returns the rows, in the order of a table.
func figures() []figure {
	rows := []figure{
		{throughput, higher, closedLoops, func(m *measurement) float64 { return m.recordsPerSecond() / 1000 }},
		{"throughput, MiB/s", higher, closedLoops, (*measurement).mibPerSecond},
		{"rate, k records/s", neither, []kind{stream}, func(m *measurement) float64 { return m.recordsPerSecond() / 1000 }},
		{"measured, s", neither, loads, func(m *measurement) float64 { return m.Elapsed.Seconds() }},
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
				latency.name + " " + name + ", ms", latency.better, latency.kinds,
				func(m *measurement) float64 { return ms(of(latency.of(m))) },
			})
		}
		quantile("p50", func(q *loadgen.Quantiles) time.Duration { return q.P50 })
		quantile("p99", func(q *loadgen.Quantiles) time.Duration { return q.P99 })
		quantile("p99.9", func(q *loadgen.Quantiles) time.Duration { return q.P999 })
	}
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return append(rows,
		figure{cpuPerByte, lower, loads, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / (float64(m.Bytes) / (1 << 30)) }},
		figure{cpuPerRecord, lower, loads, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / (float64(m.Records) / 1e6) }},
		figure{"broker CPU, cores", neither, loads, func(m *measurement) float64 { return m.BrokerCPU.Seconds() / m.Elapsed.Seconds() }},
		figure{"client CPU, cores", neither, loads, func(m *measurement) float64 { return m.ClientCPU.Seconds() / m.Elapsed.Seconds() }},
		figure{"other CPU, cores", neither, loads, (*measurement).otherCores},
		figure{"read from disk, share", neither, []kind{catchUp}, func(m *measurement) float64 { return float64(m.DiskRead) / float64(m.Bytes) }},
		figure{"CPU per batch to 1 000 partitions, µs", lower, []kind{manyPartitions}, func(m *measurement) float64 { return micros(m.BatchCPU) }},
		figure{"CPU per batch to 1 partition, µs", lower, []kind{manyPartitions}, func(m *measurement) float64 { return micros(m.SoleBatchCPU) }},
		figure{manyByOne, neither, []kind{manyPartitions}, func(m *measurement) float64 { return float64(m.BatchCPU) / float64(m.SoleBatchCPU) }},
		figure{metadataAfterExec, lower, []kind{startUp}, func(m *measurement) float64 { return ms(m.StartUp) }},
		figure{idleRSS, lower, []kind{startUp}, func(m *measurement) float64 { return mb(m.IdleRSS) }},
		figure{ackAfterKill, lower, []kind{restart}, func(m *measurement) float64 { return ms(m.Acknowledged) }},
		figure{"kill -9 to all partitions, ms", lower, []kind{restart}, func(m *measurement) float64 { return ms(m.AllServed) }},
		figure{connectionsRSS, neither, []kind{idleConnections}, func(m *measurement) float64 { return mb(m.ConnectionsRSS) }},
		figure{peakRSS, lower, append([]kind{restart, idleConnections}, loads...), func(m *measurement) float64 { return mb(m.PeakRSS) }},
	)
}

// figuresOf returns the rows of a kind of case.
func figuresOf(k kind) []figure {
	return slices.DeleteFunc(figures(), func(f figure) bool { return !slices.Contains(f.kinds, k) })
}
