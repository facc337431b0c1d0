// Package authtest is the contract of auth.Store as tests, one suite for every
// store there is.
package authtest

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ulule/limiter/v3"

	"ocrmux/auth"
)

// RunStore proves that the stores that newStore makes keep the contract. They
// read the time from now.
func RunStore(t *testing.T, newStore func(t *testing.T, now func() time.Time) auth.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, auth.Store, *Clock)
	}{
		{"AdmitsTheLimitAndNoMore", admitsTheLimit},
		{"LetsNoMinuteHaveMoreThanTheLimit", slidingWindow},
		{"AdmitsWhoWaitsAsLongAsTold", admitsWhoWaits},
		{"ChargesAllClaimsOrNone", allOrNone},
		{"RefundsToTheBucketThatWasCharged", refundsToTheBucket},
		{"CountsWhatWasTakenBeyondTheLimit", debt},
		{"AdmitsTenOfSixtyFour", tenOfSixtyFour},
		{"SpeaksTheLimitersVocabulary", vocabulary},
		{"FollowsAChangedLimit", changedLimit},
		{"HoldsAClockThatGoesBack", clockGoesBack},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := NewClock()
			test.run(t, newStore(t, clock.Now), clock)
		})
	}
}

// perMinute is a limit in the store's vocabulary.
func perMinute(limit int64) limiter.Rate { return limiter.Rate{Period: time.Minute, Limit: limit} }

// claims wants one of each of some keys under the same limit.
func claims(limit int64, keys ...string) []auth.Claim {
	cs := make([]auth.Claim, len(keys))
	for i, key := range keys {
		cs[i] = auth.Claim{Key: key, Rate: perMinute(limit), Count: 1}
	}
	return cs
}

func take(t *testing.T, s auth.Store, cs []auth.Claim) (auth.Verdict, []limiter.Context) {
	t.Helper()
	standings := make([]limiter.Context, len(cs))
	v, err := s.Take(t.Context(), cs, standings)
	if err != nil {
		t.Fatal(err)
	}
	return v, standings
}

// giveBack settles what was charged to nothing.
func giveBack(t *testing.T, s auth.Store, cs []auth.Claim, at time.Time) {
	t.Helper()
	less := slices.Clone(cs)
	for i := range less {
		less[i].Count = -less[i].Count
	}
	if err := s.Settle(t.Context(), less, at); err != nil {
		t.Fatal(err)
	}
}

func admitsTheLimit(t *testing.T, s auth.Store, clock *Clock) {
	one := claims(3, "a")
	for i := range 3 {
		v, standings := take(t, s, one)
		if v.Refused != -1 || standings[0].Limit != 3 || standings[0].Remaining != int64(2-i) {
			t.Fatalf("charge %d: %+v %+v", i, v, standings)
		}
	}
	v, standings := take(t, s, one)
	if v.Refused != 0 || standings[0].Remaining != 0 {
		t.Fatalf("the fourth: %+v %+v", v, standings)
	}
	if v, _ := take(t, s, claims(3, "b")); v.Refused != -1 {
		t.Error("another key is refused")
	}
	clock.Advance(61 * time.Second)
	if v, standings := take(t, s, one); v.Refused != -1 || standings[0].Remaining != 2 {
		t.Errorf("after the window: %+v %+v", v, standings)
	}
}

// The charges that pass are kept, and compared with every window that begins at one of them.
func slidingWindow(t *testing.T, s auth.Store, clock *Clock) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for schedule := range 30 {
		limit := int64(1 + random.IntN(40))
		pace := time.Duration(1+random.IntN(4000)) * time.Millisecond
		key := strconv.Itoa(schedule)
		type passed struct {
			at    time.Time
			count int64
		}
		var all []passed
		for range 600 {
			switch random.IntN(20) {
			case 0:
				clock.Advance(time.Duration(random.IntN(70)) * time.Second)
			case 1: // onto the edge of a bucket
				clock.Advance(time.Second - time.Duration(clock.Now().Nanosecond()))
			case 2: // a burst
			default:
				clock.Advance(time.Duration(random.Int64N(int64(pace))))
			}
			count := int64(1 + random.IntN(3))
			claim := []auth.Claim{{Key: key, Rate: perMinute(limit), Count: count}}
			v, _ := take(t, s, claim)
			if v.Refused >= 0 {
				continue
			}
			if random.IntN(10) == 0 {
				clock.Advance(time.Duration(random.IntN(5000)) * time.Millisecond)
				giveBack(t, s, claim, v.At)
				continue
			}
			all = append(all, passed{clock.Now(), count})
		}
		for i := range all {
			var sum int64
			for j := i; j < len(all) && all[j].at.Sub(all[i].at) < time.Minute; j++ {
				sum += all[j].count
			}
			if sum > limit {
				t.Fatalf("schedule %d: %d in the minute from charge %d, limit %d", schedule, sum, i, limit)
			}
		}
		if len(all) == 0 {
			t.Fatalf("schedule %d: nothing passed", schedule)
		}
	}
}

func admitsWhoWaits(t *testing.T, s auth.Store, clock *Clock) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refusals := 0
	for range 3000 {
		cs := []auth.Claim{
			{Key: "tight", Rate: perMinute(5), Count: 1},
			{Key: "wide", Rate: perMinute(40), Count: int64(1 + random.IntN(20))},
		}
		v, _ := take(t, s, cs)
		if v.Refused < 0 {
			clock.Advance(time.Duration(random.Int64N(int64(8 * time.Second))))
			continue
		}
		refusals++
		if v.RetryAfter < time.Millisecond || v.RetryAfter > 60*time.Second || v.RetryAfter%time.Millisecond != 0 {
			t.Fatalf("retry after %s", v.RetryAfter)
		}
		if early := v.RetryAfter - time.Millisecond; early > 0 {
			clock.Advance(early)
			if w, _ := take(t, s, cs); w.Refused < 0 {
				t.Fatalf("told to wait %s, admitted a millisecond before", v.RetryAfter)
			}
			clock.Advance(time.Millisecond)
		} else {
			clock.Advance(v.RetryAfter)
		}
		if w, _ := take(t, s, cs); w.Refused >= 0 {
			t.Fatalf("told to wait %s, waited, and told to wait %s", v.RetryAfter, w.RetryAfter)
		}
	}
	if refusals < 100 {
		t.Errorf("only %d refusals", refusals)
	}
	v, _ := take(t, s, []auth.Claim{{Key: "tight", Rate: perMinute(5), Count: 6}})
	if v.Refused != 0 || v.RetryAfter != time.Minute {
		t.Errorf("above the limit: %+v", v)
	}
}

func allOrNone(t *testing.T, s auth.Store, _ *Clock) {
	narrow := []auth.Claim{
		{Key: "wide", Rate: perMinute(10), Count: 1},
		{Key: "narrow", Rate: perMinute(2), Count: 1},
	}
	for i := range 5 {
		v, standings := take(t, s, narrow)
		if want := i < 2; (v.Refused < 0) != want {
			t.Fatalf("charge %d: %+v", i, v)
		}
		if i >= 2 && (v.Refused != 1 || standings[0].Remaining != 8 || standings[1].Remaining != 0) {
			t.Fatalf("charge %d: %+v %+v", i, v, standings)
		}
	}
}

func refundsToTheBucket(t *testing.T, s auth.Store, clock *Clock) {
	one := claims(2, "a")
	first, _ := take(t, s, one)
	clock.Advance(30 * time.Second)
	take(t, s, one)
	clock.Advance(5 * time.Second)
	giveBack(t, s, one, first.At)
	if v, _ := take(t, s, one); v.Refused >= 0 {
		t.Fatal("what was refunded does not fit again")
	}
	clock.Advance(27 * time.Second) // 62 s after the first, 32 s after the second, 27 s after the third
	if v, _ := take(t, s, one); v.Refused < 0 {
		t.Error("the refund was taken from a later charge")
	}
	clock.Advance(3 * time.Minute)
	take(t, s, one)
	clock.Advance(30 * time.Second)
	second, _ := take(t, s, one)
	giveBack(t, s, one, second.At)
	take(t, s, one)
	clock.Advance(31 * time.Second)
	if v, _ := take(t, s, one); v.Refused >= 0 {
		t.Error("the refund was taken from an earlier charge")
	}
	clock.Advance(3 * time.Minute)
	before, _ := s.Peek(t.Context(), "a", perMinute(2))
	giveBack(t, s, one, first.At)
	if after, _ := s.Peek(t.Context(), "a", perMinute(2)); after != before || after.Remaining != 2 {
		t.Errorf("a refund long after changes %+v to %+v", before, after)
	}
}

func debt(t *testing.T, s auth.Store, clock *Clock) {
	one := claims(10, "a")
	v, _ := take(t, s, one)
	clock.Advance(20 * time.Second)
	more := []auth.Claim{{Key: "a", Rate: perMinute(10), Count: 14}}
	if err := s.Settle(t.Context(), more, v.At); err != nil {
		t.Fatal(err)
	}
	refused, standings := take(t, s, one)
	if refused.Refused != 0 || standings[0].Remaining != 0 {
		t.Fatalf("five above the limit: %+v %+v", refused, standings)
	}
	clock.Advance(45 * time.Second) // the first charge has left; what was settled has not
	if v, _ := take(t, s, one); v.Refused < 0 {
		t.Error("what was charged beyond the limit is counted with the first charge")
	}
	clock.Advance(refused.RetryAfter - 45*time.Second)
	if v, _ := take(t, s, one); v.Refused >= 0 {
		t.Errorf("after the %s that were named: %+v", refused.RetryAfter, v)
	}
}

// OfSixtyFour is how many of 64 callers who ask at once are admitted.
func OfSixtyFour(ask func() (admitted bool)) int64 {
	var admitted atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		group.Go(func() {
			<-start
			if ask() {
				admitted.Add(1)
			}
		})
	}
	close(start)
	group.Wait()
	return admitted.Load()
}

func tenOfSixtyFour(t *testing.T, s auth.Store, _ *Clock) {
	for round := range 20 {
		cs := claims(10, "shared"+strconv.Itoa(round), "also"+strconv.Itoa(round))
		got := OfSixtyFour(func() bool {
			v, err := s.Take(t.Context(), cs, make([]limiter.Context, len(cs)))
			if err != nil {
				t.Error(err)
			}
			return v.Refused < 0
		})
		if got != 10 {
			t.Fatalf("%d admitted", got)
		}
	}
}

func vocabulary(t *testing.T, s auth.Store, clock *Clock) {
	l := limiter.New(s, perMinute(3))
	for _, step := range []struct {
		what      string
		do        func() (limiter.Context, error)
		remaining int64
		reached   bool
	}{
		{"peek", func() (limiter.Context, error) { return l.Peek(t.Context(), "a") }, 3, false},
		{"get", func() (limiter.Context, error) { return l.Get(t.Context(), "a") }, 2, false},
		{"increment", func() (limiter.Context, error) { return l.Increment(t.Context(), "a", 2) }, 0, false},
		{"get above", func() (limiter.Context, error) { return l.Get(t.Context(), "a") }, 0, true},
		{"peek at the limit", func() (limiter.Context, error) { return l.Peek(t.Context(), "a") }, 0, false},
		{"give back", func() (limiter.Context, error) { return l.Increment(t.Context(), "a", -2) }, 2, false},
		{"increment above", func() (limiter.Context, error) { return l.Increment(t.Context(), "a", 3) }, 2, true},
		{"give back too much", func() (limiter.Context, error) { return l.Increment(t.Context(), "a", -9) }, 3, false},
		{"increment to the limit", func() (limiter.Context, error) { return l.Increment(t.Context(), "a", 3) }, 0, false},
		{"reset", func() (limiter.Context, error) { return l.Reset(t.Context(), "a") }, 3, false},
	} {
		got, err := step.do()
		if err != nil || got.Limit != 3 || got.Remaining != step.remaining || got.Reached != step.reached {
			t.Errorf("%s: %+v, %v; want %d remaining, reached %t", step.what, got, err, step.remaining, step.reached)
		}
	}
	charged, err := l.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Unix(charged.Reset, 0).Sub(clock.Now()))
	if got, _ := l.Peek(t.Context(), "a"); got.Remaining != 3 {
		t.Errorf("at the reset it named: %+v", got)
	}
	if _, err := s.Get(t.Context(), "a", limiter.Rate{Period: time.Hour, Limit: 3}); err == nil {
		t.Error("a limit per hour is taken for one per minute")
	}
}

func changedLimit(t *testing.T, s auth.Store, _ *Clock) {
	for range 5 {
		take(t, s, claims(5, "a"))
	}
	if v, standings := take(t, s, claims(2, "a")); v.Refused != 0 || standings[0].Remaining != 0 || !standings[0].Reached {
		t.Errorf("lowered: %+v %+v", v, standings)
	}
	if v, standings := take(t, s, claims(7, "a")); v.Refused != -1 || standings[0].Remaining != 1 {
		t.Errorf("raised: %+v %+v", v, standings)
	}
}

func clockGoesBack(t *testing.T, s auth.Store, clock *Clock) {
	clock.Advance(100 * time.Second)
	take(t, s, claims(1, "a"))
	clock.Advance(-90 * time.Second)
	if v, _ := take(t, s, claims(1, "a")); v.Refused != 0 {
		t.Error("admitted by setting the clock back")
	}
	if v, _ := take(t, s, claims(1, "b")); v.Refused != -1 {
		t.Error("refused by setting the clock back")
	}
}

// Clock stands still until it is moved.
type Clock struct {
	mu sync.Mutex
	t  time.Time
}

// NewClock returns a clock at a fixed time that is not on the edge of a second.
func NewClock() *Clock { return &Clock{t: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
