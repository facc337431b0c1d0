package balancer

import (
	"math"
	"time"
)

// BreakerState is what the breaker lets through.
type BreakerState uint8

const (
	Closed    BreakerState = iota // everything
	Open                          // nothing
	Trial                         // one attempt at a time until one shows a first byte
	Probation                     // few that have not shown theirs, until enough have
)

func (s BreakerState) String() string {
	return [...]string{"closed", "open", "trial", "probation"}[s]
}

// A backend that fails at once always looks idle, so counting in-flight work
// alone would send it nearly everything. These were chosen by simulation: one
// backend of sixteen that answers 500 in 30 ms for two minutes costs about eight
// attempts, one that fails half of them about twelve.
const (
	tripInARow       = 3
	tripShare        = 0.3 // of at least tripOf outcomes
	tripOf           = 8
	outcomeDecay     = 30 * time.Second // time constant
	probationFirsts  = 10
	probationPending = 2
	quietTime        = 60 * time.Second // closed this long, the next trip opens for the shortest time again
)

// breaker judges a backend by its answers. Attempts that started before it last
// tripped say nothing about the backend of today and are left out by their
// generation.
type breaker struct {
	state      BreakerState
	generation uint32 // trips so far
	pending    int    // attempts of this generation without a first byte
	firsts     int    // first bytes since the trial began

	row       row
	good, bad float64 // outcomes, decaying
	decayedAt time.Time

	openFor   time.Duration
	openedAt  time.Time
	openUntil time.Time
	closedAt  time.Time
}

// row is failures without anything good between them. What is good must be
// newer than the row: an answer that began before a GPU broke can take half a
// minute to end, and says nothing about now. Where answers broke off halfway, a
// first byte is no comfort and only the end of an answer is.
type row struct {
	failures int
	since    time.Time // the first failure
	halfway  bool      // one of them came after its first byte
}

func (r *row) good(began time.Time, complete bool) {
	if r.halfway && complete || !r.halfway && !began.Before(r.since) {
		*r = row{}
	}
}

func (r *row) bad(now time.Time, halfway bool) {
	if r.failures == 0 {
		r.since = now
	}
	r.failures++
	r.halfway = r.halfway || halfway
}

func (k *breaker) admits() bool {
	switch k.state {
	case Open:
		return false
	case Trial:
		return k.pending == 0
	case Probation:
		return k.pending < probationPending
	}
	return true
}

// first notes the first byte of an attempt of this generation.
func (k *breaker) first(now, began time.Time) {
	k.pending--
	k.row.good(began, false)
	if k.state == Closed {
		return
	}
	k.state = Probation
	if k.firsts++; k.firsts >= probationFirsts {
		k.state = Closed
		k.closedAt = now
	}
}

func (k *breaker) succeed(now, began time.Time) {
	k.decay(now)
	k.good++
	k.row.good(began, true)
}

// fail reports whether the breaker tripped.
func (k *breaker) fail(now time.Time, halfway bool, cfg *Config) bool {
	k.decay(now)
	k.bad++
	k.row.bad(now, halfway)
	total := k.good + k.bad
	if k.state == Closed && k.row.failures < tripInARow && (total < tripOf || k.bad < tripShare*total) {
		return false
	}
	k.trip(now, cfg)
	return true
}

func (k *breaker) decay(now time.Time) {
	f := math.Exp(-now.Sub(k.decayedAt).Seconds() / outcomeDecay.Seconds())
	k.good *= f
	k.bad *= f
	k.decayedAt = now
}

func (k *breaker) trip(now time.Time, cfg *Config) {
	k.openFor = min(2*k.openFor, cfg.BreakerOpenMax)
	if k.openFor == 0 || k.state == Closed && now.Sub(k.closedAt) >= quietTime {
		k.openFor = cfg.BreakerOpenMin
	}
	k.state = Open
	k.generation++
	k.pending, k.firsts, k.row, k.good, k.bad = 0, 0, row{}, 0, 0
	k.openedAt, k.openUntil = now, now.Add(k.openFor)
}

// halfOpen begins the trial of an open breaker.
func (k *breaker) halfOpen() {
	if k.state == Open {
		k.state = Trial
	}
}

// openTrials lets tripped backends try again when their time has come. Where
// every backend that is up is tripped, the pool must not stay shut for a minute
// after the cause has gone: the one tripped longest ago gets its trial after
// the shortest time.
func (b *Balancer) openTrials(now time.Time) {
	var last *backend
	usable := false
	for _, be := range b.backends {
		k := &be.breaker
		if k.state == Open && !k.openUntil.After(now) {
			k.halfOpen()
			b.freed = true
		}
		usable = usable || be.usable()
		if be.state == Up && !be.shut() && k.state == Open && (last == nil || k.openedAt.Before(last.breaker.openedAt)) {
			last = be
		}
	}
	if !usable && last != nil && now.Sub(last.breaker.openedAt) >= b.cfg.BreakerOpenMin {
		last.breaker.halfOpen()
		b.freed = true
	}
}

// judge holds the end of an attempt for or against its backend.
func (b *Balancer) judge(now time.Time, t *Ticket, o Outcome) {
	be := t.backend
	current := t.generation == be.breaker.generation
	switch o {
	case Success:
		b.firstByte(now, t)
		b.heard(now, be)
		if current {
			be.breaker.succeed(now, t.since)
		}
	case Refused:
		b.lives(now, be)
	case Failed:
		b.lives(now, be)
		b.blame(now, t, current)
	case Lost:
		if b.lose(now, be) {
			b.blame(now, t, current)
		}
	}
}

func (b *Balancer) blame(now time.Time, t *Ticket, current bool) {
	if current && t.backend.breaker.fail(now, t.received, &b.cfg) {
		b.worse = true
	}
}

// firstByte notes the first byte of the ticket's attempt.
func (b *Balancer) firstByte(now time.Time, t *Ticket) {
	if t.received {
		return
	}
	t.received = true
	if k := &t.backend.breaker; t.generation == k.generation {
		b.freed = b.freed || k.state != Closed
		k.first(now, t.since)
	}
}
