// Package backends sends requests to the GPU servers of one pool and brings
// their answers back.
//
// Pool.Do is the whole of it: it puts the request to the balancer, waits for a
// slot, sends it, and pumps the answer into a Sink at the backend's pace. It
// tries once more on another backend while nobody has seen any of it, and it
// returns when the slot is free again: nobody else has to close or release
// anything. Beside it, every backend is probed (Pool.Run).
package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/balancer"
)

// Deps are what a pool needs from outside.
type Deps struct {
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Pool is a set of backends with one queue. It holds the lock and the clock
// that the balancer lacks, and carries its effects to the goroutines that wait
// in Do.
type Pool struct {
	cfg      Config
	log      *slog.Logger
	metrics  *metrics
	backends map[string]*backend
	names    []string // of backends, as configured

	probe *http.Transport

	limits atomic.Pointer[map[string]int] // smallest max_model_len by model

	mu        sync.Mutex
	balancer  *balancer.Balancer
	exchanges map[*balancer.Ticket]*exchange // from Arrive to the ticket's end
}

// New checks cfg and registers the pool's metrics. Nothing is sent to a backend
// before Run.
func New(cfg Config, deps Deps) (*Pool, error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Name, err)
	}
	p := &Pool{
		cfg:       cfg,
		log:       deps.Log.With("pool", cfg.Name),
		backends:  make(map[string]*backend),
		probe:     newProbeTransport(),
		balancer:  balancer.New(cfg.balancer(), rand.Uint64()),
		exchanges: make(map[*balancer.Ticket]*exchange),
	}
	p.metrics = newMetrics(p)
	for _, b := range cfg.Backends {
		p.backends[b.Name] = newBackend(b, p.metrics)
		p.names = append(p.names, b.Name)
	}
	if err := p.metrics.register(deps.Registry); err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Name, err)
	}
	return p, nil
}

// Run probes the backends and lets the balancer's time pass until ctx ends,
// which is no error. It must outlive the calls of Do: without it a backend that
// falls silent is not noticed, and waiting ends with the caller's ctx alone.
func (p *Pool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, name := range p.names {
		wg.Go(func() { p.watch(ctx, p.backends[name]) })
	}
	ticker := time.NewTicker(p.cfg.Tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			now := time.Now() // not the ticker's, which may be from before a pause
			p.advance(func() []balancer.Effect { return p.balancer.Tick(now) })
			p.reap(now, false)
		case <-ctx.Done():
		}
	}
	wg.Wait()
	p.probe.CloseIdleConnections()
	p.reap(time.Now(), true)
	return nil
}

// reap closes connections that have been idle for too long, or all of them.
func (p *Pool) reap(now time.Time, all bool) {
	for _, b := range p.backends {
		b.conns.reap(now, all)
	}
}

// advance puts one event that may change a backend's state to the balancer,
// carries out what follows, and logs the changes.
func (p *Pool) advance(event func() []balancer.Effect) {
	p.mu.Lock()
	p.apply(event())
	changes := p.changes()
	p.mu.Unlock()
	p.report(changes)
}

// apply carries out effects. p.mu is held.
func (p *Pool) apply(effects []balancer.Effect) {
	for _, e := range effects {
		x := p.exchanges[e.Ticket]
		switch e.Kind {
		case balancer.Start:
			x.grant = p.backends[e.Backend]
		case balancer.Refuse:
			x.refusal = e.Err
			delete(p.exchanges, e.Ticket)
		case balancer.Move:
			x.move()
			continue
		}
		x.wake()
	}
}

// translate turns the balancer's refusals into this package's errors.
func translate(err error) error {
	switch {
	case errors.Is(err, balancer.ErrNoBackend):
		return ErrUnavailable
	case errors.Is(err, balancer.ErrNoRetry):
		return err // Do has a better one
	default: // the queue is full, or the wait took too long
		return ErrBusy
	}
}
