package balancer

import "time"

// Backend is one server of the pool.
type Backend struct {
	Name        string
	MaxInFlight int // attempts on it at once, at least 1
}

// backend is what is known of a Backend.
type backend struct {
	Backend
	index    int  // its place in model.served, which says nothing before listed
	listed   bool // it said which models it serves
	cordoned bool // an operator wants no new work on it
	leaving  bool // the configuration has it no more
	running  line // in the order in which they started
	breaker  breaker
	health
}

// model is a name that some backend listed.
type model struct {
	served []bool // by backend index
	full   uint   // the last walk through the queue in which nobody had room for it
}

// Cordon keeps new work from a backend, or lets it have some again. What runs
// there goes on, and its health is judged as before. What waits for cordoned
// backends alone is refused with ErrNoBackend: nobody knows how long an operator
// will take.
func (b *Balancer) Cordon(now time.Time, name string, on bool) []Effect {
	b.begin()
	if be := b.byName[name]; be != nil {
		be.cordoned = on
		b.freed, b.worse = true, true
	}
	return b.settle(now)
}

// Serves tells which models a backend offers, of those that tickets may ask
// for. Until then it is taken to serve them all, so a caller that checks calls
// this before the first ProbeSucceeded.
func (b *Balancer) Serves(now time.Time, name string, models []string) []Effect {
	b.begin()
	if be := b.byName[name]; be != nil {
		be.listed = true
		for _, m := range b.models {
			m.served[be.index] = false
		}
		for _, name := range models {
			b.modelNamed(name).served[be.index] = true
		}
		b.freed, b.worse = true, true
	}
	return b.settle(now)
}

// modelNamed makes a model when it is first listed, and tells the tickets that
// asked for it before.
func (b *Balancer) modelNamed(name string) *model {
	m := b.models[name]
	if m != nil {
		return m
	}
	m = &model{served: make([]bool, len(b.unlisted.served))}
	b.models[name] = m
	learn := func(t *Ticket) {
		if t.Model == name {
			t.model = m
		}
	}
	b.queue.each(learn)
	for _, be := range b.backends {
		be.running.each(learn)
	}
	return m
}

func (b *Balancer) modelOf(t *Ticket) *model {
	if m := b.models[t.Model]; m != nil {
		return m
	}
	return &b.unlisted
}

func (be *backend) serves(t *Ticket) bool {
	return !be.listed || t.model.served[be.index]
}

// shut says that it gets no new work whatever its state.
func (be *backend) shut() bool { return be.cordoned || be.leaving }

// usable says that new work may go to it, room or not.
func (be *backend) usable() bool {
	return be.state == Up && !be.shut() && be.breaker.state != Open
}

func (be *backend) hasRoom() bool {
	return be.state == Up && !be.shut() && be.running.n < be.MaxInFlight && be.breaker.admits()
}

// fits says that the ticket can start here now.
func (be *backend) fits(t *Ticket) bool {
	return be.hasRoom() && be.serves(t) && !t.hasTried(be)
}

func (b *Balancer) anyRoom() bool {
	for _, be := range b.backends {
		if be.hasRoom() {
			return true
		}
	}
	return false
}

// take starts an attempt of the ticket here.
func (be *backend) take(now time.Time, t *Ticket) {
	t.phase = running
	t.since = now
	t.backend = be
	t.tried[t.attempts] = be
	t.attempts++
	t.received = false
	t.generation = be.breaker.generation
	be.breaker.pending++
	be.running.push(t)
}

// give ends it.
func (be *backend) give(t *Ticket) {
	be.running.remove(t)
	if !t.received && t.generation == be.breaker.generation {
		be.breaker.pending--
	}
	t.backend = nil
}

// othersUsable says that work can go to another backend than be.
func (b *Balancer) othersUsable(be *backend) bool {
	for _, other := range b.backends {
		if other != be && other.usable() {
			return true
		}
	}
	return false
}

// hope says whether a ticket that waits can expect to start: some backend that
// serves it, that it has not tried and that is not shut, is full, unknown, suspect
// or out, all of which the next probes settle, or its breaker gives it a trial in
// time.
func (b *Balancer) hope(t *Ticket) bool {
	for _, be := range b.backends {
		if be.state == Down || be.shut() || !be.serves(t) || t.hasTried(be) {
			continue
		}
		if be.breaker.state != Open || be.breaker.openUntil.Before(t.until) || !b.othersUsable(be) {
			return true
		}
	}
	return false
}
