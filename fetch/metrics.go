package fetch

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	fetches *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_image_fetches_total",
			Help: "Image URLs of requests, by what came of fetching them.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ocrmux_image_fetch_duration_seconds",
			Help:    "Time to fetch an image, or to fail.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}),
	}
	r.MustRegister(m.fetches, m.seconds)
	return m
}

func (m *metrics) observe(err error, took time.Duration) {
	result := "other" // the caller gave up, or had no room
	switch {
	case err == nil:
		result = "ok"
	case errors.Is(err, ErrRefused):
		result = "refused"
	case errors.Is(err, ErrUnreachable):
		result = "unreachable"
	case errors.Is(err, ErrTooLarge):
		result = "too_large"
	case errors.Is(err, ErrSlow):
		result = "slow"
	}
	m.fetches.WithLabelValues(result).Inc()
	m.seconds.Observe(took.Seconds())
}
