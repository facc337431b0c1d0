package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ocrmux/backends"
	"ocrmux/compat"
)

// Admin configures the operators' listener.
type Admin struct {
	Token    string // bearer token of /admin/* and /debug/pprof/*
	Loopback bool   // the listener is reached from this machine only: no token, no lock
	Gatherer prometheus.Gatherer
}

// Admin is the operators' face: /livez, /readyz and /metrics for machines,
// /admin/* and /debug/pprof/* for people with the token. Without a token these
// two do not exist, but on a loopback listener. It is served by net/http: pprof
// and promhttp are made for it, and nobody waits for it.
func (s *Server) Admin(cfg Admin) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			plainText(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plainText(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{}))
	if cfg.Token != "" || cfg.Loopback {
		locked := http.NewServeMux()
		locked.HandleFunc("GET /admin/backends", s.adminBackends)
		locked.HandleFunc("/debug/pprof/", pprof.Index)
		locked.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		locked.HandleFunc("/debug/pprof/profile", pprof.Profile)
		locked.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		locked.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.Handle("/admin/", withToken(cfg.Token, locked))
		mux.Handle("/debug/pprof/", withToken(cfg.Token, locked))
	}
	return mux
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// withToken lets nobody through without the token; "" is no lock.
func withToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if token != "" && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			e := compat.BadKey()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(e.Status)
			_, _ = w.Write(e.AppendJSON(nil))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// adminBackends shows the pools as they are now.
func (s *Server) adminBackends(w http.ResponseWriter, _ *http.Request) {
	var pools []backends.Status
	for _, p := range s.setup.Load().pools {
		pools = append(pools, p.Status())
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(map[string]any{"pools": pools})
}
