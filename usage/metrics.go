package usage

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	writable, bytes      prometheus.Gauge
	errors, lost, coarse prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		writable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ocrmux_usage_journal_writable",
			Help: "0 while what was counted cannot be written to the journal and stays in memory, 1 otherwise.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ocrmux_usage_journal_bytes",
			Help: "Size of the journal.",
		}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_usage_journal_errors_total",
			Help: "Attempts to write the journal, or to write it anew, that failed.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_usage_records_lost_total",
			Help: "Damaged lines that were found in the journal at the start and left out.",
		}),
		coarse: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_usage_records_coarse_total",
			Help: "Records counted without model and route, without key or without tenant because the month has too many series.",
		}),
	}
	m.writable.Set(1)
	return m
}

func (m *metrics) register(reg prometheus.Registerer, l *Ledger) {
	if reg == nil {
		return
	}
	reg.MustRegister(m.writable, m.bytes, m.errors, m.lost, m.coarse,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ocrmux_usage_series",
			Help: "Combinations of tenant, key, model and route that were counted this month.",
		}, func() float64 { return float64(l.series()) }))
}
