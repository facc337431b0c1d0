package balancer

import (
	"slices"
	"time"
)

// Update puts another configuration in the place of the present one. Backends
// are known by their names: one that stays keeps all that is known of it and
// whatever runs there, also where that is more than it may have from now on. A
// new one is unknown until its first probe. One that is missing leaves: it gets
// no new work, what runs there goes on and is still watched, and with its last
// ticket it is forgotten; named again before that, it is back as it was. Update
// panics on a Config that Validate refuses.
func (b *Balancer) Update(now time.Time, cfg Config) []Effect {
	b.begin()
	b.configure(cfg)
	b.emptied, b.freed, b.worse = true, true, true
	return b.settle(now)
}

func (b *Balancer) configure(cfg Config) {
	if err := cfg.Validate(); err != nil {
		panic("balancer: " + err.Error())
	}
	b.cfg = cfg.WithDefaults()
	b.choose = choosers[b.cfg.Policy]
	had := b.backends
	for _, be := range had {
		be.leaving = true
	}
	b.backends = make([]*backend, 0, len(cfg.Backends))
	for _, c := range cfg.Backends {
		be := b.byName[c.Name]
		if be == nil {
			be = b.newBackend(c.Name)
		}
		be.MaxInFlight, be.leaving = c.MaxInFlight, false
		b.backends = append(b.backends, be)
	}
	for _, be := range had {
		if be.leaving {
			b.backends = append(b.backends, be)
		}
	}
}

// newBackend gives a backend the first free place in what is known of models.
func (b *Balancer) newBackend(name string) *backend {
	taken := make([]bool, len(b.byName)+1)
	for _, be := range b.byName {
		if be.index < len(taken) {
			taken[be.index] = true
		}
	}
	be := &backend{Backend: Backend{Name: name}, index: slices.Index(taken, false)}
	if be.index == len(b.unlisted.served) {
		b.unlisted.served = append(b.unlisted.served, false)
		for _, m := range b.models {
			m.served = append(m.served, false)
		}
	}
	b.byName[name] = be
	return be
}

// dropEmpty forgets backends that leave and have nothing to do any more.
func (b *Balancer) dropEmpty() {
	b.backends = slices.DeleteFunc(b.backends, func(be *backend) bool {
		gone := be.leaving && be.running.n == 0
		if gone {
			delete(b.byName, be.Name)
		}
		return gone
	})
}
