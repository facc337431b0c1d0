package auth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// An address may send wrongKeyBurst wrong keys at once and then one each
// wrongKeyInterval, twenty a minute, before it is throttled.
const (
	wrongKeyBurst    = 20
	wrongKeyInterval = 3 * time.Second
)

// throttledAddresses bounds the addresses that are remembered. An attacker with
// more of them gains a 401 in place of a 429.
const throttledAddresses = 16384

// throttle counts wrong keys by address, by the generic cell rate algorithm: one
// time per address says until when its wrong keys are paid for.
type throttle struct {
	mu   sync.Mutex
	paid *simplelru.LRU[netip.Addr, time.Time] // guarded by mu
}

func newThrottle() *throttle {
	paid, err := simplelru.NewLRU[netip.Addr, time.Time](throttledAddresses, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	return &throttle{paid: paid}
}

// wrong counts a wrong key and returns 0, or, without counting it, how long the
// address is still throttled, in whole milliseconds rounded up.
func (t *throttle) wrong(peer netip.Addr, now time.Time) time.Duration {
	peer = canonical(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	paid, ok := t.paid.Get(peer)
	if !ok || paid.Before(now) {
		paid = now
	}
	paid = paid.Add(wrongKeyInterval)
	if over := paid.Sub(now) - wrongKeyBurst*wrongKeyInterval; over > 0 {
		return (over + time.Millisecond - 1).Truncate(time.Millisecond)
	}
	t.paid.Add(peer, paid)
	return 0
}
