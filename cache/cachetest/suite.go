// Package cachetest is the contract of a result store as tests, one suite for
// every store there is.
//
// A store's own test calls Run with a Harness, which makes stores, moves their
// clock and damages what they hold.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"ocrmux/cache"
)

// Store is what the suite tests.
type Store interface {
	Get(ctx context.Context, k cache.Key) (value []byte, age time.Duration, ok bool, err error)
	Put(ctx context.Context, k cache.Key, value []byte, tenant, model string) error
	Delete(ctx context.Context, tenant, model string) (n int, err error)
}

// Harness makes and handles stores of one kind.
type Harness struct {
	// New returns an empty store that reads the time from cfg.Now.
	New func(t *testing.T, cfg cache.Config) Store
	// Size returns the bytes that a store counts against its budget.
	Size func(Store) int64
	// Exact says that a store counts its values and cache.Overhead for each of
	// them and nothing else, and lets go of what was used least recently.
	Exact bool
	// Corrupt flips one bit of the value under a key: the bit of that number,
	// modulo the value's bits.
	Corrupt func(s Store, k cache.Key, bit int)
}

// Run proves that the harness's stores keep the contract.
func Run(t *testing.T, h Harness) {
	type test struct {
		name string
		run  func(*testing.T, Harness)
	}
	tests := []test{
		{"ReturnsWhatWasPut", returnsWhatWasPut},
		{"KeepsNoHoldOfTheCallersBuffer", keepsNoHold},
		{"ForgetsAfterTheTTL", forgetsAfterTheTTL},
		{"NeverExceedsItsBudget", neverExceedsItsBudget},
		{"RefusesWhatIsTooLarge", refusesTooLarge},
		{"StoresNothingWithoutABudget", storesNothingWithoutABudget},
		{"DeletesByTenantAndModel", deletesByTenantAndModel},
		{"MissesADamagedValue", missesDamaged},
		{"ServesConcurrentCallers", servesConcurrentCallers},
	}
	if h.Exact {
		tests = append(tests,
			test{"ForgetsWhatIsUsedLeastRecently", forgetsLeastRecentlyUsed},
			test{"TakesAnEighthAndNotAByteMore", takesAnEighth},
			test{"CountsAnOverwrittenValueOnce", countsOverwrittenOnce})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func returnsWhatWasPut(t *testing.T, h Harness) {
	clock := newClock()
	s := h.New(t, cache.Config{MaxBytes: 1 << 20, Now: clock.now})
	expectMiss(t, s, key(1))
	for i, value := range []string{"", "a", "page of text"} {
		put(t, s, key(i), value)
	}
	clock.advance(3 * time.Second)
	for i, value := range []string{"", "a", "page of text"} {
		if age := expect(t, s, key(i), value); age != 3*time.Second {
			t.Errorf("age %s, want 3s", age)
		}
	}
	put(t, s, key(1), "b")
	if age := expect(t, s, key(1), "b"); age != 0 {
		t.Errorf("age %s of a fresh value", age)
	}
	expectMiss(t, s, key(9))
}

func keepsNoHold(t *testing.T, h Harness) {
	s := h.New(t, cache.Config{MaxBytes: 1 << 20})
	buffer := []byte("first")
	if err := s.Put(t.Context(), key(1), buffer, "tenant", "model"); err != nil {
		t.Fatal(err)
	}
	copy(buffer, "other")
	expect(t, s, key(1), "first")
	value, _, _, _ := s.Get(t.Context(), key(1))
	_ = append(value, " and more"...)
	expect(t, s, key(1), "first")
}

func forgetsAfterTheTTL(t *testing.T, h Harness) {
	clock := newClock()
	s := h.New(t, cache.Config{MaxBytes: 1 << 20, TTL: time.Minute, Now: clock.now})
	put(t, s, key(1), "old")
	clock.advance(time.Minute - 1)
	put(t, s, key(2), "young")
	expect(t, s, key(1), "old")
	clock.advance(1)
	expectMiss(t, s, key(1))
	expect(t, s, key(2), "young")
	put(t, s, key(1), "again")
	expect(t, s, key(1), "again")
	clock.advance(-time.Hour) // a clock that is set back makes nothing younger than new
	if age := expect(t, s, key(2), "young"); age != 0 {
		t.Errorf("age %s", age)
	}
}

func neverExceedsItsBudget(t *testing.T, h Harness) {
	const budget = 64 << 10
	s := h.New(t, cache.Config{MaxBytes: budget})
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		k, size := key(random.IntN(200)), random.IntN(budget/8-cache.Overhead+1)
		if random.IntN(4) > 0 {
			size /= 64
		}
		put(t, s, k, string(make([]byte, size)))
		if got := h.Size(s); got > budget {
			t.Fatalf("%d bytes in a budget of %d", got, budget)
		}
		_, _, _, _ = s.Get(t.Context(), key(random.IntN(200)))
		var held int64
		if random.IntN(50) == 0 {
			for i := range 200 {
				if value, _, ok, _ := s.Get(t.Context(), key(i)); ok {
					held += int64(len(value)) + cache.Overhead
				}
			}
			if got := h.Size(s); got != held && h.Exact {
				t.Fatalf("%d bytes counted, %d held", got, held)
			}
		}
	}
	if got := h.Size(s); got < budget/2 {
		t.Errorf("only %d bytes of %d are used", got, budget)
	}
}

func forgetsLeastRecentlyUsed(t *testing.T, h Harness) {
	const size = 100
	s := h.New(t, cache.Config{MaxBytes: 8 * (size + cache.Overhead)})
	value := string(make([]byte, size))
	for i := range 8 {
		put(t, s, key(i), value)
	}
	expect(t, s, key(0), value)
	put(t, s, key(8), value)
	expectMiss(t, s, key(1))
	for _, i := range []int{0, 2, 3, 4, 5, 6, 7, 8} {
		expect(t, s, key(i), value)
	}
}

func refusesTooLarge(t *testing.T, h Harness) {
	const budget = 16 << 10
	s := h.New(t, cache.Config{MaxBytes: budget})
	put(t, s, key(1), "small")
	for i := 1; i <= 2; i++ {
		if err := s.Put(t.Context(), key(i), make([]byte, budget/8+1), "tenant", "model"); !errors.Is(err, cache.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
		expectMiss(t, s, key(i)) // what was there has been superseded
	}
}

func takesAnEighth(t *testing.T, h Harness) {
	const budget = 16 << 10
	const largest = budget/8 - cache.Overhead
	s := h.New(t, cache.Config{MaxBytes: budget})
	put(t, s, key(1), string(make([]byte, largest)))
	before := h.Size(s)
	for _, k := range []int{2, 1} {
		if err := s.Put(t.Context(), key(k), make([]byte, largest+1), "tenant", "model"); !errors.Is(err, cache.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
		expectMiss(t, s, key(k))
		if k == 2 && h.Size(s) != before {
			t.Errorf("a refused value costs %d bytes", h.Size(s)-before)
		}
	}
	if h.Size(s) != 0 {
		t.Errorf("%d bytes counted in an empty store", h.Size(s))
	}
}

func storesNothingWithoutABudget(t *testing.T, h Harness) {
	s := h.New(t, cache.Config{})
	if err := s.Put(t.Context(), key(1), nil, "tenant", "model"); !errors.Is(err, cache.ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
	expectMiss(t, s, key(1))
}

func countsOverwrittenOnce(t *testing.T, h Harness) {
	s := h.New(t, cache.Config{MaxBytes: 1 << 20})
	for _, size := range []int{1000, 10, 0, 5000, 5000} {
		put(t, s, key(1), string(make([]byte, size)))
		if got, want := h.Size(s), int64(size+cache.Overhead); got != want {
			t.Errorf("%d bytes counted after a value of %d, want %d", got, size, want)
		}
	}
}

func deletesByTenantAndModel(t *testing.T, h Harness) {
	const each = 3 // values of each tenant from each model
	tenants, models := []string{"a", "b"}, []string{"x", "y"}
	for _, test := range []struct{ tenant, model string }{{"a", "x"}, {"a", ""}, {"", "y"}, {"", ""}, {"c", "x"}, {"x", "a"}} {
		s := h.New(t, cache.Config{MaxBytes: 1 << 20})
		gone := make(map[int]bool)
		for i := range each * len(tenants) * len(models) {
			tenant, model := tenants[i%2], models[i/2%2]
			if err := s.Put(t.Context(), key(i), []byte("page"), tenant, model); err != nil {
				t.Fatal(err)
			}
			if (test.tenant == "" || test.tenant == tenant) && (test.model == "" || test.model == model) {
				gone[i] = true
			}
		}
		n, err := s.Delete(t.Context(), test.tenant, test.model)
		if err != nil || n != len(gone) {
			t.Errorf("%q: %d deleted, %v; want %d", test, n, err, len(gone))
		}
		var held int64
		for i := range each * len(tenants) * len(models) {
			if gone[i] {
				expectMiss(t, s, key(i))
				continue
			}
			expect(t, s, key(i), "page")
			held += int64(len("page")) + cache.Overhead
		}
		if got := h.Size(s); got != held && h.Exact {
			t.Errorf("%q: %d bytes counted, %d held", test, got, held)
		}
		// who stored a value last is whose it is
		if err := s.Put(t.Context(), key(0), []byte("moved"), "d", "x"); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Delete(t.Context(), "d", "x"); n != 1 || err != nil {
			t.Errorf("%d deleted, %v; want 1", n, err)
		}
		expectMiss(t, s, key(0))
	}
}

func missesDamaged(t *testing.T, h Harness) {
	s := h.New(t, cache.Config{MaxBytes: 1 << 20})
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 1000 {
		value := make([]byte, 1+random.IntN(2000))
		for j := range value {
			value[j] = byte(random.Uint32())
		}
		if err := s.Put(t.Context(), key(i), value, "tenant", "model"); err != nil {
			t.Fatal(err)
		}
		h.Corrupt(s, key(i), random.IntN(1<<20))
		if got, _, ok, err := s.Get(t.Context(), key(i)); ok || err != nil {
			t.Fatalf("damaged value %d: ok %t, error %v, equal %t", i, ok, err, bytes.Equal(got, value))
		}
		put(t, s, key(i), "sound")
		expect(t, s, key(i), "sound")
	}
}

func servesConcurrentCallers(t *testing.T, h Harness) {
	const budget = 32 << 10
	s := h.New(t, cache.Config{MaxBytes: budget, TTL: time.Hour})
	var group sync.WaitGroup
	for caller := range 8 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(caller)))
			for range 2000 {
				n := random.IntN(64)
				if random.IntN(1000) == 0 {
					if _, err := s.Delete(t.Context(), "tenant", strconv.Itoa(n%2)); err != nil {
						t.Error(err)
					}
				}
				if random.IntN(2) == 0 {
					if err := s.Put(t.Context(), key(n), bytes.Repeat([]byte{byte(n)}, random.IntN(3000)), "tenant", strconv.Itoa(n%2)); err != nil {
						t.Error(err)
					}
					continue
				}
				value, _, ok, err := s.Get(t.Context(), key(n))
				if err != nil {
					t.Error(err)
				}
				if ok && bytes.Count(value, []byte{byte(n)}) != len(value) {
					t.Errorf("key %d has a value of another", n)
				}
			}
		})
	}
	group.Wait()
	if got := h.Size(s); got > budget {
		t.Errorf("%d bytes in a budget of %d", got, budget)
	}
}

func key(n int) (k cache.Key) {
	k[0], k[1], k[31] = byte(n), byte(n>>8), 0xff
	return k
}

func put(t *testing.T, s Store, k cache.Key, value string) {
	t.Helper()
	if err := s.Put(t.Context(), k, []byte(value), "tenant", "model"); err != nil {
		t.Fatal(err)
	}
}

// expect proves that a value is there and returns its age.
func expect(t *testing.T, s Store, k cache.Key, want string) time.Duration {
	t.Helper()
	got, age, ok, err := s.Get(t.Context(), k)
	if err != nil || !ok || string(got) != want {
		t.Fatalf("got %q, %t, %v; want %q", got, ok, err, want)
	}
	return age
}

func expectMiss(t *testing.T, s Store, k cache.Key) {
	t.Helper()
	if got, _, ok, err := s.Get(t.Context(), k); ok || err != nil || got != nil {
		t.Fatalf("got %q, %t, %v; want a miss", got, ok, err)
	}
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
