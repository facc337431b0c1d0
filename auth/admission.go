package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

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
		id.account.countRefusal(err)
		return Lease{}, err
	}
	id.account.inProgress.Add(1)
	id.account.admitted.Inc()
	return lease, nil
}

// admit charges the request and then takes its slots. Who has to wait for one
// is charged anew when it has it.
func (g *Gate) admit(ctx context.Context, t *ticket, l *Lease) error {
	if err := g.charge(ctx, t, l); err != nil {
		return err
	}
	full := takeAll(&t.scopes)
	if full == nil {
		return nil
	}
	g.giveBack(t)
	if l.standing.Requests.Limit > 0 {
		l.standing.Requests.Remaining++
	}
	owner := l.identity.owner
	if full != owner || !l.identity.Tenant.Wait {
		return l.busy(full)
	}
	l.identity.account.waiting.Add(1)
	err := owner.slots.wait(ctx, owner.inProgress)
	l.identity.account.waiting.Add(-1)
	if errors.Is(err, errSlotsTaken) {
		return l.busy(owner)
	}
	if err != nil {
		return err
	}
	others := t.scopes
	others[0] = nil
	if full := takeAll(&others); full != nil {
		owner.slots.release()
		return l.busy(full)
	}
	l.standing = Standing{}
	if err := g.charge(ctx, t, l); err != nil {
		releaseAll(&t.scopes)
		return err
	}
	return nil
}

// busy is the refusal by a scope that has no slot free.
func (l *Lease) busy(full *scope) error {
	return &LimitError{Limit: LimitInProgress, Ceiling: full.ceiling, RetryAfter: inProgressRetryAfter, Standing: l.standing}
}

// charge charges the request itself.
func (g *Gate) charge(ctx context.Context, t *ticket, l *Lease) error {
	n := t.list(requests, requests, func(kind) int64 { return 1 })
	if n == 0 {
		return nil
	}
	return g.take(ctx, t, n, &l.standing)
}

// giveBack undoes charge.
func (g *Gate) giveBack(t *ticket) {
	n := t.list(requests, requests, func(kind) int64 { return -1 })
	g.settle(t.claims[:n], t.at)
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

// Busy is where the limit of requests in progress stands: of tenant and key the
// one with less room.
func (g *Gate) Busy(id *Identity) (tightest Level) {
	for _, s := range []*scope{id.owner, id.key} {
		if s == nil || s.inProgress == 0 {
			continue
		}
		limit := int64(s.inProgress)
		if remaining := max(0, limit-int64(s.slots.held())); tightest.Limit == 0 || remaining < tightest.Remaining {
			tightest = Level{Limit: limit, Remaining: remaining}
		}
	}
	return tightest
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
