package cache

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	hits, misses                     prometheus.Counter
	space, expired, corrupt, deleted prometheus.Counter
	rejections                       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, c *LRU) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	evictions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ocrmux_cache_evictions_total",
		Help: "Results taken out of the cache: to make room (space), too old (expired), damaged (corrupt), by an operator (deleted).",
	}, []string{"reason"})
	m := &metrics{
		hits:       counter("ocrmux_cache_hits_total", "Look-ups that found a result."),
		misses:     counter("ocrmux_cache_misses_total", "Look-ups that found no result, or one too old or damaged."),
		rejections: counter("ocrmux_cache_rejections_total", "Results too large to be stored."),
		space:      evictions.WithLabelValues("space"),
		expired:    evictions.WithLabelValues("expired"),
		corrupt:    evictions.WithLabelValues("corrupt"),
		deleted:    evictions.WithLabelValues("deleted"),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.hits, m.misses, m.rejections, evictions,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_cache_bytes",
			Help: "Bytes charged to the cache's budget: values and overhead.",
		}, func() float64 { bytes, _ := c.size(); return float64(bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_cache_entries",
			Help: "Results in the cache.",
		}, func() float64 { _, entries := c.size(); return float64(entries) }))
	return m
}
