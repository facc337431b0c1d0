package sim

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are vLLM's, by its names, types and labels, of a single engine.
type metrics struct {
	registry *prometheus.Registry
}

func newMetrics(s *Server) *metrics {
	return &metrics{registry: prometheus.NewRegistry()}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) observe(c *call) {}
