package backends

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"ocrmux/balancer"
)

// settings are a Config in use.
type settings struct {
	Config
	replaced chan struct{} // closed when others are in their place
}

// Update puts another configuration of the same name in the place of the
// present one, at once and as a whole, or refuses it and changes nothing. No
// request fails by it.
//
// A backend of the same name, URL and key keeps its health, its breaker, its
// cordon, its connections and what runs there. A new one gets work once a probe
// has found it up. One that is missing, or whose URL or key are others, gets
// no new work and is probed until what runs there has ended; then its
// connections are closed and its metrics are gone.
func (p *Pool) Update(cfg Config) error {
	err := cfg.prepare()
	if err == nil && cfg.Name != p.name {
		err = fmt.Errorf("it cannot become %q", cfg.Name)
	}
	if err != nil {
		return fmt.Errorf("pool %q: %w", p.name, err)
	}
	now := time.Now()
	p.mu.Lock()
	gone := p.takeGone() // before a name of theirs comes again
	was := p.settings.Load()
	p.apply(p.balancer.Update(now, p.configure(cfg)))
	gone = append(gone, p.takeGone()...)
	p.storeLimits()
	lacking := make(map[string]string)
	for _, b := range p.current {
		if missing := b.nowMissing(cfg.Models); missing != "" {
			lacking[b.Name] = missing
		}
	}
	close(was.replaced)
	p.mu.Unlock()

	p.clear(gone)
	for name, missing := range lacking {
		p.warnMissing(name, missing)
	}
	return nil
}

// configure makes the backends of a checked configuration and returns the
// balancer's. p.mu is held, or nobody else knows p yet.
func (p *Pool) configure(cfg Config) balancer.Config {
	p.settings.Store(&settings{Config: cfg, replaced: make(chan struct{})})
	out := cfg.balancer()
	p.current = make([]*backend, len(cfg.Backends))
	for i, c := range cfg.Backends {
		b := p.known(c)
		if b == nil {
			p.born++
			b = newBackend(c, c.Name+"#"+strconv.Itoa(p.born), p.metrics)
			p.backends[b.id] = b
		}
		p.current[i] = b
		out.Backends[i].Name = b.id
	}
	return out
}

// known is the backend that c describes, also where it leaves just now.
func (p *Pool) known(c Backend) *backend {
	for _, b := range p.backends {
		if b.isThe(c) {
			return b
		}
	}
	return nil
}

// takeGone forgets the backends that have left. They are to be cleared away when p.mu,
// which is held, is not any more.
func (p *Pool) takeGone() (gone []*backend) {
	if len(p.backends) == len(p.current) {
		return nil
	}
	there := make(map[string]bool)
	for _, be := range p.balancer.Status(time.Now()).Backends {
		there[be.Name] = true
	}
	for id, b := range p.backends {
		if !there[id] {
			delete(p.backends, id)
			gone = append(gone, b)
		}
	}
	for _, b := range gone {
		if !p.has(b.Name) {
			p.metrics.forget(b.Name)
		}
	}
	return gone
}

// has reports whether a backend of that name is left.
func (p *Pool) has(name string) bool {
	for _, b := range p.backends {
		if b.Name == name {
			return true
		}
	}
	return false
}

func (p *Pool) clearGone() {
	p.mu.Lock()
	gone := p.takeGone()
	p.mu.Unlock()
	p.clear(gone)
}

// clear ends the probes of backends on which nothing runs, and closes their
// connections.
func (p *Pool) clear(gone []*backend) {
	for _, b := range gone {
		if b.stop != nil {
			b.stop()
		}
		b.conns.reap(time.Now(), true)
	}
	if len(gone) > 0 {
		p.probe.CloseIdleConnections() // of all: those that are needed are soon made again
	}
}

// named is the configured backend of that name, nil for none. p.mu is held.
func (p *Pool) named(name string) *backend {
	i := slices.IndexFunc(p.current, func(b *backend) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	return p.current[i]
}
