package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends"
	"ocrmux/completions"
)

var errReplaced = errors.New("the configuration has changed, and nobody waits for this answer")

// fleet is the pools of backends. They live on through reloads: what is not
// changed keeps its health and its counts, and a pool that goes stays until
// nobody uses it any more.
type fleet struct {
	log      *slog.Logger
	registry prometheus.Registerer
	loops    sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context // of the loops; nil before run
	pools map[string]*livePool
}

// livePool is a pool that is there, in the configuration or on its way out.
type livePool struct {
	*backends.Pool
	cfg     backends.Config
	stop    context.CancelFunc
	stopped chan struct{}
	wanted  context.CancelFunc // calls its end off; nil where it is to stay
}

func newFleet(log *slog.Logger, registry prometheus.Registerer) *fleet {
	return &fleet{log: log, registry: registry, pools: map[string]*livePool{}}
}

// run lets the pools of now, and those that will come, work until ctx ends. wait
// returns when all of them have stopped.
func (f *fleet) run(ctx context.Context) (wait func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
	for _, p := range f.pools {
		f.start(p)
	}
	return func() {
		<-ctx.Done()
		f.barrier()
		f.loops.Wait()
	}
}

// barrier waits for whoever holds the lock: those who come after it find that
// the context has ended, and start nothing.
func (f *fleet) barrier() {
	f.mu.Lock()
	defer f.mu.Unlock()
}

// start lets a pool work. f.mu is held.
func (f *fleet) start(p *livePool) {
	ctx, stop := context.WithCancel(f.ctx)
	p.stop, p.stopped = stop, make(chan struct{})
	f.loops.Go(func() {
		defer close(p.stopped)
		_ = p.Run(ctx) // ends with ctx, which is no error
	})
}

func (f *fleet) running() bool { return f.ctx != nil && f.ctx.Err() == nil }

// update makes the pools of a configuration: new ones are added, and started
// where the others run, the others changed where they differ. It takes none away.
// added are those that nobody has used yet.
func (f *fleet) update(c *Config) (added []*livePool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.Pools)) {
		cfg, p := c.pool(name), f.pools[name]
		switch {
		case p == nil:
			pool, err := backends.New(cfg, backends.Deps{Log: f.log, Registry: f.registry})
			if err != nil {
				return nil, fmt.Errorf("pools.%s: %w", name, err)
			}
			p = &livePool{Pool: pool, cfg: cfg}
			f.pools[name] = p
			added = append(added, p)
			if f.running() {
				f.start(p)
			}
			continue
		case p.wanted != nil:
			p.wanted()
			p.wanted = nil
		}
		if reflect.DeepEqual(cfg, p.cfg) {
			continue
		}
		if err := p.Update(cfg); err != nil {
			return nil, fmt.Errorf("pools.%s: %w", name, err)
		}
		p.cfg = cfg
	}
	return added, nil
}

// of are the pools of a configuration by their names.
func (f *fleet) of(c *Config) map[string]*backends.Pool {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]*backends.Pool, len(c.Pools))
	for name := range c.Pools {
		out[name] = f.pools[name].Pool
	}
	return out
}

func inOrder(pools map[string]*backends.Pool) (out []*backends.Pool) {
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		out = append(out, pools[name])
	}
	return out
}

// settle waits until a new pool has looked at its backends, at most for as long
// as one look may take, so that work that was another pool's finds it ready.
func (p *livePool) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.ProbeTimeout)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	unknown := func(b backends.BackendStatus) bool { return b.State == "unknown" }
	for slices.ContainsFunc(p.Status().Backends, unknown) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// dismiss closes a service that was replaced when the requests that may use it
// have ended: what still goes on then is work that nobody waits for.
func (f *fleet) dismiss(s *completions.Service, ended <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running() {
		return // everything ends
	}
	f.loops.Go(func() {
		select {
		case <-ended:
		case <-f.ctx.Done():
		}
		s.Close(errReplaced)
	})
}

// retire sees to it that the pools that are not in the configuration stop: when
// the requests that may use them have ended, or when drain has passed.
func (f *fleet) retire(c *Config, ended <-chan struct{}, drain time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running() {
		return
	}
	for name, p := range f.pools {
		if _, stays := c.Pools[name]; stays || p.wanted != nil {
			continue
		}
		ctx, cancel := context.WithCancel(f.ctx)
		p.wanted = cancel
		f.loops.Go(func() {
			defer cancel()
			f.end(ctx, name, p, ended, drain)
		})
	}
}

// end ends a pool, unless ctx ends before: then it is wanted again, or everything ends.
func (f *fleet) end(ctx context.Context, name string, p *livePool, ended <-chan struct{}, drain time.Duration) {
	patience, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	select {
	case <-ended: // from here on there is only what goes on without a request
	case <-patience.Done():
	}
	if p.Wait(patience) != nil && ctx.Err() == nil {
		f.log.Warn("a pool that was removed is left while requests are still using it", "pool", name, "after", drain.String())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	p.stop()
	<-p.stopped
	p.Close()
	delete(f.pools, name)
	f.log.Info("a pool that was removed has stopped", "pool", name)
}
