package gateway

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/compat"
	"ocrmux/completions"
)

// metrics of the HTTP face. Labels are bounded: routes by the program, tenants
// and backends by the configuration.
type metrics struct {
	requests  *prometheus.CounterVec
	tenants   *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	first     *prometheus.HistogramVec
	overhead  *prometheus.HistogramVec
	cancelled *prometheus.CounterVec
	tokens    *prometheus.CounterVec
	images    *prometheus.CounterVec
	marked    *prometheus.CounterVec
	answers   map[completions.CacheState]prometheus.Counter
	inFlight  prometheus.Gauge

	registry prometheus.Registerer
}

func newMetrics(r prometheus.Registerer) *metrics {
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	m := &metrics{
		requests:  counter("ocrmux_requests_total", "Requests answered, by route, HTTP status and the backend that did the work (empty where none did).", "route", "status", "backend"),
		tenants:   counter("ocrmux_tenant_requests_total", "Requests answered, by tenant and class of status.", "tenant", "status"),
		duration:  histogram("ocrmux_request_duration_seconds", "From a request's head to the last byte of its answer.", seconds, "route"),
		first:     histogram("ocrmux_request_first_byte_seconds", "From a request's head to the first byte of its answer.", seconds, "route"),
		overhead:  histogram("ocrmux_request_overhead_seconds", "Time that was the router's own: without the client's upload, the queue and the backend.", []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5}, "route"),
		cancelled: counter("ocrmux_cancelled_total", "Requests whose client left, by how far they had come.", "phase"),
		tokens:    counter("ocrmux_tokens_total", "Tokens as the backends counted them.", "tenant", "kind"),
		images:    counter("ocrmux_images_total", "Images of requests that were let in.", "tenant"),
		marked:    counter("ocrmux_answers_marked_total", "Answers of doubtful quality: truncated by their length, or looping.", "quality"),
		inFlight:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "ocrmux_requests_in_flight", Help: "Requests whose head has come and whose answer has not ended."}),
		registry:  r,
	}
	r.MustRegister(m.inFlight)
	answers := counter("ocrmux_answers_total", "Answers about a page or a prompt, also failed ones, by what the cache had to do with them: hit (remembered), joined (an equal request was in progress), miss, bypass.", "cache")
	m.answers = map[completions.CacheState]prometheus.Counter{}
	for _, state := range []completions.CacheState{completions.Bypass, completions.Miss, completions.Hit, completions.Joined} {
		m.answers[state] = answers.WithLabelValues(state.String())
	}
	for _, phase := range []string{"reading", "queued", "waiting", "answering"} {
		m.cancelled.WithLabelValues(phase)
	}
	for _, q := range []completions.Quality{completions.Truncated, completions.Looping} {
		m.marked.WithLabelValues(q.String())
	}
	return m
}

// watch shows how full the memory for bodies and fetched images is.
func (m *metrics) watch(setup *atomic.Pointer[setup]) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ocrmux_body_memory_bytes", Help: "Memory reserved for request bodies."},
			func() float64 { return float64(setup.Load().memory.held.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ocrmux_body_memory_limit_bytes", Help: "Memory that request bodies may take: memory.bodies, less what is set apart for fetched images."},
			func() float64 { return float64(setup.Load().memory.limit) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ocrmux_image_memory_bytes", Help: "Memory reserved for fetched images."},
			func() float64 { return float64(setup.Load().images.held.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ocrmux_image_memory_limit_bytes", Help: "Memory that fetched images may take, a quarter of memory.bodies; 0 where none are fetched."},
			func() float64 { return float64(setup.Load().images.size) }),
	)
}

// observe counts an exchange at its end.
func (m *metrics) observe(x *exchange, gone bool) {
	m.inFlight.Dec()
	status := strconv.Itoa(x.status)
	m.requests.WithLabelValues(x.route, status, x.receipt.Backend).Inc()
	m.duration.WithLabelValues(x.route).Observe(time.Since(x.started).Seconds())
	if x.first > 0 {
		m.first.WithLabelValues(x.route).Observe(x.first.Seconds())
	}
	if x.receipt.Backend != "" && !x.streamed {
		m.overhead.WithLabelValues(x.route).Observe(x.overhead().Seconds())
	}
	if gone {
		m.cancelled.WithLabelValues(phase(x)).Inc()
	}
	if x.identity == nil {
		return
	}
	tenant := x.identity.Tenant.Name
	m.tenants.WithLabelValues(tenant, status[:1]+"xx").Inc()
	if x.images > 0 {
		m.images.WithLabelValues(tenant).Add(float64(x.images))
	}
}

// worked counts the tokens of an answer for whoever it was made for; those who
// joined are not among them.
func (m *metrics) worked(x *exchange, u compat.Usage) {
	tenant := x.identity.Tenant.Name
	m.tokens.WithLabelValues(tenant, "prompt").Add(float64(u.PromptTokens))
	m.tokens.WithLabelValues(tenant, "completion").Add(float64(u.CompletionTokens))
}

// phase is how far an exchange had come when its client left.
func phase(x *exchange) string {
	switch {
	case x.model == "":
		return "reading"
	case x.receipt.Backend == "":
		return "queued"
	case x.first == 0:
		return "waiting"
	default:
		return "answering"
	}
}

// unread counts a request that could not be parsed.
func (m *metrics) unread(status int) {
	m.requests.WithLabelValues("unknown", strconv.Itoa(status), "").Inc()
}
