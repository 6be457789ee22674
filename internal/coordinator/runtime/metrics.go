package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/walser-io/walser/internal/coordinator"
)

// metrics counts what happens to all shards of the node.
type metrics struct {
	appends, records, appendFailures prometheus.Counter
	lostCommits, commitTimeouts      prometheus.Counter
	panics, loadFailures             prometheus.Counter
	loadSeconds                      prometheus.Histogram
	events                           *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, memory *memory) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "walser", Subsystem: "coordinator", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		appends:        counter("appends_total", "Batches that coordinators wrote."),
		records:        counter("records_total", "Records that coordinators wrote."),
		appendFailures: counter("append_failures_total", "Appends of coordinators that failed."),
		lostCommits:    counter("lost_commits_total", "Shards that were loaded again because a commit was lost."),
		commitTimeouts: counter("commit_timeouts_total", "Answers that waited too long for their commit."),
		panics:         counter("panics_total", "Shards taken offline by a fault of the program."),
		loadFailures:   counter("load_failures_total", "Attempts to load a partition that failed."),
		loadSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "walser", Subsystem: "coordinator", Name: "load_seconds",
			Help: "Time to load a partition.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "walser", Subsystem: "coordinator", Name: "events_total",
			Help: "What happened to the state of coordinators.",
		}, []string{"event"}),
	}
	reg.MustRegister(m.loadSeconds, m.events, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "walser", Subsystem: "coordinator", Name: "memory_bytes",
		Help: "What groups and their members hold in memory, committed offsets aside.",
	}, func() float64 { return float64(memory.used.Load()) }))
	return m
}

func (m *metrics) appended(records []coordinator.Record) {
	m.appends.Inc()
	m.records.Add(float64(len(records)))
}
