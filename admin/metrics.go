package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	refusals map[reason]prometheus.Counter
	changes  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	refusals := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ocrmux_admin_refusals_total",
		Help: "Requests to /admin/ and /debug/pprof/ that were not let in, by reason.",
	}, []string{"reason"})
	m := &metrics{
		refusals: make(map[reason]prometheus.Counter, len(reasons)),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_admin_changes_total",
			Help: "Changes that operators asked for, by action and by result: done, refused or failed.",
		}, []string{"action", "result"}),
	}
	for _, why := range reasons {
		m.refusals[why] = refusals.WithLabelValues(string(why))
	}
	reg.MustRegister(refusals, m.changes)
	return m
}

// changed counts a change; action is one of the table of routes.
func (m *metrics) changed(action string, status int) {
	result := "done"
	switch {
	case status >= http.StatusInternalServerError:
		result = "failed"
	case status >= http.StatusBadRequest:
		result = "refused"
	}
	m.changes.WithLabelValues(action, result).Inc()
}
