package backends

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ocrmux/balancer"
	"ocrmux/compat"
)

// backend is one server as the pool knows it.
type backend struct {
	Backend                    // but for MaxInFlight, which is the balancer's
	id            string       // the balancer's name for it: another backend may have had its Name
	heads         [3][2][]byte // of requests, by compat.Dialect and whether a stream is wanted: all that does not change
	conns         *conns
	health        *url.URL
	list          *url.URL
	authorization []string // nil without a key
	metrics       backendMetrics

	// Under Pool.mu:
	stop    context.CancelFunc // of its probes; nil before they began
	probes  int                // under way
	failed  bool               // the last probe that ended
	listed  time.Time
	models  []model // nil until listed
	missing string  // what was last said of configured models that it lacks

	// The states last logged.
	state   balancer.State
	breaker balancer.BreakerState
}

// model is one entry of /v1/models.
type model struct {
	name   string
	maxLen int // context length in tokens, prompt and answer together; 0 where the backend does not say
}

// newBackend is called with a checked Backend.
func newBackend(cfg Backend, id string, m *metrics) *backend {
	base, _ := cfg.base()
	b := &backend{
		Backend: cfg,
		id:      id,
		conns:   newConns(base),
		health:  at(base, "/health"),
		list:    at(base, "/v1/models"),
		metrics: m.forBackend(cfg.Name),
	}
	if cfg.APIKey != "" {
		b.authorization = []string{"Bearer " + cfg.APIKey}
	}
	for _, d := range []compat.Dialect{compat.Chat, compat.Completions, compat.Responses} {
		for stream, accept := range []string{"application/json", "text/event-stream"} {
			b.heads[d][stream] = requestHead(base, d.Path(), accept, cfg.APIKey)
		}
	}
	return b
}

// isThe reports whether c describes b. Another address or key makes another
// backend.
func (b *backend) isThe(c Backend) bool {
	base, err := c.base()
	return err == nil && c.Name == b.Name && at(base, "/health").String() == b.health.String() && c.APIKey == b.APIKey
}

func at(base *url.URL, path string) *url.URL {
	u := *base
	u.Path = path
	return &u
}

func newRequest(method string, u *url.URL) *http.Request {
	return &http.Request{Method: method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

// serves reports whether requests for a model may go to b. Before it was
// listed it is taken to serve all. Pool.mu is held.
func (b *backend) serves(name string) bool {
	if b.models == nil {
		return true
	}
	for _, m := range b.models {
		if m.name == name {
			return true
		}
	}
	return false
}

// nowMissing lists the configured models that b is known not to serve, where
// they are others than at the last call. Pool.mu is held.
func (b *backend) nowMissing(configured []string) string {
	if b.models == nil {
		return ""
	}
	var missing []string
	for _, m := range configured {
		if !b.serves(m) {
			missing = append(missing, m)
		}
	}
	was := b.missing
	b.missing = strings.Join(missing, ", ")
	if b.missing == was {
		return ""
	}
	return b.missing
}
