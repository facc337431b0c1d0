package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
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
	n := t.list(requests, requests, func(kind) int64 { return -1 })
	l.gate.settle(t.claims[:n], t.at)
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
		account.refused[LimitQuota].Inc()
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
			var limit *LimitError
			if errors.As(err, &limit) {
				account.refused[limit.name()].Inc()
			}
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

// Expects is how many tokens so many answers to a request will probably have,
// by the tenant's own history; most bounds each of them where it is not 0.
func (id *Identity) Expects(answers int, most int64) int64 {
	each := int64(math.Ceil(id.account.answers.expects()))
	if most > 0 {
		each = min(each, most)
	}
	return each * int64(max(1, answers))
}

// Learn notes how many tokens a whole answer had.
func (id *Identity) Learn(tokens int64) { id.account.answers.learn(tokens) }

// Used is what the tenant has used of its month's quota.
func (g *Gate) Used(id *Identity) Used { return id.account.month.used(g.now()) }

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

// take puts the first n claims to the store. The error is a *LimitError where
// they do not fit. What the standing says of who asks is brought up to date.
func (g *Gate) take(ctx context.Context, t *ticket, n int, standing *Standing) error {
	verdict, err := g.store.Take(ctx, t.claims[:n], t.standings[:n])
	if err != nil {
		return fmt.Errorf("charge limits: %w", err)
	}
	for i := range n {
		if !t.owners[i].ceiling {
			standing.note(t.kinds[i], t.standings[i], verdict.At)
		}
	}
	if verdict.Refused < 0 {
		if t.kinds[0] == requests {
			t.at = verdict.At
		}
		return nil
	}
	i := verdict.Refused
	return &LimitError{
		Limit:      kindNames[t.kinds[i]],
		Ceiling:    t.owners[i].ceiling,
		RetryAfter: verdict.RetryAfter,
		Never:      t.claims[i].Count > t.claims[i].Rate.Limit,
		Room:       t.room(n),
		Standing:   *standing,
	}
}

// room is what the limits of the first n claims would have let pass.
func (t *ticket) room(n int) Work {
	least := [kinds]int64{math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64}
	for i := range n {
		k := t.kinds[i]
		least[k] = min(least[k], t.standings[i].Remaining)
	}
	return Work{Images: least[images], Pixels: least[pixels], Prompt: least[tokens]}
}

// Admit takes a slot and charges the limits of one request to a route, or does
// neither. It returns ErrNoRoute, or a *LimitError where a limit is reached. A
// tenant that waits gets its turn at its limit of requests in progress in the
// order of asking, or ctx's error when that ends first; it is charged when its
// turn comes.
func (g *Gate) Admit(ctx context.Context, id *Identity, route string) (Lease, error) {
	if !id.Tenant.MayTake(route) {
		return Lease{}, ErrNoRoute
	}
	ceilings := g.ceilings.Load()
	t := g.tickets.Get().(*ticket)
	t.scopes = [maxScopes]*scope{id.owner, id.key, ceilings.routes[route], ceilings.all}
	t.refunded, t.workAt = false, time.Time{}
	lease := Lease{gate: g, identity: id, ticket: t, turn: t.turn.Load()}
	if err := g.admit(ctx, t, &lease); err != nil {
		g.tickets.Put(t)
		var limit *LimitError
		if errors.As(err, &limit) {
			id.account.refused[limit.name()].Inc()
		}
		return Lease{}, err
	}
	id.account.inProgress.Add(1)
	id.account.admitted.Inc()
	return lease, nil
}

// admit charges the request and then takes its slots. Who has to wait for one
// is charged anew when it has it.
func (g *Gate) admit(ctx context.Context, t *ticket, l *Lease) error {
	n := t.list(requests, requests, func(kind) int64 { return 1 })
	if err := g.charge(ctx, t, n, l); err != nil {
		return err
	}
	full := takeAll(&t.scopes)
	if full == nil {
		return nil
	}
	g.giveBack(t, n)
	if n > 0 && l.standing.Requests.Limit > 0 {
		l.standing.Requests.Remaining++
	}
	owner := l.identity.owner
	if full != owner || !l.identity.Tenant.Wait {
		return &LimitError{Limit: LimitInProgress, Ceiling: full.ceiling, RetryAfter: inProgressRetryAfter, Standing: l.standing}
	}
	l.identity.account.waiting.Add(1)
	err := owner.slots.wait(ctx, owner.inProgress)
	l.identity.account.waiting.Add(-1)
	if errors.Is(err, errSlotsTaken) {
		return &LimitError{Limit: LimitInProgress, RetryAfter: inProgressRetryAfter, Standing: l.standing}
	}
	if err != nil {
		return err
	}
	others := t.scopes
	others[0] = nil
	if full := takeAll(&others); full != nil {
		owner.slots.release()
		return &LimitError{Limit: LimitInProgress, Ceiling: full.ceiling, RetryAfter: inProgressRetryAfter, Standing: l.standing}
	}
	l.standing = Standing{}
	if err := g.charge(ctx, t, n, l); err != nil {
		releaseAll(&t.scopes)
		return err
	}
	return nil
}

func (g *Gate) charge(ctx context.Context, t *ticket, n int, l *Lease) error {
	if n == 0 {
		return nil
	}
	return g.take(ctx, t, n, &l.standing)
}

// giveBack undoes the charge of the first n claims.
func (g *Gate) giveBack(t *ticket, n int) {
	for i := range n {
		t.claims[i].Count = -t.claims[i].Count
	}
	g.settle(t.claims[:n], t.at)
	for i := range n {
		t.claims[i].Count = -t.claims[i].Count
	}
}

// takeAll takes a slot of every scope, or returns the one that has none free.
func takeAll(scopes *[maxScopes]*scope) (full *scope) {
	for i, s := range scopes {
		if s != nil && !s.slots.take(s.inProgress) {
			for _, taken := range scopes[:i] {
				if taken != nil {
					taken.slots.release()
				}
			}
			return s
		}
	}
	return nil
}

func releaseAll(scopes *[maxScopes]*scope) {
	for _, s := range scopes {
		if s != nil {
			s.slots.release()
		}
	}
}

// Standing looks up where all limits of an identity stand.
func (g *Gate) Standing(ctx context.Context, id *Identity) (Standing, error) {
	var standing Standing
	for _, s := range []*scope{id.owner, id.key} {
		for k := range kinds {
			if s == nil || s.claims[k].Rate.Limit == 0 {
				continue
			}
			c, err := g.store.Peek(ctx, s.claims[k].Key, s.claims[k].Rate)
			if err != nil {
				return Standing{}, fmt.Errorf("look up limits: %w", err)
			}
			standing.note(k, c, g.now())
		}
	}
	return standing, nil
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
