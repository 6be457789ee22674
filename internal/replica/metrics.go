package replica

import "github.com/prometheus/client_golang/prometheus"

// metrics are the replica manager's, named for what Kafka calls them.
type metrics struct {
	bytesIn       prometheus.Counter
	recordsIn     prometheus.Counter
	failedAppends prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "walser", Subsystem: "replica", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		bytesIn:       counter("bytes_in_total", "Bytes of record batches appended for clients."),
		recordsIn:     counter("records_in_total", "Records appended for clients."),
		failedAppends: counter("failed_appends_total", "Batches of clients that were refused."),
	}
}
