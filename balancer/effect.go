package balancer

import "errors"

// Kind is what an Effect asks for.
type Kind uint8

const (
	Start  Kind = iota // send the ticket's request to Backend
	Refuse             // tell the ticket's caller Err; the ticket is over
	Move               // stop the attempt on Backend: the ticket waits at the front of the queue, and its next Start follows
)

// Effect is one thing that the caller must do now, in the order given.
//
// From a Move on, nothing may be reported about the attempt that it ended; the
// Attempt number tells attempts of one ticket apart.
type Effect struct {
	Kind    Kind
	Ticket  *Ticket
	Backend string // with Start and Move
	Attempt int    // 1 for the ticket's first Start; with Refuse how many there were
	Err     error  // with Refuse: one of the errors below
}

// Errors of Refuse, sorted by what the caller may do next.
var (
	ErrQueueFull    = errors.New("the queue is full")                // try again later
	ErrQueueTimeout = errors.New("no slot became free in time")      // try again later
	ErrNoBackend    = errors.New("no backend is usable")             // try again when a backend is back
	ErrNoRetry      = errors.New("no further attempt can be spared") // report the original failure
)
