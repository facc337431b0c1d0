package auth

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// ErrNoKey says that there is no credential, and that none is not enough here.
var ErrNoKey = errors.New("no API key")

// ErrBadKey says that the credential opens nothing: mistyped, unknown, wrong,
// expired, disabled, or sent from where it must not be used. Which of these it
// is goes into a metric and never to the caller.
var ErrBadKey = errors.New("incorrect API key")

// Throttled stands in place of ErrBadKey for an address that has sent too many
// wrong keys. The key was checked all the same, and was wrong.
type Throttled struct {
	// RetryAfter is when the next wrong key will be told that it is wrong, in
	// whole milliseconds and at least one.
	RetryAfter time.Duration
}

func (e *Throttled) Error() string {
	return fmt.Sprintf("too many incorrect API keys from this address, retry in %s", e.RetryAfter)
}

// Identity is who asks: a tenant, and the key by which it was recognised. It is
// good for the one request that it was made for, also if the key is revoked
// meanwhile.
type Identity struct {
	Tenant *Tenant
	// KeyID is the id of the key, empty for an anonymous caller.
	KeyID string

	account *account
	owner   *scope // the tenant, or one address of the anonymous one
	key     *scope // nil for an anonymous caller
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

// canonical returns the address that a peer is counted by: an IPv4 address
// itself, an IPv6 address its /64, which is what one customer commonly has.
func canonical(peer netip.Addr) netip.Addr {
	peer = peer.Unmap().WithZone("")
	if peer.Is6() {
		if prefix, err := peer.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return peer
}
