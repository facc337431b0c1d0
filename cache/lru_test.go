package cache

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Corrupt flips a bit of a stored value, for the contract suite.
func (c *LRU) Corrupt(k Key, bit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, _ := c.entries.Peek(k)
	e.value[bit/8%len(e.value)] ^= 1 << (bit % 8)
}

// Size returns the bytes charged, for the contract suite.
func (c *LRU) Size() int64 { bytes, _ := c.size(); return bytes }

func TestLRU_CountsWhatHappens(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := New(Config{MaxBytes: 8 * (100 + Overhead)}, reg)
	value := make([]byte, 100)
	for i := range 9 { // the ninth evicts the first
		if err := c.Put(t.Context(), Key{byte(i)}, value, "t", "m"); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Put(t.Context(), Key{100}, make([]byte, 101), "t", "m") // too large
	_, _, _, _ = c.Get(t.Context(), Key{1})
	_, _, _, _ = c.Get(t.Context(), Key{0}) // evicted
	c.Corrupt(Key{2}, 0)
	_, _, _, _ = c.Get(t.Context(), Key{2})
	for _, m := range []struct {
		name string
		got  prometheus.Collector
		want float64
	}{
		{"hits", c.metrics.hits, 1},
		{"misses", c.metrics.misses, 2},
		{"rejections", c.metrics.rejections, 1},
		{"evictions for space", c.metrics.space, 1},
		{"evictions for damage", c.metrics.corrupt, 1},
		{"evictions for age", c.metrics.expired, 0},
	} {
		if got := testutil.ToFloat64(m.got); got != m.want {
			t.Errorf("%s: %v, want %v", m.name, got, m.want)
		}
	}
	if bytes, entries := c.size(); bytes != 7*(100+Overhead) || entries != 7 {
		t.Errorf("%d bytes in %d entries, want 7", bytes, entries)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// Between looking at an entry and dropping it, another caller may have put a fresh one.
func TestLRU_DropsOnlyWhatItLookedAt(t *testing.T) {
	c := New(Config{MaxBytes: 1 << 20}, nil)
	k := Key{1}
	if err := c.Put(t.Context(), k, []byte("old"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	old, _ := c.entries.Peek(k)
	if err := c.Put(t.Context(), k, []byte("fresh"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	c.drop(k, old, c.metrics.corrupt)
	if value, _, ok, _ := c.Get(t.Context(), k); !ok || string(value) != "fresh" {
		t.Errorf("got %q, %t", value, ok)
	}
}

func TestLRU_ObeysOtherBoundsAtOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New(Config{MaxBytes: 8 * (100 + Overhead), Now: func() time.Time { return now }}, nil)
	for i := range 8 {
		if err := c.Put(t.Context(), Key{byte(i)}, make([]byte, 100), "t", "m"); err != nil {
			t.Fatal(err)
		}
	}
	there := func() (n int) {
		for i := range 8 {
			if _, _, ok, _ := c.Get(t.Context(), Key{byte(i)}); ok {
				n++
			}
		}
		return n
	}
	c.Resize(3*(100+Overhead), time.Hour)
	if bytes, entries := c.size(); bytes != 3*(100+Overhead) || entries != 3 || there() != 3 {
		t.Errorf("%d bytes in %d entries, %d to be had; want 3", bytes, entries, there())
	}
	if err := c.Put(t.Context(), Key{9}, make([]byte, 100), "t", "m"); err != ErrTooLarge {
		t.Errorf("a value above an eighth of the new budget: %v", err)
	}
	now = now.Add(time.Minute)
	c.Resize(1<<20, time.Minute)
	if n := there(); n != 0 {
		t.Errorf("%d values are older than the new bound", n)
	}
	c.Resize(0, 0)
	if bytes, entries := c.size(); bytes != 0 || entries != 0 {
		t.Errorf("%d bytes in %d entries without a budget", bytes, entries)
	}
}

// What an entry takes beyond its value stays within the overhead it is charged.
func TestLRU_OverheadCoversWhatAnEntryTakes(t *testing.T) {
	const entries, size = 100_000, 48 // 48 is a size class of the allocator: no rounding
	c := New(Config{MaxBytes: 1 << 30}, nil)
	before := heap()
	for i := range entries {
		if err := c.Put(t.Context(), Key{byte(i), byte(i >> 8), byte(i >> 16)}, make([]byte, size), "t", "m"); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap()-before)/entries - size
	runtime.KeepAlive(c)
	t.Logf("%d bytes beyond the value", each)
	if each > Overhead {
		t.Errorf("an entry takes %d bytes beyond its value, %d are charged", each, Overhead)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkLRU_Hit(b *testing.B) {
	c := New(Config{MaxBytes: 64 << 20}, nil)
	for i := range 1000 {
		if err := c.Put(context.Background(), Key{byte(i), byte(i >> 8)}, make([]byte, 4096), "t", "m"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			n := i % 1000
			if _, _, ok, _ := c.Get(context.Background(), Key{byte(n), byte(n >> 8)}); !ok {
				b.Error("miss")
			}
		}
	})
}
