package auth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxAddresses bounds the anonymous addresses that are told apart at once.
const maxAddresses = 16384

// evictionTries bounds the search for an address that can be forgotten.
const evictionTries = 8

// addresses keeps the anonymous tenant's identities, one an address, as long as
// their limits remember anything. When all of the places are in use, further
// addresses share one identity: they are limited together, and nobody's limit
// is forgotten in their favour.
type addresses struct {
	mu    sync.Mutex
	known *simplelru.LRU[netip.Addr, *address] // guarded by mu
}

type address struct {
	identity *Identity
	slots    slots
	used     time.Time
}

func newAddresses() *addresses {
	known, err := simplelru.NewLRU[netip.Addr, *address](maxAddresses, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	return &addresses{known: known}
}

// identity returns an address's share of the anonymous tenant.
func (as *addresses) identity(peer netip.Addr, anyone *Identity, now time.Time) *Identity {
	as.mu.Lock()
	defer as.mu.Unlock()
	a, ok := as.known.Get(peer)
	if !ok {
		if as.known.Len() >= maxAddresses && !as.evict(now) {
			return anyone
		}
		a = new(address)
		as.known.Add(peer, a)
	}
	a.used = now
	if a.identity == nil || a.identity.Tenant != anyone.Tenant { // new, or the file has changed
		a.identity = &Identity{
			Tenant:  anyone.Tenant,
			account: anyone.account,
			owner:   newScope("address/"+peer.String(), anyone.Tenant.Limits, &a.slots),
		}
	}
	return a.identity
}

// evict forgets an address that nothing is remembered of. Addresses stand in
// order of use; one that has been in line or at work since long is passed by.
func (as *addresses) evict(now time.Time) bool {
	for range evictionTries {
		peer, a, _ := as.known.GetOldest()
		if now.Sub(a.used) < windowSpan {
			return false
		}
		if a.slots.idle() {
			as.known.Remove(peer)
			return true
		}
		as.known.Get(peer) // to the other end of the order; its time of use stays
	}
	return false
}
