// Package balancer decides who gets the next slot on which backend.
//
// It is a state machine: events go in (a request arrives, is cancelled, makes
// progress, ends; a probe starts or ends; time passes), effects come out
// (start this request there, refuse it, take it off its backend). It does no
// I/O, starts no goroutine and has no clock of its own, so the same code runs
// in production, in tests and in a simulation. It is not safe for concurrent
// use: the caller holds one lock around it.
package balancer

import "time"

// Class is the priority class of a request.
type Class uint8

const (
	Interactive Class = iota
	Batch
)

// Ticket is one request from Arrive until it was refused, cancelled or done.
// The caller fills the exported fields before Arrive and leaves them alone.
type Ticket struct {
	Tenant   string
	Class    Class
	Weight   float64   // share within the class, 0 means 1
	Cost     float64   // expected work in output tokens, 0 means unknown
	Model    string    // the name the backend serves it under
	Deadline time.Time // when waiting in the queue ends
	// unexported state
}

// Outcome says how an attempt ended, sorted by what it means for the backend.
type Outcome uint8

const (
	Success Outcome = iota // a complete answer
	Refused                // the backend refused the request itself (4xx): nothing held against it
	Failed                 // 5xx, truncated or malformed answer: counts for the breaker
	Lost                   // connection refused, reset or closed before the answer: the backend is out until a probe succeeds
	Aborted                // we or the client ended it: nothing held against it
)

// Kind is what an Effect asks for.
type Kind uint8

const (
	Start  Kind = iota // send the ticket's request to Backend
	Refuse             // tell the ticket's caller Err; the ticket is over
	Move               // take the ticket off Backend: it got nothing and was put back to the front of the queue
)

// Effect is one thing that the caller must do now.
type Effect struct {
	Kind    Kind
	Ticket  *Ticket
	Backend string
	Err     error // with Refuse: one of the errors below
}

// ProbeEvent is what became of a health probe.
type ProbeEvent uint8

const (
	ProbeStarted ProbeEvent = iota
	ProbeSucceeded
	ProbeFailed
)

/*
Errors: ErrQueueFull, ErrQueueTimeout, ErrNoBackend (no usable backend for the model), ErrNoRetry (budget spent, tried already, or nowhere else to go).

type Config struct { Backends []Backend{Name, MaxInFlight}; Policy ("least_loaded"|"round_robin"); MaxQueue int; health, breaker, budget parameters with defaults }
New(cfg Config, seed uint64) *Balancer
All events append to and return a slice of effects that is valid until the next call:
(b) Arrive(now, *Ticket) []Effect
(b) Cancel(now, *Ticket) []Effect            // queued or running: the caller left
(b) Progress(now, *Ticket) []Effect          // a byte of the answer (or its head) came; first call marks "has received"
(b) Done(now, *Ticket, Outcome, again bool) []Effect // the attempt ended; again asks for one more attempt elsewhere (front of the queue): Start, nothing (queued), or Refuse with ErrNoRetry
(b) Probe(now, backend string, ProbeEvent) []Effect
(b) Serves(now, backend string, models []string) []Effect // what /v1/models listed
(b) Tick(now) []Effect
(b) Status(now) Status // backends: state, in-flight, breaker, ...; queue length by class; retry budget
*/
