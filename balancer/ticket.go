package balancer

import "time"

// Class is the priority class of a request.
type Class uint8

const (
	Interactive Class = iota
	Batch
	classes
)

// maxAttempts is a first one, one free move and one budgeted retry: a request
// that brings backends down must not visit them all.
const maxAttempts = 3

// Ticket is one request from Arrive until it was refused, cancelled or done.
// The caller fills the exported fields before Arrive and leaves them alone; Raise
// changes Class.
type Ticket struct {
	Tenant   string
	Class    Class
	Weight   float64   // the tenant's share within the class, from 0.01 to 100; 0 means 1
	Cost     float64   // expected work in output tokens, 0 means unknown: that of a usual page
	Model    string    // the name the backend serves it under
	Deadline time.Time // when waiting for the first start ends; a later wait may last as long as this one could

	phase    phase
	model    *model
	patience time.Duration // Deadline as seen from Arrive
	until    time.Time     // when the present wait ends
	since    time.Time     // when the present wait or attempt began

	attempts   int
	tried      [maxAttempts]*backend
	moved      bool // its free move is spent
	retried    bool // its budgeted retry is spent
	failed     bool // the caller holds the failure of an earlier attempt
	backend    *backend
	generation uint32 // of the backend's breaker when the attempt started
	received   bool   // the attempt has shown a first byte
	committed  bool

	flow       *flow // where it waits for its first start
	prev, next *Ticket
}

type phase uint8

const (
	idle phase = iota // not arrived, or over
	queued
	running
)

// Outcome says how an attempt ended, sorted by what it means for the backend.
type Outcome uint8

const (
	Success Outcome = iota // a complete answer
	Refused                // the backend refused the request itself (4xx): nothing held against it
	Failed                 // 5xx, truncated or malformed answer: counts for the breaker
	Lost                   // connection refused, reset or closed before the answer: the backend is out until a probe succeeds
	Aborted                // we or the client ended it: nothing held against it
)

func (t *Ticket) arrive(now time.Time, m *model) {
	if t.phase != idle {
		panic("balancer: a ticket arrived that is in progress")
	}
	t.over()
	t.model = m
	t.patience = t.Deadline.Sub(now)
	t.until = t.Deadline
	t.attempts = 0
	t.moved, t.retried, t.failed, t.committed = false, false, false, false
}

// over drops what the ticket holds on to.
func (t *Ticket) over() {
	t.phase = idle
	t.model, t.backend = nil, nil
	t.tried = [maxAttempts]*backend{}
}

// Limits of what one start may be charged, so that no weight and no estimate
// shuts anybody out or lets anybody through for nothing.
const (
	minWeight, maxWeight = 0.01, 100
	minCost, maxCost     = 1, 1e5
	usualCost            = 700 // median of the simulated pages
)

func (t *Ticket) weight() float64 {
	if !(t.Weight > 0) { // not a number is not a share either
		return 1
	}
	return min(max(t.Weight, minWeight), maxWeight)
}

// charge is what a start of the ticket costs its tenant.
func (t *Ticket) charge() float64 {
	cost := float64(usualCost)
	if t.Cost > 0 {
		cost = min(max(t.Cost, minCost), maxCost)
	}
	return cost / t.weight()
}

func (t *Ticket) hasTried(be *backend) bool {
	for _, tried := range t.tried[:t.attempts] {
		if tried == be {
			return true
		}
	}
	return false
}

// reason is what to refuse a waiting ticket with: a caller that knows how an
// attempt failed reports that rather than why there is no other.
func (t *Ticket) reason(err error) error {
	if t.failed {
		return ErrNoRetry
	}
	return err
}
