// Package auth answers one question: may this key do this now?
//
// Gate.Identify turns a credential into an Identity, from a snapshot of
// keys.yaml in memory. Gate.Admit charges the tenant's limits and opens a
// Lease, which counts as one request in progress until it is released.
// The package takes strings, addresses and a context and knows nothing of HTTP.
package auth

/*
type Identity struct { Tenant *Tenant; KeyID string ("" for anonymous) }
type Tenant struct { Name; Models []string (names the tenant may use; empty = all); Class "interactive"|"batch"; Weight float64; Limits Limits; Privileged bool; Wait bool (waits instead of 429 at the in-progress limit) }
type Limits struct { RequestsPerMinute int; InProgress int }   // 0 = unlimited. later: images, megapixels, tokens

func New(cfg Config, deps Deps) (*Gate, error)
func (g *Gate) Run(ctx) error  // watches keys.yaml by content each 500 ms, a broken file keeps the last good state
func (g *Gate) Identify(credential string, peer netip.Addr) (*Identity, error)   // ErrNoKey (credential == ""), ErrBadKey, *Throttled{RetryAfter}
func (g *Gate) Anonymous(peer netip.Addr) (*Identity, error)                     // ErrNoKey where not configured
func (g *Gate) Admit(ctx, *Identity) (*Lease, error)                              // *LimitError{Limit string, RetryAfter, Standing}
func (l *Lease) Release()   // idempotent
func (l *Lease) Refund()    // nothing was attempted: gives the request back
func (l *Lease) Standing() Standing // RequestsLimit, RequestsRemaining, RequestsReset for x-ratelimit-*
*/
