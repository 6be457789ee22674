package cleaner

import "github.com/prometheus/client_golang/prometheus"

// metrics is what the package counts.
type metrics struct {
	rounds      prometheus.Histogram
	read        prometheus.Counter
	written     prometheus.Counter
	records     *prometheus.CounterVec
	dirtiest    prometheus.Gauge
	uncleanable prometheus.Gauge
	panics      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		rounds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "walser_cleaner_round_seconds", Help: "Duration of one compaction round of one log.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}),
		read:        prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_cleaner_read_bytes_total", Help: "Bytes read by compaction."}),
		written:     prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_cleaner_written_bytes_total", Help: "Bytes written by compaction."}),
		records:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "walser_cleaner_records_total", Help: "Records that finished rounds of compaction kept, or dropped by reason."}, []string{"result"}),
		dirtiest:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "walser_cleaner_max_dirty_ratio", Help: "Share of dirty bytes in the dirtiest log, of those that can be compacted."}),
		uncleanable: prometheus.NewGauge(prometheus.GaugeOpts{Name: "walser_cleaner_uncleanable_partitions", Help: "Logs set aside because they cannot be compacted."}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: "walser_cleaner_panics_total", Help: "Panics caught in compaction."}),
	}
	if reg != nil {
		reg.MustRegister(m.rounds, m.read, m.written, m.records, m.dirtiest, m.uncleanable, m.panics)
	}
	return m
}
