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

func (m *metrics) count(hit bool) {
	if hit {
		m.hits.Inc()
	} else {
		m.misses.Inc()
	}
}

type diskMetrics struct {
	hits, errors                      prometheus.Counter
	space, expired, corrupt, deleted  prometheus.Counter
	tooLarge, pausedDrops, queueDrops prometheus.Counter
}

func newDiskMetrics(reg prometheus.Registerer, d *Disk) *diskMetrics {
	vector := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"reason"})
	}
	evictions := vector("ocrmux_cache_disk_evictions_total",
		"Results taken off the disk: to make room (space), too old (expired), damaged (corrupt), by an operator (deleted).")
	drops := vector("ocrmux_cache_disk_drops_total",
		"Results that did not reach the disk: too large (size), too many at once (queue), after an error of the disk (paused).")
	m := &diskMetrics{
		hits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_cache_disk_hits_total",
			Help: "Results found on disk that were not in memory; they are hits of the cache too.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_cache_disk_errors_total",
			Help: "Reads and writes of the cache's files that failed, and files that were set aside.",
		}),
		space:       evictions.WithLabelValues("space"),
		expired:     evictions.WithLabelValues("expired"),
		corrupt:     evictions.WithLabelValues("corrupt"),
		deleted:     evictions.WithLabelValues("deleted"),
		tooLarge:    drops.WithLabelValues("size"),
		queueDrops:  drops.WithLabelValues("queue"),
		pausedDrops: drops.WithLabelValues("paused"),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.hits, m.errors, evictions, drops,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_cache_disk_bytes",
			Help: "Bytes of the cache's files.",
		}, func() float64 { bytes, _ := d.size(); return float64(bytes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_cache_disk_entries",
			Help: "Results on disk.",
		}, func() float64 { _, entries := d.size(); return float64(entries) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_cache_disk_up",
			Help: "Whether results are written to disk: 0 for a while after an error.",
		}, func() float64 {
			if d.isPaused() {
				return 0
			}
			return 1
		}))
	return m
}
