package balancer

import "time"

// Status is what metrics and the admin API show of a pool.
type Status struct {
	Backends    []BackendStatus // in the order of the configuration, then those that leave
	Queued      [classes]int    // tickets that wait, by Class
	OldestWait  time.Duration   // of the ticket that waits longest
	InProgress  int             // tickets waiting or running
	Retrying    int             // of these, on their budgeted retry
	RetryBudget int             // how many may be
}

// BackendStatus is what is known of one backend.
type BackendStatus struct {
	Name        string
	State       State
	Breaker     BreakerState
	OpenUntil   time.Time // with Breaker Open
	InFlight    int
	MaxInFlight int
	Cordoned    bool
	Leaving     bool // the configuration has it no more: it is gone when nothing is in flight
	Usable      bool // new work may go to it, room or not
}

// Status is a copy: it stays as it is.
func (b *Balancer) Status(now time.Time) Status {
	s := Status{
		Backends:    make([]BackendStatus, len(b.backends)),
		Queued:      b.queue.count,
		OldestWait:  b.queue.oldestWait(now),
		InProgress:  b.inProgress,
		Retrying:    b.retrying,
		RetryBudget: b.retryBudget(),
	}
	for i, be := range b.backends {
		s.Backends[i] = BackendStatus{
			Name:        be.Name,
			State:       be.state,
			Breaker:     be.breaker.state,
			InFlight:    be.running.n,
			MaxInFlight: be.MaxInFlight,
			Cordoned:    be.cordoned,
			Leaving:     be.leaving,
			Usable:      be.usable(),
		}
		if be.breaker.state == Open {
			s.Backends[i].OpenUntil = be.breaker.openUntil
		}
	}
	return s
}
