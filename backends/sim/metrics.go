package sim

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are those of vLLM's V1 engine, by its names, types, labels and
// buckets (vllm/v1/metrics/loggers.py), of a single engine. What the stand-in
// has no counterpart for, such as its caches, stays zero.
type metrics struct {
	registry *prometheus.Registry

	promptTokens     prometheus.Counter
	generationTokens prometheus.Counter
	finished         *prometheus.CounterVec // by finished_reason

	iterationTokens prometheus.Histogram
	firstToken      prometheus.Histogram
	interToken      prometheus.Histogram
	perToken        prometheus.Histogram

	endToEnd, queueTime, prefillTime, decodeTime, inferenceTime prometheus.Histogram

	requestPrompt, requestGeneration, requestMaxTokens prometheus.Histogram
}

var (
	firstTokenBuckets = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	perTokenBuckets   = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	latencyBuckets    = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	iterationBuckets  = []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}
	tokenBuckets      = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000}
)

func newMetrics(s *Server) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	r := registrar{prometheus.WrapRegistererWith(prometheus.Labels{"model_name": s.cfg.Model, "engine": "0"}, m.registry)}

	r.gauge("num_requests_running", "Number of requests in model execution batches.", nil, func() float64 { return float64(s.running.Load()) })
	r.gauge("num_requests_waiting", "Number of requests waiting to be processed.", nil, func() float64 { return float64(s.waiting.Load()) })
	r.gauge("num_requests_waiting_by_reason", "Number of waiting requests by reason.", prometheus.Labels{"reason": "capacity"}, func() float64 { return float64(s.waiting.Load()) })
	r.gauge("num_requests_waiting_by_reason", "Number of waiting requests by reason.", prometheus.Labels{"reason": "deferred"}, zero)
	r.gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", nil, func() float64 { return float64(s.running.Load()) / float64(s.cfg.MaxNumSeqs) })
	for state, value := range map[string]float64{"awake": 1, "weights_offloaded": 0, "discard_all": 0} {
		r.gauge("engine_sleep_state", "Engine sleep state.", prometheus.Labels{"sleep_state": state}, func() float64 { return value })
	}

	m.promptTokens = r.counter("prompt_tokens_total", "Number of prefill tokens processed.")
	m.generationTokens = r.counter("generation_tokens_total", "Number of generation tokens processed.")
	m.finished = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vllm:request_success_total",
		Help: "Count of successfully processed requests.",
	}, []string{"finished_reason"})
	r.MustRegister(m.finished)
	for _, reason := range []string{"stop", "length", "abort", "error", "repetition"} {
		m.finished.WithLabelValues(reason)
	}
	r.counter("num_preemptions_total", "Cumulative number of preemptions from the engine.")
	r.counter("prefix_cache_queries_total", "Prefix cache queries, in tokens.")
	r.counter("prefix_cache_hits_total", "Prefix cache hits, in tokens.")
	r.counter("mm_cache_queries_total", "Multi-modal cache queries, in items.")
	r.counter("mm_cache_hits_total", "Multi-modal cache hits, in items.")
	r.counter("prompt_tokens_cached_total", "Number of prompt tokens found in a cache.")

	m.iterationTokens = r.histogram("iteration_tokens_total", "Number of tokens per engine step.", iterationBuckets)
	m.firstToken = r.histogram("time_to_first_token_seconds", "Time to first token.", firstTokenBuckets)
	m.interToken = r.histogram("inter_token_latency_seconds", "Inter-token latency.", perTokenBuckets)
	m.perToken = r.histogram("request_time_per_output_token_seconds", "Time per output token of a request.", perTokenBuckets)
	m.endToEnd = r.histogram("e2e_request_latency_seconds", "End-to-end request latency.", latencyBuckets)
	m.queueTime = r.histogram("request_queue_time_seconds", "Time spent waiting.", latencyBuckets)
	m.prefillTime = r.histogram("request_prefill_time_seconds", "Time spent in prefill.", latencyBuckets)
	m.decodeTime = r.histogram("request_decode_time_seconds", "Time spent in decode.", latencyBuckets)
	m.inferenceTime = r.histogram("request_inference_time_seconds", "Time spent running.", latencyBuckets)
	m.requestPrompt = r.histogram("request_prompt_tokens", "Number of prefill tokens of a request.", tokenBuckets)
	m.requestGeneration = r.histogram("request_generation_tokens", "Number of generation tokens of a request.", tokenBuckets)
	m.requestMaxTokens = r.histogram("request_params_max_tokens", "max_tokens of a request.", tokenBuckets)
	return m
}

func zero() float64 { return 0 }

// registrar registers metrics under vLLM's prefix.
type registrar struct{ prometheus.Registerer }

func (r registrar) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vllm:" + name, Help: help, ConstLabels: labels}, value))
}

func (r registrar) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "vllm:" + name, Help: help})
	r.MustRegister(c)
	return c
}

func (r registrar) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "vllm:" + name, Help: help, Buckets: buckets})
	r.MustRegister(h)
	return h
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// step enters one step of a request: tokens new tokens after pause.
func (m *metrics) step(tokens int, pause time.Duration) {
	m.generationTokens.Add(float64(tokens))
	m.iterationTokens.Observe(float64(tokens))
	m.interToken.Observe(pause.Seconds())
}

// first enters the step that ends the prefill.
func (m *metrics) first(c *call, tokens int) {
	m.promptTokens.Add(float64(c.work.tokens.Prompt))
	m.generationTokens.Add(float64(tokens))
	m.iterationTokens.Observe(float64(int(c.work.tokens.Prompt) + tokens))
	m.firstToken.Observe(c.times.first.Sub(c.times.arrived).Seconds())
}

// observe enters a request that has ended. Like vLLM's, the engine's metrics
// know nothing of requests that were refused or left before the engine had them.
func (m *metrics) observe(c *call) {
	t, tokens := c.times, c.work.tokens
	if t.queued.IsZero() {
		return
	}
	switch c.work.outcome {
	case completed:
		for _, ch := range c.choices {
			m.finished.WithLabelValues(ch.finish).Inc()
		}
	case aborted:
		m.finished.WithLabelValues("abort").Inc()
	case failed:
		m.finished.WithLabelValues("error").Inc()
	}
	m.endToEnd.Observe(t.done.Sub(t.arrived).Seconds())
	if t.first.IsZero() {
		return
	}
	m.queueTime.Observe(t.running.Sub(t.queued).Seconds())
	m.prefillTime.Observe(t.first.Sub(t.running).Seconds())
	decode := t.done.Sub(t.first).Seconds()
	m.decodeTime.Observe(decode)
	m.inferenceTime.Observe(t.done.Sub(t.running).Seconds())
	if tokens.Generated > 1 {
		m.perToken.Observe(decode / float64(tokens.Generated-1))
	}
	m.requestPrompt.Observe(float64(tokens.Prompt))
	m.requestGeneration.Observe(float64(tokens.Generated))
	m.requestMaxTokens.Observe(float64(c.limit))
}
