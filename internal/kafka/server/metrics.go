package server

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the server counts. Counters of an API are looked up once, when the table is built.
type metrics struct {
	reg           prometheus.Registerer
	requests      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	requestBytes  prometheus.Counter
	responseBytes prometheus.Counter
	accepted      prometheus.Counter
	refused       prometheus.Counter
	closed        *prometheus.CounterVec
	acceptErrors  prometheus.Counter
	panics        prometheus.Counter
	budgetWaits   prometheus.Counter
}

// apiMetrics is what the server counts of one API.
type apiMetrics struct {
	byVersion []prometheus.Counter // from the lowest version served
	seconds   prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "walser", Subsystem: "kafka", Name: name, Help: help})
	}
	return &metrics{
		reg: reg,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "walser", Subsystem: "kafka", Name: "requests_total",
			Help: "Requests answered, by API and version.",
		}, []string{"api", "version"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "walser", Subsystem: "kafka", Name: "request_seconds",
			Help:    "Time from a request's last byte read to its answer written, parked time included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"api"}),
		requestBytes:  counter("request_bytes_total", "Bytes read from clients."),
		responseBytes: counter("response_bytes_total", "Bytes written to clients."),
		accepted:      counter("connections_accepted_total", "Connections let in."),
		refused:       counter("connections_refused_total", "Connections closed at accept: a cap was reached."),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "walser", Subsystem: "kafka", Name: "connections_closed_total",
			Help: "Connections closed, by reason.",
		}, []string{"reason"}),
		acceptErrors: counter("accept_errors_total", "Failed accepts: out of file descriptors, as a rule."),
		panics:       counter("handler_panics_total", "Handlers that panicked; each closed its connection."),
		budgetWaits:  counter("request_memory_waits_total", "Reads that waited because queued.max.request.bytes was reached."),
	}
}

// register registers everything, and the gauges that look at the server.
func (m *metrics) register(s *Server) error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "walser", Subsystem: "kafka", Name: name, Help: help}, value)
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, m.seconds, m.requestBytes, m.responseBytes, m.accepted, m.refused, m.closed, m.acceptErrors,
		m.panics, m.budgetWaits,
		gauge("connections", "Connections open.", func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.mu.conns))
		}),
		gauge("request_memory_bytes", "Bytes of buffers that hold requests, and of what large requests decode to.", func() float64 {
			return float64(s.budget.used.Load())
		}),
		gauge("request_memory_large_bytes", "The part of them that is not in buffers of up to 64 KiB.", func() float64 {
			return float64(s.budget.large.Load())
		}),
	} {
		errs = append(errs, m.reg.Register(c))
	}
	return errors.Join(errs...)
}

// forAPI looks up the counters of an API.
func (m *metrics) forAPI(a *API) apiMetrics {
	name := a.Key.String()
	am := apiMetrics{seconds: m.seconds.WithLabelValues(name)}
	for v := a.Min; v <= a.Max; v++ {
		am.byVersion = append(am.byVersion, m.requests.WithLabelValues(name, strconv.Itoa(int(v))))
	}
	return am
}

// served counts a request that has ended.
func (m *metrics) served(r *Request, now time.Duration) {
	am := &r.api.metrics
	if i := int(r.Header.Version - r.api.Min); i >= 0 && i < len(am.byVersion) {
		am.byVersion[i].Inc()
	}
	am.seconds.Observe((now - r.arrived).Seconds())
}

// sent counts the answers of a write.
func (m *metrics) sent(o *outbox, now time.Duration) {
	m.responseBytes.Add(float64(o.size()))
	for _, r := range o.requests {
		m.served(r, now)
	}
}
