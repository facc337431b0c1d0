package auth

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ulule/limiter/v3"
)

// MemoryStore is the Store of one process. One mutex guards all limits: a Take
// holds it for well under a microsecond, and so is one step by construction.
type MemoryStore struct {
	now   func() time.Time
	epoch time.Time

	mu      sync.Mutex
	latest  time.Duration                   // guarded by mu: since epoch; a clock that goes back is held still
	windows *simplelru.LRU[string, *window] // guarded by mu
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store that reads the clock now, or time.Now where nil.
func NewMemoryStore(now func() time.Time) *MemoryStore {
	if now == nil {
		now = time.Now
	}
	// The count is bounded by time, not by number: forgetting a limit that is
	// in use would let more pass than it allows.
	windows, err := simplelru.NewLRU[string, *window](math.MaxInt, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	epoch := now()
	return &MemoryStore{now: now, epoch: epoch, windows: windows}
}

// Take implements Store.
func (s *MemoryStore) Take(_ context.Context, claims []Claim, standings []limiter.Context) (Verdict, error) {
	for i := range claims {
		if err := checkRate(claims[i].Rate); err != nil {
			return Verdict{}, err
		}
	}
	var space [maxClaims]*window
	windows := space[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.tick()
	verdict := Verdict{At: s.epoch.Add(now), Refused: -1}
	for i := range claims {
		claim := &claims[i]
		w := s.window(claim.Key, now)
		windows = append(windows, w)
		at, ever := w.fits(now, claim.Count, claim.Rate.Limit)
		if ever && at == now {
			continue
		}
		wait := time.Minute
		if ever {
			wait = wholeMillis(at - now)
		}
		if verdict.Refused < 0 || wait > verdict.RetryAfter || !ever {
			verdict.Refused, verdict.RetryAfter = i, wait
		}
	}
	for i, w := range windows {
		if verdict.Refused < 0 {
			w.charge(now, claims[i].Count)
		}
		standings[i] = s.standing(w, claims[i].Rate)
	}
	return verdict, nil
}

// maxClaims is how many claims of one Take cost no heap allocation.
const maxClaims = 12

// Settle implements Store.
func (s *MemoryStore) Settle(_ context.Context, claims []Claim, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, charged := s.tick(), int64(at.Sub(s.epoch)/time.Second)
	for i := range claims {
		claim := &claims[i]
		if claim.Count >= 0 {
			s.window(claim.Key, now).charge(now, claim.Count)
		} else if w, ok := s.windows.Get(claim.Key); ok {
			w.advance(now)
			w.refund(charged, -claim.Count)
		}
	}
	return nil
}

// Get implements limiter.Store: it charges one.
func (s *MemoryStore) Get(ctx context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	return s.Increment(ctx, key, 1, rate)
}

// Increment implements limiter.Store. A negative count gives back, oldest charges first.
func (s *MemoryStore) Increment(ctx context.Context, key string, count int64, rate limiter.Rate) (limiter.Context, error) {
	if count >= 0 {
		var standing [1]limiter.Context
		verdict, err := s.Take(ctx, []Claim{{Key: key, Rate: rate, Count: count}}, standing[:])
		standing[0].Reached = verdict.Refused == 0
		return standing[0], err
	}
	return s.inspect(key, rate, func(w *window) { w.refundOldest(-count) })
}

// Peek implements limiter.Store.
func (s *MemoryStore) Peek(_ context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	return s.inspect(key, rate, func(*window) {})
}

// Reset implements limiter.Store.
func (s *MemoryStore) Reset(_ context.Context, key string, rate limiter.Rate) (limiter.Context, error) {
	return s.inspect(key, rate, func(w *window) { *w = window{second: w.second} })
}

// inspect lets change work on a limit and returns where it stands afterwards.
func (s *MemoryStore) inspect(key string, rate limiter.Rate, change func(*window)) (limiter.Context, error) {
	if err := checkRate(rate); err != nil {
		return limiter.Context{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.tick()
	w, ok := s.windows.Get(key)
	if !ok {
		w = new(window) // not kept: looking costs no memory
	}
	w.advance(now)
	change(w)
	return s.standing(w, rate), nil
}

// tick reads the clock: the time since epoch. The caller holds mu.
func (s *MemoryStore) tick() time.Duration {
	s.latest = max(s.latest, s.now().Sub(s.epoch))
	return s.latest
}

// window returns a limit's window as it is now. The caller holds mu.
func (s *MemoryStore) window(key string, now time.Duration) *window {
	if w, ok := s.windows.Get(key); ok {
		w.advance(now)
		return w
	}
	second := int64(now / time.Second)
	s.forget(second)
	w := &window{second: second}
	s.windows.Add(key, w)
	return w
}

// forget drops the windows that nobody has used since their last charge left
// them. Windows stand in order of use (every use goes through Get, never through
// Peek, and advances the window), so it ends at the first one still in use.
func (s *MemoryStore) forget(second int64) {
	for {
		_, w, ok := s.windows.GetOldest()
		if !ok || second-w.second < windowBuckets {
			return
		}
		s.windows.RemoveOldest()
	}
}

// standing returns where a limit stands. Reset is the Unix second from which
// the whole limit is free again, rounded up. The caller holds mu.
func (s *MemoryStore) standing(w *window, rate limiter.Rate) limiter.Context {
	return limiter.Context{
		Limit:     rate.Limit,
		Remaining: max(0, rate.Limit-w.total),
		Reset:     (s.epoch.UnixNano() + int64(w.emptyAt(s.latest)+time.Second-1)) / int64(time.Second),
		Reached:   w.total > rate.Limit,
	}
}

// wholeMillis rounds up.
func wholeMillis(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

func checkRate(rate limiter.Rate) error {
	if rate.Period != time.Minute {
		return fmt.Errorf("limit with a period of %s: only a minute is counted", rate.Period)
	}
	return nil
}
