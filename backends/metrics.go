package backends

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/balancer"
)

// metrics are one pool's. The pool's name is a constant label of all of them.
type metrics struct {
	pool       *Pool
	registry   prometheus.Registerer
	attempts   *prometheus.CounterVec
	retries    *prometheus.CounterVec
	firstBytes *prometheus.HistogramVec
	queueWait  *prometheus.HistogramVec
	gauges     gauges

	waits   [2]prometheus.Observer // by balancer.Class
	replays prometheus.Counter
}

// gauges are read from the balancer when they are asked for.
type gauges struct{ up, cordoned, inFlight, maxInFlight, breaker, queue *prometheus.Desc }

var classNames = [...]string{balancer.Interactive: "interactive", balancer.Batch: "batch"}

func newMetrics(p *Pool) *metrics {
	m := &metrics{
		pool: p,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_backend_attempts_total",
			Help: "Requests sent to a backend, by how they ended: success, refused (4xx), failed (5xx, broken or short answer), lost (connection), aborted (the client left), moved (the backend fell silent).",
		}, []string{"backend", "outcome"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_retries_total",
			Help: "Further attempts asked for, by what became of the one before: failed, lost, moved. With idle_closed the request was sent again to the same backend on a fresh connection.",
		}, []string{"reason"}),
		firstBytes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ocrmux_backend_first_byte_seconds",
			Help:    "Time from sending a request to the first event of its answer.",
			Buckets: []float64{.01, .025, .05, .1, .2, .35, .5, .75, 1, 2, 3.5, 5, 10, 20, 40, 80},
		}, []string{"backend"}),
		queueWait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ocrmux_queue_wait_seconds",
			Help:    "Time that a request waited for a slot, each attempt by itself, also where none came.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2, 4, 8, 15, 30, 60, 120, 300},
		}, []string{"class"}),
		gauges: gauges{
			up:          prometheus.NewDesc("ocrmux_backend_up", "1 where the backend is healthy: it gets new work unless its breaker or a cordon keeps that away.", []string{"backend"}, nil),
			cordoned:    prometheus.NewDesc("ocrmux_backend_cordoned", "1 where an operator keeps new work from the backend.", []string{"backend"}, nil),
			inFlight:    prometheus.NewDesc("ocrmux_backend_in_flight", "Requests on the backend now.", []string{"backend"}, nil),
			maxInFlight: prometheus.NewDesc("ocrmux_backend_in_flight_limit", "Requests on the backend at most.", []string{"backend"}, nil),
			breaker:     prometheus.NewDesc("ocrmux_backend_breaker_state", "1 for the state that the backend's breaker is in.", []string{"backend", "state"}, nil),
			queue:       prometheus.NewDesc("ocrmux_queue_length", "Requests that wait for a slot.", []string{"class"}, nil),
		},
	}
	m.replays = m.retries.WithLabelValues("idle_closed")
	for class, name := range classNames {
		m.waits[class] = m.queueWait.WithLabelValues(name)
	}
	for _, reason := range []string{"failed", "lost", "moved"} {
		m.retries.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.attempts, m.retries, m.firstBytes, m.queueWait, m}
}

func (m *metrics) register(r prometheus.Registerer) error {
	r = prometheus.WrapRegistererWith(prometheus.Labels{"pool": m.pool.name}, r)
	for i, c := range m.collectors() {
		if err := r.Register(c); err != nil {
			for _, registered := range m.collectors()[:i] {
				r.Unregister(registered)
			}
			return err
		}
	}
	m.registry = r
	return nil
}

func (m *metrics) unregister() {
	for _, c := range m.collectors() {
		m.registry.Unregister(c)
	}
}

// forget drops a backend's series.
func (m *metrics) forget(backend string) {
	m.attempts.DeletePartialMatch(prometheus.Labels{"backend": backend})
	m.firstBytes.DeletePartialMatch(prometheus.Labels{"backend": backend})
}

func (m *metrics) waited(class balancer.Class, d time.Duration) { m.waits[class].Observe(d.Seconds()) }

// backendMetrics are looked up once, not with every request.
type backendMetrics struct {
	attempts  map[string]prometheus.Counter
	firstByte prometheus.Observer
}

var outcomeNames = [...]string{
	balancer.Success: "success", balancer.Refused: "refused", balancer.Failed: "failed",
	balancer.Lost: "lost", balancer.Aborted: "aborted",
}

func (m *metrics) forBackend(name string) backendMetrics {
	b := backendMetrics{make(map[string]prometheus.Counter), m.firstBytes.WithLabelValues(name)}
	for _, outcome := range append(outcomeNames[:], "moved") {
		b.attempts[outcome] = m.attempts.WithLabelValues(name, outcome)
	}
	return b
}

// Describe and Collect make the gauges a prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.gauges.up, m.gauges.cordoned, m.gauges.inFlight, m.gauges.maxInFlight, m.gauges.breaker, m.gauges.queue} {
		ch <- d
	}
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s, queued := m.pool.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for class, n := range queued {
		gauge(m.gauges.queue, float64(n), classNames[class])
	}
	inFlight := make(map[string]int) // one that leaves may have the name of another
	for _, b := range slices.Concat(s.Backends, s.Leaving) {
		inFlight[b.Name] += b.InFlight
	}
	for name, n := range inFlight {
		gauge(m.gauges.inFlight, float64(n), name)
	}
	for _, b := range s.Backends {
		gauge(m.gauges.up, one(b.State == balancer.Up.String()), b.Name)
		gauge(m.gauges.cordoned, one(b.Cordoned), b.Name)
		gauge(m.gauges.maxInFlight, float64(b.MaxInFlight), b.Name)
		for state := balancer.Closed; state <= balancer.Probation; state++ {
			gauge(m.gauges.breaker, one(b.Breaker == state.String()), b.Name, state.String())
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
