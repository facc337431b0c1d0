package auth

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ulule/limiter/v3"
)

// Lease is an admitted request in progress. Whoever got it from Admit ends it
// with Release. Copies are the same lease; the zero Lease is none, and may be
// released too. Its other methods are called one after the other.
type Lease struct {
	gate     *Gate
	identity *Identity
	standing Standing
	ticket   *ticket
	turn     uint64
}

// ticket is what a lease holds. It is reused, so that a lease costs no heap
// allocation, and a lease is over when the ticket has moved on to the next turn.
type ticket struct {
	turn     atomic.Uint64
	scopes   [maxScopes]*scope
	at       time.Time // of the charge of the request
	refunded bool
	work     Work      // charged
	workAt   time.Time // zero where nothing is

	// Where claims are written down for the store; of no use afterwards.
	claims    [maxClaims]Claim
	kinds     [maxClaims]kind
	owners    [maxClaims]*scope
	standings [maxClaims]limiter.Context
}

// Standing is where the limits stood when the request was admitted.
func (l Lease) Standing() Standing { return l.standing }

// live returns the ticket, nil where the lease is over or none.
func (l Lease) live() *ticket {
	if l.ticket == nil || l.ticket.turn.Load() != l.turn {
		return nil
	}
	return l.ticket
}

// Release ends the request in progress. Only the first call counts.
func (l Lease) Release() {
	if l.ticket == nil || !l.ticket.turn.CompareAndSwap(l.turn, l.turn+1) {
		return
	}
	l.identity.account.inProgress.Add(-1)
	releaseAll(&l.ticket.scopes)
	l.gate.tickets.Put(l.ticket)
}

// Refund gives the request back to the limits, because nothing was attempted
// for it. Only the first call counts, and none after Release.
func (l Lease) Refund() {
	t := l.live()
	if t == nil || t.refunded {
		return
	}
	t.refunded = true
	l.gate.giveBack(t)
}

// Charge charges what the request's body asks for to the limits of images,
// megapixels and tokens and to the month's quota: all of it or nothing. The
// error is a *LimitError or a *QuotaError. Then the request was refused: it is
// given back to the limit of requests, and only Release may follow.
func (l Lease) Charge(ctx context.Context, w Work) (Standing, error) {
	t := l.live()
	if t == nil {
		return l.standing, nil
	}
	account, now := l.identity.account, l.gate.now()
	if err := account.month.take(now, l.identity.Tenant.Quota, w); err != nil {
		account.countRefusal(err)
		l.Refund()
		return l.standing, err
	}
	standing := l.standing
	n := t.list(images, tokens, w.of)
	if n > 0 {
		err := l.gate.take(ctx, t, n, &standing)
		if err != nil {
			account.month.settle(now, now, w, Work{})
			l.Refund()
			account.countRefusal(err)
			return standing, err
		}
	}
	t.work, t.workAt = w, now
	return standing, nil
}

// Settle puts what the request really took in the place of what was charged:
// the rest is given back, what is missing is charged now, also beyond a limit.
// Only the first call counts, and none after Release.
func (l Lease) Settle(used Work) {
	t := l.live()
	if t == nil || t.workAt.IsZero() {
		return
	}
	charged, at := t.work, t.workAt
	t.work, t.workAt = used, time.Time{}
	l.identity.account.month.settle(l.gate.now(), at, charged, used)
	n := t.list(images, tokens, func(k kind) int64 { return used.of(k) - charged.of(k) })
	changed := 0
	for _, claim := range t.claims[:n] {
		if claim.Count != 0 {
			t.claims[changed] = claim
			changed++
		}
	}
	l.gate.settle(t.claims[:changed], at)
}

// list writes down a claim for every limit of the kinds from first to last, and
// returns how many there are.
func (t *ticket) list(first, last kind, count func(kind) int64) int {
	n := 0
	for _, s := range t.scopes {
		if s == nil {
			continue
		}
		for k := first; k <= last; k++ {
			if s.claims[k].Rate.Limit == 0 {
				continue
			}
			t.claims[n], t.kinds[n], t.owners[n] = s.claims[k], k, s
			t.claims[n].Count = count(k)
			n++
		}
	}
	return n
}

// settle corrects a charge, whatever has become of the request's context.
func (g *Gate) settle(claims []Claim, at time.Time) {
	if len(claims) == 0 {
		return
	}
	if err := g.store.Settle(context.Background(), claims, at); err != nil {
		g.logger.Error("a charge was not settled", slog.Any("error", err))
	}
}
