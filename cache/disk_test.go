package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Corrupt flips a bit of a stored value, for the contract suite.
func (d *Disk) Corrupt(k Key, bit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.places[short(k)]
	s := d.segment(p.segment)
	record := make([]byte, p.length)
	if _, err := s.file.ReadAt(record, int64(p.offset)); err != nil {
		panic(err)
	}
	h, value, _ := parseRecord(record, s.seal, int64(p.offset))
	value[bit/8%len(value)] ^= 1 << (bit % 8)
	if _, err := s.file.WriteAt(value, int64(p.offset)+int64(h.valueAt())); err != nil {
		panic(err)
	}
}

// Size returns the bytes of all files, for the contract suite.
func (d *Disk) Size() int64 { bytes, _ := d.size(); return bytes }

func open(t *testing.T, cfg DiskConfig) *Disk {
	t.Helper()
	d, err := OpenDisk(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// numbered is a key like a digest, and its value, which nobody can mistake for
// that of another number.
func numbered(n int) (k Key, value []byte) {
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), 99})
	_, _ = random.Read(k[:]) // never fails
	value = make([]byte, random.Uint64()%4000)
	_, _ = random.Read(value)
	return k, value
}

func store(t *testing.T, d *Disk, n int, tenant string) {
	t.Helper()
	k, value := numbered(n)
	if err := d.Put(t.Context(), k, value, tenant, "m"); err != nil {
		t.Fatal(err)
	}
}

// right reports whether d has the value of number n; another one is a failure.
func right(t *testing.T, d *Disk, n int) bool {
	t.Helper()
	k, want := numbered(n)
	got, _, ok, err := d.Get(t.Context(), k)
	if err != nil || ok && !bytes.Equal(got, want) {
		t.Fatalf("number %d: a wrong value of %d bytes, error %v", n, len(got), err)
	}
	return ok
}

// onDisk is what the files in dir take.
func onDisk(t *testing.T, dir string) (total int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

func TestDisk_SurvivesItsProcess(t *testing.T) {
	now := time.Unix(1e9, 0)
	cfg := DiskConfig{Dir: filepath.Join(t.TempDir(), "made", "here"), MaxBytes: 1 << 20, TTL: time.Hour, Now: func() time.Time { return now }}
	d := open(t, cfg)
	for n := range 30 {
		store(t, d, n, []string{"a", "b"}[n%2])
	}
	k, _ := numbered(2)
	if err := d.Put(t.Context(), k, []byte("replaced"), "a", "m"); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Delete(t.Context(), "b", ""); n != 15 || err != nil {
		t.Fatalf("%d deleted, %v", n, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	now = now.Add(time.Minute)
	d = open(t, cfg)
	for n := range 30 {
		if n != 2 && right(t, d, n) != (n%2 == 0) {
			t.Errorf("number %d: there %t", n, n%2 != 0)
		}
	}
	if value, age, ok, _ := d.Get(t.Context(), k); !ok || string(value) != "replaced" || age != time.Minute {
		t.Errorf("got %q, %s, %t", value, age, ok)
	}
	if size, entries := d.size(); size != onDisk(t, cfg.Dir) || entries != 15 {
		t.Errorf("%d bytes in %d entries counted, %d on disk", size, entries, onDisk(t, cfg.Dir))
	}
	d.Close()
	now = now.Add(time.Hour)
	if _, entries := open(t, cfg).size(); entries != 0 {
		t.Errorf("%d entries are too old", entries)
	}
}

// A deleted tenant's answers are not just forgotten: they are gone.
func TestDisk_ErasesWhatIsDeletedOrReplaced(t *testing.T) {
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20}
	d := open(t, cfg)
	for n, secret := range []string{"deleted secret", "replaced secret", "kept secret"} {
		if err := d.Put(t.Context(), Key{byte(n)}, []byte(secret), secret, "m"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Put(t.Context(), Key{1}, []byte("other"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Delete(t.Context(), "deleted secret", "m"); n != 1 || err != nil {
		t.Fatalf("%d deleted, %v", n, err)
	}
	var all []byte
	for _, s := range d.segments {
		content, err := os.ReadFile(s.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	for secret, want := range map[string]bool{"deleted secret": false, "replaced secret": false, "kept secret": true, "other": true} {
		if bytes.Contains(all, []byte(secret)) != want {
			t.Errorf("%q is in the files: %t", secret, !want)
		}
	}
}

func TestDisk_TakesNoMoreThanItsBudget(t *testing.T) {
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 100 << 10}
	d := open(t, cfg)
	check := func(budget int64) {
		t.Helper()
		if got := onDisk(t, cfg.Dir); got > budget || got != d.Size() {
			t.Fatalf("%d bytes on disk, %d counted, budget %d", got, d.Size(), budget)
		}
	}
	for n := range 400 {
		store(t, d, n, "t")
		check(cfg.MaxBytes)
		if !right(t, d, n) {
			t.Fatalf("number %d is gone at once", n)
		}
	}
	if right(t, d, 0) || !right(t, d, 385) {
		t.Error("not the oldest made room")
	}
	if err := d.Resize(40<<10, 0); err != nil {
		t.Fatal(err)
	}
	check(40 << 10)
	if !right(t, d, 399) {
		t.Error("the newest made room")
	}
	if n, err := d.Delete(t.Context(), "", ""); err != nil || n == 0 {
		t.Fatal(n, err)
	}
	check(0)
	store(t, d, 1, "t")
	if !right(t, d, 1) {
		t.Error("nothing is stored any more")
	}
}

func TestDisk_IsForItsOwnerAndOneProcess(t *testing.T) {
	cfg := DiskConfig{Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 1 << 20}
	d := open(t, cfg)
	store(t, d, 1, "t")
	for name, want := range map[string]os.FileMode{".": os.ModeDir | 0o700, "lock": 0o600, segmentName(0): 0o600} {
		if info, err := os.Stat(filepath.Join(cfg.Dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if _, err := OpenDisk(cfg, nil); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), cfg.Dir) {
		t.Errorf("a second one: %v", err)
	}
	d.Close()
	if right(t, d, 1) {
		t.Error("a closed store answers")
	}
	k, value := numbered(2)
	if err := d.Put(t.Context(), k, value, "t", "m"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed store takes: %v", err)
	}
	if !right(t, open(t, cfg), 1) {
		t.Error("what was stored is gone")
	}
}

func TestDisk_SetsAsideWhatItCannotUse(t *testing.T) {
	var log strings.Builder
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(&log, nil))}
	d := open(t, cfg)
	store(t, d, 1, "t")
	d.Close()
	other := append([]byte("ocrmux\x009"), make([]byte, 5000)...)
	for name, content := range map[string][]byte{segmentName(7): other, segmentName(8): nil, segmentName(9): []byte("short"), "notes.results": other} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d = open(t, cfg)
	store(t, d, 2, "t")
	if !right(t, d, 1) || !right(t, d, 2) {
		t.Error("the sound file was lost too")
	}
	var names []string
	files, _ := os.ReadDir(cfg.Dir)
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got, want := strings.Join(names, " "), "00000000.results aside lock notes.results"; got != want {
		t.Errorf("got files %s, want %s", got, want)
	}
	if got := strings.Count(log.String(), "set aside"); got != 3 {
		t.Errorf("%d lines of log:\n%s", got, log.String())
	}
	if _, err := d.Delete(t.Context(), "nobody", ""); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "aside")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what lies aside outlives a deletion: %v", err)
	}
}

func TestDisk_IsLeftAloneAfterAnError(t *testing.T) {
	now := time.Unix(1e9, 0)
	var log strings.Builder
	reg := prometheus.NewRegistry()
	d, err := OpenDisk(DiskConfig{
		Dir: t.TempDir(), MaxBytes: 1 << 20, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	up := func() string {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "ocrmux_cache_disk_up" {
				return fmt.Sprint(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
		return "nothing"
	}
	store(t, d, 1, "t")
	store(t, d, 2, "t")
	store(t, d, 3, "t")
	s := d.segments[0]
	writable := s.file
	readOnly, err := os.Open(writable.Name()) // every write to it fails
	if err != nil {
		t.Fatal(err)
	}
	s.file = readOnly
	for i, n := range []int{1, 2, 4} {
		k, value := numbered(n)
		if err := d.Put(t.Context(), k, value, "t", "m"); err == nil || errors.Is(err, errPaused) != (i > 0) {
			t.Errorf("number %d: %v", n, err)
		}
	}
	if right(t, d, 1) || right(t, d, 2) || right(t, d, 4) || !right(t, d, 3) {
		t.Error("a result that could not be replaced, or stored, is there; or one that was is not")
	}
	if up() != "0" || testutil.ToFloat64(d.metrics.errors) != 1 || testutil.ToFloat64(d.metrics.pausedDrops) != 2 {
		t.Errorf("up %s, errors %v, drops %v", up(), testutil.ToFloat64(d.metrics.errors), testutil.ToFloat64(d.metrics.pausedDrops))
	}
	if got := strings.Count(log.String(), "\n"); got != 1 {
		t.Errorf("%d lines of log:\n%s", got, log.String())
	}
	s.file = writable
	readOnly.Close()
	now = now.Add(pause)
	store(t, d, 5, "t")
	if !right(t, d, 5) || up() != "1" {
		t.Errorf("still left alone, up %s", up())
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestDisk_KeepsASecret(t *testing.T) {
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20}
	secret := func() [16]byte {
		t.Helper()
		d := open(t, cfg)
		defer d.Close()
		s, err := d.Secret()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := secret()
	if secret() != first || first == ([16]byte{}) {
		t.Error("it changes, or is none")
	}
	name := filepath.Join(cfg.Dir, "secret")
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := secret(); again == first || again != secret() {
		t.Error("a damaged one is used, or none is kept in its place")
	}
}

// What a document says is never taken for a record, wherever it comes to stand,
// nor is a record that stands in another place or another file.
func TestDisk_TakesNothingElseForARecord(t *testing.T) {
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20}
	d := open(t, cfg)
	store(t, d, 0, "t")
	s := d.segments[0]
	// A value that holds a record of number 1, and begins so that its head
	// stands at a block. Its seal is a guess.
	k, value := numbered(1)
	h := &head{key: k, label: label{"t", "m"}, stored: d.now(), valueLen: len(value)}
	forged := append(make([]byte, block-headSize-2), appendRecord(nil, seal{}, s.size+block, h, value)...)
	if err := d.Put(t.Context(), Key{9}, forged, "t", "m"); err != nil {
		t.Fatal(err)
	}
	p := d.places[short(Key{9})]
	if err := s.erase(int64(p.offset), block); err != nil { // the record around it is gone
		t.Fatal(err)
	}
	// A record of number 2 that was put there once, and one of another file.
	at := s.size
	store(t, d, 2, "t")
	copied := make([]byte, s.size-at)
	if _, err := s.file.ReadAt(copied, at); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Delete(t.Context(), "t", ""); n != 2 || err != nil { // nobody can tell whose the damaged one was
		t.Fatal(n, err)
	}
	other := open(t, DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20})
	store(t, other, 3, "t")
	foreign, err := os.ReadFile(other.segments[0].file.Name())
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	content, err := os.ReadFile(s.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	lay := append(slices.Clone(content[:block]), foreign[block:]...) // where it stood in its own file
	lay = append(lay, appendRecord(nil, seal{}, int64(len(lay)), h, value)...)
	for lay = append(lay, make([]byte, block)...); int64(len(lay)) == at; { // not where it stood
		lay = append(lay, make([]byte, block)...)
	}
	lay = append(lay, copied...)
	if err := os.WriteFile(s.file.Name(), lay, 0o600); err != nil {
		t.Fatal(err)
	}
	d = open(t, cfg)
	if _, entries := d.size(); entries != 0 {
		t.Errorf("%d records were found", entries)
	}
}

// Keys that share what the index knows of them take each other's place, and
// never each other's value.
func TestDisk_TellsNeighboursApart(t *testing.T) {
	d := open(t, DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20})
	a, b := Key{1}, Key{1, 31: 1}
	if err := d.Put(t.Context(), a, []byte("a"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	if value, _, ok, _ := d.Get(t.Context(), b); ok {
		t.Errorf("got %q", value)
	}
	if value, _, ok, _ := d.Get(t.Context(), a); !ok || string(value) != "a" {
		t.Errorf("got %q, %t", value, ok)
	}
	if err := d.Put(t.Context(), b, []byte("b"), "t", "m"); err != nil {
		t.Fatal(err)
	}
	if _, _, ok, _ := d.Get(t.Context(), a); ok {
		t.Error("both are there")
	}
}

// What DiskConfig.MaxBytes says of the memory that the index takes.
func TestDisk_IndexTakesLittleMemory(t *testing.T) {
	most := 0.0
	places := make(map[uint64]place)
	before := heap()
	for i := range 1_000_000 {
		places[uint64(i)*0x9e3779b97f4a7c15] = place{offset: uint32(i)}
		if i%50_000 == 49_999 && i > 200_000 {
			most = max(most, float64(heap()-before)/float64(i))
		}
	}
	runtime.KeepAlive(places)
	t.Logf("%.0f bytes for each result", most)
	if most > 60 {
		t.Errorf("the index takes %.0f bytes for each result", most)
	}
}

func BenchmarkDisk(b *testing.B) {
	d, err := OpenDisk(DiskConfig{Dir: b.TempDir(), MaxBytes: 1 << 30}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	value := make([]byte, 3000)
	key := func(n int) (k Key) {
		binary.LittleEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
		return k
	}
	const stored = 50_000
	for n := 0; n < stored; n += 1000 {
		var batch []result
		for i := range 1000 {
			batch = append(batch, result{key(n + i), newEntry(key(n+i), value, label{"t", "m"}, time.Now())})
		}
		if err := d.store(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("Get", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if _, _, ok, _ := d.Get(context.Background(), key(n*7919%stored)); !ok {
				b.Fatal("miss")
			}
		}
	})
	b.Run("Put", func(b *testing.B) {
		for n := 0; b.Loop(); n++ {
			if err := d.Put(context.Background(), key(stored+n), value, "t", "m"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Load", func(b *testing.B) { // of all that Put left
		for b.Loop() {
			d.Close()
			if d, err = OpenDisk(DiskConfig{Dir: d.dir, MaxBytes: 1 << 30}, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(d.Size())/(1<<20), "MiB")
		b.ReportMetric(float64(len(d.places)), "results")
	})
}
