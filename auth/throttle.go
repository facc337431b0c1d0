package auth

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Pace is what is taken at once, and then one each interval.
type Pace struct {
	Burst    int
	Interval time.Duration
}

// An address may send twenty wrong keys at once and then twenty a minute before
// it is throttled.
var wrongKeys = Pace{Burst: 20, Interval: 3 * time.Second}

// throttledAddresses bounds the addresses that are remembered. An attacker with
// more of them gains a 401 in place of a 429.
const throttledAddresses = 16384

// Bucket is a leaky bucket as one time (the generic cell rate algorithm): until
// when what came is paid for. The zero Bucket is empty.
type Bucket time.Time

// Take pays for one more at a pace, or returns how long that cannot be paid yet.
func (b *Bucket) Take(now time.Time, p Pace) (wait time.Duration) {
	paid := time.Time(*b)
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(p.Interval)
	if over := paid.Sub(now) - time.Duration(p.Burst)*p.Interval; over > 0 {
		return over
	}
	*b = Bucket(paid)
	return 0
}

// Throttle counts what is wrong, such as keys, by address. Of IPv6 a /64 counts
// as one.
type Throttle struct {
	pace    Pace
	mu      sync.Mutex
	buckets *simplelru.LRU[netip.Addr, *Bucket] // guarded by mu
}

// NewThrottle remembers so many addresses, at least one.
func NewThrottle(pace Pace, addresses int) *Throttle {
	buckets, err := simplelru.NewLRU[netip.Addr, *Bucket](addresses, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	return &Throttle{pace: pace, buckets: buckets}
}

// Wrong counts one and returns 0, or, without counting it, how long the address
// is still throttled, in whole milliseconds rounded up.
func (t *Throttle) Wrong(peer netip.Addr, now time.Time) time.Duration {
	peer = canonical(peer)
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.buckets.Get(peer)
	if !ok {
		b = new(Bucket)
		t.buckets.Add(peer, b)
	}
	return wholeMillis(b.Take(now, t.pace))
}
