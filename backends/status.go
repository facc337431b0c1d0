package backends

import (
	"context"
	"log/slog"
	"time"

	"ocrmux/balancer"
)

// Status is a picture of the pool for /admin/backends, /health and metrics.
type Status struct {
	Pool     string          `json:"pool"`
	Queued   int             `json:"queued"`
	Backends []BackendStatus `json:"backends"`          // in the order of the configuration
	Leaving  []BackendStatus `json:"leaving,omitempty"` // no more in the configuration, with work to finish
}

// BackendStatus is what is known of one backend.
type BackendStatus struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`    // "unknown", "up", "suspect", "out", "down": only "up" gets new work
	Breaker     string   `json:"breaker"`  // "closed", "open", "trial", "probation": "open" gets none either
	Cordoned    bool     `json:"cordoned"` // by an operator: it gets none whatever its state
	InFlight    int      `json:"in_flight"`
	MaxInFlight int      `json:"max_in_flight"`
	Models      []string `json:"models"` // as it lists them; nil until then
}

// Status is a copy: it stays as it is.
func (p *Pool) Status() Status {
	s, _ := p.status()
	return s
}

// status is Status with the queue's length by class.
func (p *Pool) status() (Status, [len(classNames)]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.balancer.Status(time.Now())
	s := Status{Pool: p.name}
	for _, n := range now.Queued {
		s.Queued += n
	}
	for _, be := range now.Backends {
		to := &s.Backends
		if be.Leaving {
			to = &s.Leaving
		}
		*to = append(*to, p.backends[be.Name].status(be))
	}
	return s, now.Queued
}

func (b *backend) status(be balancer.BackendStatus) BackendStatus {
	var models []string
	for _, m := range b.models {
		models = append(models, m.name)
	}
	return BackendStatus{
		Name:        b.Name,
		State:       be.State.String(),
		Breaker:     be.Breaker.String(),
		Cordoned:    be.Cordoned,
		InFlight:    be.InFlight,
		MaxInFlight: be.MaxInFlight,
		Models:      models,
	}
}

// Usable reports whether at least one backend could be given a request for
// model now, at once or when a slot becomes free.
func (p *Pool) Usable(model string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, be := range p.balancer.Status(time.Now()).Backends {
		if be.Usable && p.backends[be.Name].serves(model) {
			return true
		}
	}
	return false
}

// change is one backend's new state, for the log.
type change struct {
	backend, what, was, is string
	worse                  bool
}

// changes compares the backends with what was last logged. p.mu is held.
func (p *Pool) changes() []change {
	var out []change
	for _, be := range p.balancer.Status(time.Now()).Backends {
		b := p.backends[be.Name]
		if be.Leaving {
			continue // what is said of its name is said of another
		}
		if be.State != b.state {
			out = append(out, change{b.Name, "state", b.state.String(), be.State.String(), be.State != balancer.Up})
			b.state = be.State
		}
		if be.Breaker != b.breaker {
			out = append(out, change{b.Name, "breaker", b.breaker.String(), be.Breaker.String(), be.Breaker == balancer.Open})
			b.breaker = be.Breaker
		}
	}
	return out
}

// report logs changes; the lock is not held, because a log may be slow.
func (p *Pool) report(changes []change) {
	for _, c := range changes {
		level := slog.LevelInfo
		if c.worse {
			level = slog.LevelWarn
		}
		p.log.Log(context.Background(), level, "a backend's "+c.what+" changed", "backend", c.backend, "was", c.was, "is", c.is)
	}
}
