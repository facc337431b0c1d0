package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ulule/limiter/v3"
)

// Names of limits, in LimitError and in metrics.
const (
	LimitRequests   = "requests"
	LimitInProgress = "in_progress"
)

// LimitError says which limit a request hit and when to come again.
type LimitError struct {
	// Limit is LimitRequests or LimitInProgress.
	Limit string
	// RetryAfter is when a caller that asked nothing else meanwhile is admitted,
	// in whole milliseconds and never 0. At LimitInProgress, where nobody can
	// know, it is one second.
	RetryAfter time.Duration
	// Standing is where the limits stand; the refused request was not charged.
	Standing Standing
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit of %s reached, retry in %s", e.Limit, e.RetryAfter)
}

// inProgressRetryAfter is the wait that is named at the limit of requests in progress.
const inProgressRetryAfter = time.Second

// Standing is where a caller's limits stand, for the x-ratelimit headers.
type Standing struct {
	// RequestsLimit is the limit per minute; 0 means that there is none, and
	// nothing to tell.
	RequestsLimit int64
	// RequestsRemaining is how many more requests would be admitted now.
	RequestsRemaining int64
	// RequestsReset is when the whole limit is free again, at most a second late.
	RequestsReset time.Duration
}

// Lease is an admitted request in progress. Whoever got it from Admit ends it
// with Release. Copies are the same lease; the zero Lease is none, and may be
// released too.
type Lease struct {
	gate     *Gate
	identity *Identity
	at       time.Time // of the charge
	standing Standing
	ticket   *ticket
	turn     uint64
}

// ticket makes the end of a lease happen once without a heap allocation for
// each: it is reused, and a lease is over when the ticket has moved on. The
// state is twice the turn, plus one once the charge was refunded.
type ticket struct {
	state     atomic.Uint64
	standings [1]limiter.Context // where Take writes to; of no use afterwards
}

// Standing is where the limits stood when the request was admitted.
func (l Lease) Standing() Standing { return l.standing }

// Release ends the request in progress. Only the first call counts.
func (l Lease) Release() {
	if l.ticket == nil {
		return
	}
	for {
		state := l.ticket.state.Load()
		if state/2 != l.turn {
			return
		}
		if l.ticket.state.CompareAndSwap(state, 2*(l.turn+1)) {
			break
		}
	}
	l.gate.tickets.Put(l.ticket)
	l.identity.account.inProgress.Add(-1)
	l.identity.slots.release()
}

// Refund gives the request back to the limits, because nothing was attempted
// for it. Only the first call counts, and none after Release.
func (l Lease) Refund() {
	if l.ticket == nil || !l.ticket.state.CompareAndSwap(2*l.turn, 2*l.turn+1) {
		return
	}
	l.gate.refund(l.identity.claims, l.at)
}

// Admit takes a slot and charges the limits of one request, or does neither. It
// returns a *LimitError where a limit is reached. A tenant that waits gets its
// turn at the limit of requests in progress in the order of asking, or ctx's
// error when that ends first; it is charged when its turn comes.
func (g *Gate) Admit(ctx context.Context, id *Identity) (Lease, error) {
	if err := g.takeSlot(ctx, id); err != nil {
		return Lease{}, err
	}
	ticket := g.tickets.Get().(*ticket)
	standings := ticket.standings[:len(id.claims)]
	verdict := Verdict{Refused: -1}
	if len(id.claims) > 0 {
		var err error
		verdict, err = g.store.Take(ctx, id.claims, standings)
		if err != nil {
			g.tickets.Put(ticket)
			id.slots.release()
			return Lease{}, fmt.Errorf("charge limits: %w", err)
		}
	}
	standing := newStanding(standings, verdict.At)
	if verdict.Refused >= 0 {
		g.tickets.Put(ticket)
		id.slots.release()
		id.account.refusedRequests.Inc()
		return Lease{}, &LimitError{Limit: LimitRequests, RetryAfter: verdict.RetryAfter, Standing: standing}
	}
	id.account.inProgress.Add(1)
	id.account.admitted.Inc()
	return Lease{
		gate:     g,
		identity: id,
		at:       verdict.At,
		standing: standing,
		ticket:   ticket,
		turn:     ticket.state.Load() / 2,
	}, nil
}

// takeSlot takes one of the slots for requests in progress, or says why not.
func (g *Gate) takeSlot(ctx context.Context, id *Identity) error {
	limit := id.Tenant.Limits.InProgress
	err := id.slots.acquire(ctx, limit, false)
	if err == nil {
		return nil
	}
	standing, peekErr := g.standing(ctx, id)
	if peekErr != nil {
		return fmt.Errorf("look up limits: %w", peekErr)
	}
	if id.Tenant.Wait && (standing.RequestsLimit == 0 || standing.RequestsRemaining > 0) {
		id.account.waiting.Add(1)
		err = id.slots.acquire(ctx, limit, true)
		id.account.waiting.Add(-1)
	}
	if errors.Is(err, errSlotsTaken) {
		id.account.refusedInProgress.Inc()
		return &LimitError{Limit: LimitInProgress, RetryAfter: inProgressRetryAfter, Standing: standing}
	}
	return err
}

// standing looks up where an identity's limits stand.
func (g *Gate) standing(ctx context.Context, id *Identity) (Standing, error) {
	var standings [1]limiter.Context
	for i, claim := range id.claims {
		var err error
		if standings[i], err = g.store.Peek(ctx, claim.Key, claim.Rate); err != nil {
			return Standing{}, err
		}
	}
	return newStanding(standings[:len(id.claims)], g.now()), nil
}

// newStanding puts a store's answer into the words of the headers.
func newStanding(standings []limiter.Context, at time.Time) Standing {
	if len(standings) == 0 {
		return Standing{}
	}
	requests := standings[0]
	return Standing{
		RequestsLimit:     requests.Limit,
		RequestsRemaining: requests.Remaining,
		RequestsReset:     max(0, time.Unix(requests.Reset, 0).Sub(at)),
	}
}

// refundPatience bounds a refund, which must not end with the request's context.
const refundPatience = time.Second

func (g *Gate) refund(claims []Claim, at time.Time) {
	if len(claims) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refundPatience)
	defer cancel()
	if err := g.store.Refund(ctx, claims, at); err != nil {
		g.logger.Error("a charge was not refunded", slog.Any("error", err))
	}
}
