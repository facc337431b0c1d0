// Package gateway is the only HTTP face of the router.
//
// Server.serve opens an exchange for every request, finds its route, and hands
// it to a handler. A handler returns an error or has written the answer;
// writeError is the only place where an error becomes bytes. A stream goes on
// after its handler has returned (relay), so what an exchange holds (its lease,
// its memory, its place in the hang-up watch) is given back by exchange.finish,
// which runs exactly once, from serve or from relay.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/completions"
	"ocrmux/fetch"
)

// Deps are the rooms below. Service, Pools and Images may be replaced by Apply.
type Deps struct {
	Gate     *auth.Gate
	Ledger   Ledger // nil: what is used is written down nowhere
	Service  *completions.Service
	Pools    []*backends.Pool
	Images   *fetch.Fetcher // nil: image URLs are refused
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Server answers clients. It is started with Serve and stopped with Shutdown.
type Server struct {
	gate     *auth.Gate
	ledger   Ledger
	log      *slog.Logger
	setup    atomic.Pointer[setup] // what a reload may change
	http     *fasthttp.Server
	hangups  *hangups
	buffers  buffers
	drains   chan struct{} // one token a client whose refused body is being discarded
	metrics  *metrics
	started  time.Time
	draining atomic.Bool
	base     context.Context // of every exchange
	cut      context.CancelCauseFunc
}

const maxHeader = 16 << 10 // bytes; above it a request is refused with 431

// New builds a server that is not yet listening.
func New(cfg Config, deps Deps) (*Server, error) {
	cfg.fill()
	watch, err := newHangups()
	if err != nil {
		return nil, err
	}
	s := &Server{
		gate:    deps.Gate,
		ledger:  deps.Ledger,
		log:     deps.Log,
		hangups: watch,
		drains:  make(chan struct{}, maxDrains),
		metrics: newMetrics(deps.Registry),
		started: time.Now(),
	}
	if s.ledger == nil {
		s.ledger = nowhere{}
	}
	s.base, s.cut = context.WithCancelCause(context.Background())
	s.Apply(cfg, deps.Service, deps.Pools, deps.Images)
	s.metrics.watch(&s.setup)
	s.http = &fasthttp.Server{
		Handler:                      s.serve,
		ErrorHandler:                 s.refuseUnread,
		HeaderReceived:               s.bodyTime,
		ConnState:                    s.turn,
		Logger:                       quiet{s.log},
		SecureErrorLogMessage:        true, // parse errors would print raw headers, keys included
		ReadBufferSize:               maxHeader,
		ReadTimeout:                  cfg.Time.Header,
		IdleTimeout:                  cfg.Time.Idle,
		WriteTimeout:                 cfg.Time.Write, // of what could not be read; bodyTime and streams move it on
		StreamRequestBody:            true,
		MaxRequestBodySize:           1 << 40, // bodies are bounded where they are read
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		TCPKeepalive:                 true,
	}
	return s, nil
}

// Serve answers connections from ln until Shutdown. With tlsConfig it speaks
// TLS, HTTP/1.1 only.
func (s *Server) Serve(ln net.Listener, tlsConfig *tls.Config) error {
	ln = s.listen(ln, tlsConfig == nil)
	if tlsConfig != nil {
		ln = tls.NewListener(ln, tlsConfig)
	}
	return s.http.Serve(ln)
}

// Ready reports whether new work is welcome: the server is not stopping and
// some model has a usable backend.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("stopping")
	}
	service := s.setup.Load().service
	for _, m := range service.Models() {
		if service.Usable(m) {
			return nil
		}
	}
	return errors.New("no backend is usable")
}

// Shutdown stops in order: not ready any more and every answer says
// Connection: close; after the lame-duck time nobody is accepted; then work in
// progress, streams included, may finish until ctx ends, when it is cancelled.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	select {
	case <-time.After(s.setup.Load().cfg.Time.LameDuck):
	case <-ctx.Done():
	}
	err := s.http.ShutdownWithContext(ctx)
	s.cut(errStopping)
	s.setup.Load().service.Close(errStopping) // work that goes on for nobody but the cache
	if err != nil {
		s.waitForCut()
	}
	return errors.Join(err, s.hangups.close())
}

// waitForCut gives requests that were cancelled a moment to tell their clients
// and to give back what they hold.
func (s *Server) waitForCut() {
	const moment, glance = time.Second, 5 * time.Millisecond
	for began := time.Now(); s.http.GetOpenConnectionsCount() > 0 && time.Since(began) < moment; {
		time.Sleep(glance)
	}
}

// quiet is fasthttp's logger: what it has to say is of no use to an operator
// but at debug level, and never contains what a client sent.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(string, ...any) {
	q.log.Debug("a connection ended with an error")
}
