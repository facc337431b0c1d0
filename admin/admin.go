// Package admin is the operators' face of the router: an HTTP API beside the
// one for clients, on a listener of its own.
//
// New makes one handler of it. /livez, /readyz and /metrics are for machines
// and open. /admin/ and /debug/pprof/ are for people: a request passes the lock
// (token, host, origin), finds its route in one table, and is answered in JSON;
// what it changes is told in a line of audit. The work itself is done elsewhere,
// by what Deps names: this package knows HTTP and no more.
package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/usage"
)

// Config says who may use the listener.
type Config struct {
	// Token returns the bearer token of /admin/ and /debug/pprof/, and "" where
	// there is none. It is asked with every request, so that a token can change.
	// nil is no token.
	Token func() string
	// Loopback says that the listener is reached from this machine alone. There
	// no token means no lock; elsewhere it means no /admin/ and /debug/pprof/.
	Loopback bool
}

// Deps is what does the work. Log, Registry, Ready, Keys, Usage, Pools, Reload
// and Config must be there.
type Deps struct {
	Log *slog.Logger
	// Registry is what /metrics shows; the package's own metrics are added.
	Registry *prometheus.Registry
	// Ready says why the router is not ready, or nil.
	Ready func() error
	// Checks are what /readyz?verbose tells besides.
	Checks []Check
	// Keys changes the key file.
	Keys *auth.KeyRing
	// Applied puts the key file in force at once. It is called after a change and
	// before its answer; nil where nothing follows the file.
	Applied func()
	// Usage reports what keys and tenants have used.
	Usage Usage
	// Pools returns the pools as they are now.
	Pools func() []*backends.Pool
	// Reload reads the configuration again and returns a report of what changed
	// and of what cannot at run time. An error means that nothing changed; joined
	// errors (errors.Join) are told one by one. Neither may hold a secret.
	Reload func(context.Context) (any, error)
	// Config returns the configuration in force, its secrets hidden.
	Config func() (json.RawMessage, error)
	// Cache is emptied on demand; nil where there is none.
	Cache Cache
	// Now is the clock; time.Now where nil.
	Now func() time.Time
}

// Usage knows what was used.
type Usage interface {
	Report(usage.Filter) usage.Report
}

// Cache is the store of results.
type Cache interface {
	// Delete removes the results of a tenant, of a model, of both together, or,
	// where both are "", all. It returns how many there were.
	Delete(ctx context.Context, tenant, model string) (int, error)
}

type server struct {
	deps    Deps
	lock    *lock
	audit   *audit
	metrics *metrics
}

// New returns the handler of the operators' listener.
func New(cfg Config, deps Deps) http.Handler {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if cfg.Token == nil {
		cfg.Token = func() string { return "" }
	}
	s := &server{deps: deps, metrics: newMetrics(deps.Registry)}
	s.audit = newAudit(deps.Log, s.metrics, cfg, deps.Now)
	s.lock = newLock(cfg, deps.Now)

	open := http.NewServeMux()
	open.Handle("/livez", methods{http.MethodGet: s.livez})
	open.Handle("/readyz", methods{http.MethodGet: s.readyz})
	open.Handle("/metrics", methods{http.MethodGet: promhttp.HandlerFor(deps.Registry, promhttp.HandlerOpts{}).ServeHTTP})
	open.HandleFunc("/", unknown)

	locked := s.locked()
	for _, path := range []string{"/admin", "/admin/", "/debug/pprof/"} {
		open.Handle(path, locked)
	}
	return open
}

// locked is all that stands behind the lock.
func (s *server) locked() http.Handler {
	mux := http.NewServeMux()
	for path, handlers := range s.handlers() {
		mux.Handle(path, handlers)
	}
	mux.Handle("/debug/pprof/", methods{http.MethodGet: pprof.Index})
	mux.Handle("/debug/pprof/cmdline", methods{http.MethodGet: pprof.Cmdline})
	mux.Handle("/debug/pprof/profile", methods{http.MethodGet: pprof.Profile})
	mux.Handle("/debug/pprof/symbol", methods{http.MethodGet: pprof.Symbol, http.MethodPost: pprof.Symbol})
	mux.Handle("/debug/pprof/trace", methods{http.MethodGet: pprof.Trace})
	mux.HandleFunc("/", unknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused := s.lock.check(r); refused != nil {
			_, pattern := mux.Handler(r) // of our own words: a path may hold anything
			s.audit.refused(r, pattern, refused.reason)
			limitReading(w)
			writeError(w, refused.err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func unknown(w http.ResponseWriter, r *http.Request) {
	writeError(w, compat.UnknownURL(r.Method, r.URL.Path))
}
