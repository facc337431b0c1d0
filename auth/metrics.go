package auth

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reason is why a credential was refused, the label of ocrmux_auth_failures_total.
type reason string

const (
	reasonMissing   reason = "missing"
	reasonMalformed reason = "malformed"
	reasonUnknown   reason = "unknown"
	reasonWrong     reason = "wrong"
	reasonDisabled  reason = "disabled"
	reasonExpired   reason = "expired"
	reasonRemote    reason = "remote"
)

var reasons = []reason{reasonMissing, reasonMalformed, reasonUnknown, reasonWrong, reasonDisabled, reasonExpired, reasonRemote}

type metrics struct {
	failures  map[reason]prometheus.Counter
	throttled prometheus.Counter

	failureVec, admissions, refusals *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		failures: make(map[reason]prometheus.Counter, len(reasons)),
		failureVec: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_auth_failures_total",
			Help: "Credentials refused, by reason.",
		}, []string{"reason"}),
		throttled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ocrmux_auth_throttled_total",
			Help: "Wrong keys answered by a throttle because their address had sent too many.",
		}),
		admissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_tenant_admissions_total",
			Help: "Requests admitted, by tenant.",
		}, []string{"tenant"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_limit_refusals_total",
			Help: "Requests refused at a limit, by tenant and limit.",
		}, []string{"tenant", "limit"}),
	}
	for _, r := range reasons {
		m.failures[r] = m.failureVec.WithLabelValues(string(r))
	}
	return m
}

func (m *metrics) failed(r reason) { m.failures[r].Inc() }

// accounts returns the accounts of a file's tenants, kept where the tenant was
// there before, and those of former tenants whose requests are still in
// progress. The series of others end: labels are bounded by the file.
func (m *metrics) accounts(file *KeyFile, old map[string]*account, month func(string) (pages, tokens int64), now time.Time) map[string]*account {
	accounts := make(map[string]*account, len(file.Tenants))
	for _, t := range file.Tenants {
		a, ok := old[t.Name]
		if !ok {
			a = &account{admitted: m.admissions.WithLabelValues(t.Name), refused: make(map[string]prometheus.Counter, len(limitNames))}
			a.month.pages, a.month.tokens = month(t.Name)
			a.month.began = monthOf(now)
			for _, limit := range limitNames {
				a.refused[limit] = m.refusals.WithLabelValues(t.Name, limit)
			}
		}
		accounts[t.Name] = a
	}
	for name, a := range old {
		if _, ok := accounts[name]; ok {
			continue
		}
		if a.inProgress.Load() > 0 || a.waiting.Load() > 0 {
			accounts[name] = a
			continue
		}
		m.admissions.DeleteLabelValues(name)
		m.refusals.DeletePartialMatch(prometheus.Labels{"tenant": name})
	}
	return accounts
}

func (m *metrics) register(reg prometheus.Registerer, g *Gate) {
	if reg == nil {
		return
	}
	reg.MustRegister(m.failureVec, m.throttled, m.admissions, m.refusals, gauges{g})
}

// gauges reads the state of a gate when it is asked, so that a request costs
// nothing for them.
type gauges struct{ gate *Gate }

var (
	inProgressDesc = prometheus.NewDesc("ocrmux_tenant_in_progress",
		"Requests admitted and not yet ended, by tenant.", []string{"tenant"}, nil)
	waitingDesc = prometheus.NewDesc("ocrmux_tenant_waiting",
		"Requests that wait for one of their tenant's slots, by tenant.", []string{"tenant"}, nil)
	quotaUsedDesc = prometheus.NewDesc("ocrmux_tenant_quota_used",
		"What a tenant has used of its month's quota, with what is set apart for requests in progress.", []string{"tenant", "quota"}, nil)
	quotaLimitDesc = prometheus.NewDesc("ocrmux_tenant_quota_limit",
		"A tenant's quota for a month of UTC, where it has one.", []string{"tenant", "quota"}, nil)
	keyFileDesc = prometheus.NewDesc("ocrmux_keyfile_valid",
		"1 where the key file as it is now is in force, 0 where an older one is.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c gauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- inProgressDesc
	descs <- waitingDesc
	descs <- quotaUsedDesc
	descs <- quotaLimitDesc
	descs <- keyFileDesc
}

// Collect implements prometheus.Collector.
func (c gauges) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	current, now := c.gate.current.Load(), c.gate.now()
	for name, a := range current.accounts {
		gauge(inProgressDesc, float64(a.inProgress.Load()), name)
		gauge(waitingDesc, float64(a.waiting.Load()), name)
	}
	for name, t := range current.tenants {
		used := current.accounts[name].month.used(now)
		if limit := t.Quota.PagesPerMonth; limit > 0 {
			gauge(quotaUsedDesc, float64(used.Pages), name, "pages")
			gauge(quotaLimitDesc, float64(limit), name, "pages")
		}
		if limit := t.Quota.TokensPerMonth; limit > 0 {
			gauge(quotaUsedDesc, float64(used.Tokens), name, "tokens")
			gauge(quotaLimitDesc, float64(limit), name, "tokens")
		}
	}
	valid := 1.0
	if c.gate.KeyFileError() != nil {
		valid = 0
	}
	gauge(keyFileDesc, valid)
}
