package admin

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// An address may send wrongTokens wrong tokens at once and then one each
// wrongTokenInterval. Nobody needs more to find a mistake, and a token of 256
// bits would be safe without: the throttle keeps the log and the CPU quiet.
const (
	wrongTokens        = 10
	wrongTokenInterval = 6 * time.Second
)

// throttledAddresses bounds the addresses that are remembered.
const throttledAddresses = 4096

// bucket is a leaky bucket as one time (the generic cell rate algorithm): until
// when what came is paid for.
type bucket time.Time

// take pays for one more, at an interval each and burst of them at once, or
// returns how long that cannot be paid yet.
func (b *bucket) take(now time.Time, interval time.Duration, burst int) (wait time.Duration) {
	paid := time.Time(*b)
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(interval)
	if over := paid.Sub(now) - time.Duration(burst)*interval; over > 0 {
		return over
	}
	*b = bucket(paid)
	return 0
}

// throttle counts wrong tokens by address.
type throttle struct {
	mu      sync.Mutex
	buckets *simplelru.LRU[netip.Addr, *bucket] // guarded by mu
}

func newThrottle() *throttle {
	buckets, err := simplelru.NewLRU[netip.Addr, *bucket](throttledAddresses, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	return &throttle{buckets: buckets}
}

// wrong counts a wrong token and returns 0, or, without counting it, how long
// its address is still throttled. Of IPv6 a /64 counts as one address.
func (t *throttle) wrong(peer netip.Addr, now time.Time) time.Duration {
	if peer.Is6() {
		if network, err := peer.WithZone("").Prefix(64); err == nil {
			peer = network.Addr()
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.buckets.Get(peer)
	if !ok {
		b = new(bucket)
		t.buckets.Add(peer, b)
	}
	return b.take(now, wrongTokenInterval, wrongTokens)
}
