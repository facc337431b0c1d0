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
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
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
//
// A pool that is to go is first given no new requests by its owner. Then Wait
// returns when the last one has ended, Run is ended, and Close takes its metrics
// away. Where another pool of the same name must come first, Close may too: it
// touches nothing else.
type Pool struct {
	name    string
	log     *slog.Logger
	metrics *metrics
	probe   *http.Transport

	settings atomic.Pointer[settings]
	limits   atomic.Pointer[map[string]int] // smallest max_model_len by model

	mu        sync.Mutex
	balancer  *balancer.Balancer
	current   []*backend                     // as configured
	backends  map[string]*backend            // by id, with those that leave
	born      int                            // backends so far
	exchanges map[*balancer.Ticket]*exchange // from Arrive to the ticket's end
}

// New checks cfg and registers the pool's metrics. Nothing is sent to a backend
// before Run.
func New(cfg Config, deps Deps) (*Pool, error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Name, err)
	}
	p := &Pool{
		name:      cfg.Name,
		log:       deps.Log.With("pool", cfg.Name),
		probe:     newProbeTransport(),
		backends:  make(map[string]*backend),
		exchanges: make(map[*balancer.Ticket]*exchange),
	}
	p.metrics = newMetrics(p)
	p.balancer = balancer.New(p.configure(cfg), rand.Uint64())
	if err := p.metrics.register(deps.Registry); err != nil {
		return nil, fmt.Errorf("pool %q: %w", cfg.Name, err)
	}
	return p, nil
}

// Close takes the pool's metrics out of the registry, so that another pool of
// the same name can be made. Run need not have ended, nor requests.
func (p *Pool) Close() { p.metrics.unregister() }

// Run probes the backends and lets the balancer's time pass until ctx ends,
// which is no error. It must outlive the calls of Do: without it a backend that
// falls silent is not noticed, and waiting ends with the caller's ctx alone.
func (p *Pool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		s := p.settings.Load()
		p.startWatches(ctx, &wg)
		p.passTime(ctx, s)
	}
	wg.Wait()
	p.probe.CloseIdleConnections()
	p.reap(time.Now(), true)
	return nil
}

// startWatches lets the backends be probed that are not yet.
func (p *Pool) startWatches(ctx context.Context, wg *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.current {
		if b.stop == nil {
			var watching context.Context
			watching, b.stop = context.WithCancel(ctx)
			wg.Go(func() { p.watch(watching, b) })
		}
	}
}

// passTime tells the balancer the time until ctx ends or s is replaced.
func (p *Pool) passTime(ctx context.Context, s *settings) {
	ticker := time.NewTicker(s.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			now := time.Now() // not the ticker's, which may be from before a pause
			p.advance(func() []balancer.Effect { return p.balancer.Tick(now) })
			p.clearGone()
			p.reap(now, false)
		case <-s.replaced:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reap closes connections that have been idle for too long, or all of them.
func (p *Pool) reap(now time.Time, all bool) {
	p.mu.Lock()
	backends := slices.Collect(maps.Values(p.backends))
	p.mu.Unlock()
	for _, b := range backends {
		b.conns.reap(now, all)
	}
}

// Wait returns when no request is in Do, or ctx's cause when ctx ends before.
func (p *Pool) Wait(ctx context.Context) error {
	return p.until(ctx, func() bool { return len(p.exchanges) == 0 })
}

// until waits for a condition, which it asks for under p.mu.
func (p *Pool) until(ctx context.Context, holds func() bool) error {
	for {
		p.mu.Lock()
		held := holds()
		p.mu.Unlock()
		if held {
			return nil
		}
		select {
		case <-time.After(p.settings.Load().Tick):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
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
