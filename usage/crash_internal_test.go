package usage

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A schedule records, writes, crashes and opens again at random, in days and
// months that go by, and compares what a ledger knows with what was told to it.
type schedule struct {
	t      *testing.T
	random *rand.Rand
	disk   *disk
	path   string
	now    time.Time
	ledger *Ledger

	recorded map[record]int64 // images, by month and Who
	durable  map[record]int64 // of these, what a write that succeeded had before it
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	random := rand.New(rand.NewPCG(seed, 0))
	s := &schedule{
		t: t, random: random, disk: &disk{random: random},
		path:     filepath.Join(t.TempDir(), "usage.jsonl"),
		now:      time.Date(2026, 10, 30, 12, 0, 0, 0, time.UTC),
		recorded: make(map[record]int64), durable: make(map[record]int64),
	}
	s.open()
	return s
}

func (s *schedule) open() {
	s.t.Helper()
	faults := s.disk.faults
	s.disk.faults = false // a disk that cannot be read is another test's
	var err error
	s.ledger, err = open(Config{Path: s.path}, Deps{Now: func() time.Time { return s.now }}, s.disk.open)
	if err != nil {
		s.t.Fatal(err)
	}
	s.disk.faults = faults
}

// restart opens what another process is to have left.
func (s *schedule) restart() {
	s.t.Helper()
	s.open()
	s.recorded = s.known()
}

func (s *schedule) record() {
	n := s.random.IntN(12)
	who := Who{Tenant: fmt.Sprint("t", n%3), Key: fmt.Sprint("k", n), Model: "m", Route: "/ocr"}
	images := int64(1 + s.random.IntN(9))
	s.ledger.Record(who, Counts{Requests: 1, Images: images, PromptTokens: 7 * images, GPU: time.Duration(images)})
	s.recorded[s.key(who)] += images
}

// key is a month and a Who.
func (s *schedule) key(who Who) record {
	day, _ := dayOf(s.now)
	return record{period: day.month(), who: who}
}

// write is one turn of Run, and says whether it succeeded.
func (s *schedule) write() bool {
	err := s.ledger.write(true)
	s.ledger.tell(err)
	s.ledger.closeMonths()
	if err != nil {
		return false
	}
	if known := s.known(); !maps.Equal(known, s.recorded) {
		s.t.Fatalf("all is written, and %v are known instead of %v", known, s.recorded)
	}
	s.durable = maps.Clone(s.recorded)
	return true
}

func (s *schedule) rewrite() {
	if s.ledger.failing || len(s.ledger.batch) > 0 {
		return
	}
	done := <-s.ledger.rewrite() // at once: the random numbers are for one goroutine
	if s.random.IntN(2) == 0 {
		s.record()
		s.write()
	}
	s.ledger.adopt(done)
}

// known is what the ledger would write down: images by month and Who.
func (s *schedule) known() map[record]int64 {
	known := make(map[record]int64)
	for _, r := range s.ledger.written() {
		if r.counts.PromptTokens != 7*r.counts.Images || r.counts.GPU != time.Duration(r.counts.Images) {
			s.t.Fatalf("counts that do not belong together: %+v", r)
		}
		known[record{period: r.period.month(), who: r.who}] += r.counts.Images
	}
	return known
}

// crash opens again what a crash left, and goes on from what is known then.
func (s *schedule) crash() {
	s.t.Helper()
	s.disk.fail(s.t, s.ledger)
	s.open()
	known := s.known()
	for k, images := range known {
		if images > s.recorded[k] {
			s.t.Fatalf("%v %v: %d images, only %d were recorded", k.period, k.who, images, s.recorded[k])
		}
	}
	for k, images := range s.durable {
		if known[k] < images {
			s.t.Fatalf("%v %v: %d images, %d were written", k.period, k.who, known[k], images)
		}
	}
	s.recorded, s.durable = known, maps.Clone(known)
}

func schedules(t *testing.T) int {
	if testing.Short() {
		return 30
	}
	return 60
}

// Power fails at any moment, with every mixture of what was synced and what was
// not; writes stop halfway and syncs fail before it.
func TestCrashes_LoseOnlyWhatWasNotWrittenAndCountNothingTwice(t *testing.T) {
	var crashes, failures int
	for seed := range schedules(t) {
		s := newSchedule(t, uint64(seed))
		for range 120 {
			switch s.random.IntN(20) {
			case 0:
				s.crash()
				crashes++
			case 1, 2, 3, 4, 5:
				if !s.write() {
					failures++
				}
			case 6:
				s.rewrite()
			case 7:
				s.disk.faults = !s.disk.faults
			case 8:
				s.now = s.now.Add(time.Duration(s.random.IntN(30*24)) * time.Hour)
			case 9:
				s.now = s.now.Add(-time.Duration(s.random.IntN(72)) * time.Hour) // a clock set back
			default:
				s.record()
			}
		}
		s.disk.faults = false
		for range 2 { // what failed last, and what came after
			if !s.write() {
				t.Fatalf("seed %d: a disk in order cannot be written", seed)
			}
		}
		s.crash()
		if err := s.ledger.journal.close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d crashes, %d writes that failed", crashes, failures)
}

// The last write is cut at every byte, as kill -9 in the middle of it may.
func TestCrashes_AtEveryByteOfAWriteLeaveWholeRecords(t *testing.T) {
	s := newSchedule(t, 1)
	for range 20 {
		s.record()
	}
	s.write()
	before := s.known()
	start := s.ledger.journal.size
	for range 4 {
		s.record()
	}
	s.write()
	if err := s.ledger.journal.close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	for size := int(start); size <= len(content); size++ {
		if err := os.WriteFile(s.path, content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		want := sumOf(before)
		for line := range strings.Lines(string(content[start:size])) {
			if l, ok := parseLine([]byte(strings.TrimSuffix(line, "\n"))); ok && strings.HasSuffix(line, "\n") {
				want += l.Images
			}
		}
		s.restart()
		if got := sumOf(s.known()); got != want {
			t.Fatalf("cut at byte %d of %d: %d images, want %d", size, len(content), got, want)
		}
		s.record() // and the journal can be written to
		if !s.write() {
			t.Fatalf("cut at byte %d: cannot be written", size)
		}
		if err := s.ledger.journal.close(); err != nil {
			t.Fatal(err)
		}
		s.restart()
		if got := sumOf(s.known()); got <= want {
			t.Fatalf("cut at byte %d: what came later is lost", size)
		}
		if err := s.ledger.journal.close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d offsets", len(content)-int(start)+1)
}

func sumOf(known map[record]int64) (images int64) {
	for _, n := range known {
		images += n
	}
	return images
}

// Flipped bits cost the lines they are in, and no other.
func TestDamage_CostsTheDamagedLinesAlone(t *testing.T) {
	const lines = 60
	random := rand.New(rand.NewPCG(1, 1))
	pen := newPen()
	var text []byte
	var ends []int
	for i := range lines {
		r := record{period: 20261122, who: Who{Tenant: "acme", Key: fmt.Sprint(i)}, counts: Counts{Images: 1}}
		text = pen.append(text, &r)
		ends = append(ends, len(text))
	}
	for round := range 1500 {
		damaged := append([]byte(nil), text...)
		lost := make(map[int]bool)
		for range 1 + random.IntN(5) {
			bit := random.IntN(len(text) * 8)
			damaged[bit/8] ^= 1 << (bit % 8)
			for i, end := range ends {
				if bit/8 < end {
					lost[i] = true
					break
				}
			}
		}
		keys := make(map[string]int)
		found, err := replay(strings.NewReader(string(damaged)), func(r record) { keys[r.who.Key]++ })
		if err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			switch n := keys[fmt.Sprint(i)]; {
			case n > 1:
				t.Fatalf("round %d: line %d counts %d times", round, i, n)
			case n == 0 && !lost[i]:
				t.Fatalf("round %d: line %d is lost, damaged were %v", round, i, lost)
			}
		}
		if found.lines < lines && found.clean() {
			t.Fatalf("round %d: %d lines and nothing found: %+v", round, found.lines, found)
		}
	}
}

func TestDamage_IsLoggedCountedAndGoneAfterwards(t *testing.T) {
	s := newSchedule(t, 2)
	for range 30 {
		s.record()
		s.write()
	}
	whole := sumOf(s.known())
	if err := s.ledger.journal.close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	content = append(content, content...)                    // all of it once more
	content = append(content, make([]byte, 3*readBuffer)...) // a hole
	content = append(content, `{"crc":"00`...)
	if err := os.WriteFile(s.path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	deps := Deps{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return s.now }}
	s.ledger, err = open(Config{Path: s.path}, deps, openFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := sumOf(s.known()); got >= whole || got < whole-9 {
		t.Errorf("%d images of %d: one line of at most 9 is to be lost", got, whole)
	}
	for _, want := range []string{"damaged=5 repeated=29", "cut off"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("not in the log: %s\n%s", want, log.String())
		}
	}
	if err := s.ledger.journal.close(); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	s.ledger, err = open(Config{Path: s.path}, deps, openFile)
	if err != nil || log.String() != "" {
		t.Errorf("afterwards: %v %s", err, log.String())
	}
	_ = s.ledger.journal.close()
}

// A journal may hold anything at all.
func FuzzReplay(f *testing.F) {
	pen := newPen()
	f.Add(pen.lines([]record{{period: 202611, who: Who{Tenant: "a\n\"{", Model: "\x00長"}, counts: Counts{Images: 1}}, {period: 20261122}}))
	f.Add([]byte("{\"crc\":\"\n{\"crc\":\"00000000\",\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		found, err := replay(strings.NewReader(string(content)), func(record) {})
		if err != nil || found.size != int64(len(content)) || found.good > found.size {
			t.Errorf("%+v %v", found, err)
		}
	})
}
