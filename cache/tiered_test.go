package cache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Corrupt flips a bit of a stored value in every tier that has it.
func (t *Tiered) Corrupt(k Key, bit int) {
	t.flush()
	if t.first.entries.Contains(k) {
		t.first.Corrupt(k, bit)
	}
	t.second.Corrupt(k, bit)
}

// Size returns the bytes of the tier that has more of them.
func (t *Tiered) Size() int64 {
	t.flush()
	return max(t.first.Size(), t.second.Size())
}

func tiers(t *testing.T, memory, disk int64, now func() time.Time) *Tiered {
	t.Helper()
	d, err := OpenDisk(DiskConfig{Dir: t.TempDir(), MaxBytes: disk, TTL: time.Hour, Now: now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return NewTiered(New(Config{MaxBytes: memory, TTL: time.Hour, Now: now}, nil), d)
}

func (t *Tiered) forgetMemory() { t.first.delete("", "", func(Key) {}) }

func TestTiered_BringsBackWhatMemoryForgot(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := tiers(t, 1<<20, 1<<20, func() time.Time { return now })
	k, want := numbered(1)
	if err := s.Put(t.Context(), k, want, "t", "m"); err != nil {
		t.Fatal(err)
	}
	s.flush()
	s.forgetMemory()
	now = now.Add(59 * time.Minute)
	for range 2 {
		if value, age, ok, err := s.Get(t.Context(), k); !ok || err != nil || !bytes.Equal(value, want) || age != 59*time.Minute {
			t.Fatalf("%t, %v, age %s", ok, err, age)
		}
	}
	if got := testutil.ToFloat64(s.second.metrics.hits); got != 1 {
		t.Errorf("the disk was read %v times", got)
	}
	if hits, misses := testutil.ToFloat64(s.first.metrics.hits), testutil.ToFloat64(s.first.metrics.misses); hits != 2 || misses != 0 {
		t.Errorf("%v hits and %v misses; a hit of either tier is one", hits, misses)
	}
	if n, err := s.Delete(t.Context(), "t", "m"); n != 1 || err != nil {
		t.Errorf("%d deleted, %v: a value in both tiers is one", n, err)
	}
	if err := s.Put(t.Context(), k, want, "t", "m"); err != nil {
		t.Fatal(err)
	}
	s.flush()
	s.forgetMemory()
	now = now.Add(30 * time.Minute)
	if _, _, ok, _ := s.Get(t.Context(), k); !ok {
		t.Error("gone too early")
	}
	now = now.Add(30 * time.Minute) // coming back makes nothing younger
	if _, _, ok, _ := s.Get(t.Context(), k); ok {
		t.Error("a value outlives its time by moving from tier to tier")
	}
}

func TestTiered_FindsWhatIsOnItsWay(t *testing.T) {
	s := tiers(t, 0, 1<<20, nil)
	k := Key{1}
	for _, value := range []string{"old", "new"} {
		if err := s.Put(t.Context(), k, []byte(value), "t", "m"); err != nil {
			t.Fatal(err)
		}
		if got, _, ok, _ := s.Get(t.Context(), k); !ok || string(got) != value {
			t.Errorf("before it is written: got %q, %t, want %q", got, ok, value)
		}
		s.flush()
		if got, _, ok, _ := s.Get(t.Context(), k); !ok || string(got) != value {
			t.Errorf("on disk: got %q, %t, want %q", got, ok, value)
		}
	}
	// superseded by what cannot be stored, and replaced, while it is being written
	for _, value := range []string{string(make([]byte, 500<<10)), "newer"} {
		there := value == "newer"
		if err := s.Put(t.Context(), k, []byte("old"), "t", "m"); err != nil {
			t.Fatal(err)
		}
		batch := s.take()
		if err := s.Put(t.Context(), k, []byte(value), "t", "m"); (err == nil) != there {
			t.Fatal(err)
		}
		if err := s.second.store(batch); err != nil {
			t.Fatal(err)
		}
		s.written(batch)
		s.flush()
		if got, _, ok, _ := s.Get(t.Context(), k); ok != there || ok && string(got) != value {
			t.Errorf("got %q, %t", got, ok)
		}
	}
	if len(s.pending) != 0 || len(s.order) != 0 || s.bytes != 0 {
		t.Errorf("%d, %d, %d still wait", len(s.pending), len(s.order), s.bytes)
	}
}

func TestTiered_WritesWhatIsLeftWhenItStops(t *testing.T) {
	s := tiers(t, 0, 1<<20, nil)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for n := range 20 {
		k, value := numbered(n)
		if err := s.Put(t.Context(), k, value, "t", "m"); err != nil {
			t.Fatal(err)
		}
	}
	<-s.wake // it shall hear of the end alone
	s.Run(ctx)
	for n := range 20 {
		if !right(t, s.second, n) {
			t.Errorf("number %d is not on disk", n)
		}
	}
}

// Where the disk does not follow, memory alone has the new value, and nothing
// older comes up behind it.
func TestTiered_LeavesOutWhatTheDiskCannotFollow(t *testing.T) {
	s := tiers(t, 1<<30, 1<<30, nil)
	k := Key{1}
	if err := s.Put(t.Context(), k, []byte("old"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	s.flush()
	megabyte := make([]byte, 1<<20)
	for i := range 20 { // nobody writes
		if err := s.Put(t.Context(), Key{2, byte(i)}, megabyte, "t", "m"); err != nil {
			t.Fatal(err)
		}
		if s.bytes > maxPending {
			t.Fatalf("%d bytes wait", s.bytes)
		}
	}
	if got := testutil.ToFloat64(s.second.metrics.queueDrops); got != 5 {
		t.Errorf("%v left out, want 5", got)
	}
	if err := s.Put(t.Context(), k, megabyte, "t", "m"); err != nil {
		t.Fatal(err)
	}
	s.forgetMemory()
	if value, _, ok, _ := s.Get(t.Context(), k); ok {
		t.Errorf("an old value of %d bytes came up", len(value))
	}
	s.flush()
	if _, _, ok, _ := s.Get(t.Context(), Key{2, 14}); !ok {
		t.Error("what waited was not written")
	}
}

func TestTiered_KeepsWhatIsTooLargeForMemory(t *testing.T) {
	s := tiers(t, 8<<10, 1<<20, nil)
	value := make([]byte, 50<<10)
	if err := s.Put(t.Context(), Key{1}, value, "t", "m"); err != nil {
		t.Error(err)
	}
	s.flush()
	if got, _, ok, _ := s.Get(t.Context(), Key{1}); !ok || len(got) != len(value) {
		t.Errorf("%d bytes, %t", len(got), ok)
	}
	if err := s.Put(t.Context(), Key{1}, make([]byte, 500<<10), "t", "m"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, _, ok, _ := s.Get(t.Context(), Key{1}); ok {
		t.Error("an old value came up")
	}
	// a value that memory damaged before it was written must not be made sound
	if err := s.Put(t.Context(), Key{2}, []byte("sound"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	s.pending[Key{2}].value[0] ^= 1
	s.flush()
	if value, _, ok, _ := s.Get(t.Context(), Key{2}); ok {
		t.Errorf("got %q", value)
	}
}

// Whoever reads from the disk while it is being replaced does not bring the old
// value back.
func TestTiered_StaysWithWhatWasPutLast(t *testing.T) {
	s := tiers(t, 1<<20, 1<<20, nil)
	for n := range 300 {
		k := Key{byte(n), byte(n >> 8)}
		if err := s.Put(t.Context(), k, []byte("old"), "t", "m"); err != nil {
			t.Fatal(err)
		}
		s.flush()
		s.forgetMemory()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() { _, _, _, _ = s.Get(t.Context(), k) })
		}
		if err := s.Put(t.Context(), k, []byte("new"), "t", "m"); err != nil {
			t.Fatal(err)
		}
		s.forgetMemory() // it was crowded out at once
		readers.Wait()
		if value, _, ok, _ := s.Get(t.Context(), k); !ok || string(value) != "new" {
			t.Fatalf("round %d: got %q, %t", n, value, ok)
		}
	}
}

// Whoever reads from the disk while it is being deleted does not bring it back.
func TestTiered_StaysWithoutWhatWasDeleted(t *testing.T) {
	s := tiers(t, 1<<20, 1<<20, nil)
	for n := range 300 {
		k, value := numbered(n)
		if err := s.Put(t.Context(), k, value, "t", "m"); err != nil {
			t.Fatal(err)
		}
		s.flush()
		s.forgetMemory()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() { _, _, _, _ = s.Get(t.Context(), k) })
		}
		if _, err := s.Delete(t.Context(), "t", ""); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
		if _, _, ok, _ := s.Get(t.Context(), k); ok {
			t.Fatalf("round %d: it is there again", n)
		}
	}
}
