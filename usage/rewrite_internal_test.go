package usage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRun_WritesAJournalAnewThatHasGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "usage.jsonl")
		l, err := Open(Config{Path: path}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		record := func(times int) {
			for range times {
				for i := range 10 {
					l.Record(Who{Tenant: "acme", Key: fmt.Sprint(i)}, Counts{Images: 1})
				}
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		lines := func() int {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Count(content, []byte("\n"))
		}
		record(20)
		if got := lines(); got != 200 {
			t.Errorf("%d lines, want 200", got)
		}
		l.bound = l.journal.size // as if this were 64 MiB
		record(1)
		if got := lines(); got != 10 {
			t.Errorf("%d lines after it was written anew, want 10", got)
		}
		record(1)
		if got := lines(); got != 20 || l.bound != rewriteBytes {
			t.Errorf("%d lines and a bound of %d", got, l.bound)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if l, err = Open(Config{Path: path}, Deps{}); err != nil {
			t.Fatal(err)
		}
		if pages, _ := l.Month("acme"); pages != 220 {
			t.Errorf("%d pages, want 220", pages)
		}
	})
}

func TestOpen_WorksOnAFullDiskAndADamagedJournal(t *testing.T) {
	s := newSchedule(t, 4)
	for range 10 {
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
	content[bytes.IndexByte(content, '\n')-2] ^= 1 // the first line
	if err := os.WriteFile(s.path, append(content, "{\"crc"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s.disk.full.Store(true)
	s.restart()
	known := sumOf(s.known())
	if known >= whole || known < whole-9 {
		t.Errorf("%d images of %d", known, whole)
	}
	s.record()
	if s.write() {
		t.Error("written on a full disk")
	}
	s.disk.full.Store(false)
	if !s.write() {
		t.Error("not written")
	}
	known = sumOf(s.known())
	if err := s.ledger.journal.close(); err != nil {
		t.Fatal(err)
	}
	s.restart()
	if got := sumOf(s.known()); got != known {
		t.Errorf("%d images, want %d", got, known)
	}
	if err := s.ledger.journal.close(); err != nil {
		t.Fatal(err)
	}
}

func TestMerge_TellsLessOfAllWhereThereIsTooMuch(t *testing.T) {
	var records []record
	for i := range 24 {
		who := Who{Tenant: fmt.Sprint(i % 2), Key: fmt.Sprint(i % 6), Model: fmt.Sprint(i % 12), Route: fmt.Sprint(i)}
		records = append(records, record{period: 202610, who: who, counts: Counts{Images: 1}})
	}
	for limit, want := range map[int]int{24: 24, 23: 6, 6: 6, 5: 2, 2: 2, 1: 1, 0: 1} {
		merged := merge(202610, records, limit)
		images := int64(0)
		for _, r := range merged {
			images += r.counts.Images
		}
		if len(merged) != want || images != 24 {
			t.Errorf("limit %d: %d records with %d images, want %d with 24", limit, len(merged), images, want)
		}
	}
}

// How long Record takes at worst while 80,000 series are written anew.
func BenchmarkRecordWhileRewriting(b *testing.B) {
	l, err := Open(Config{Path: filepath.Join(b.TempDir(), "usage.jsonl")}, Deps{})
	if err != nil {
		b.Fatal(err)
	}
	names := make([]Who, seriesLimits[0])
	for i := range names {
		names[i] = Who{Tenant: fmt.Sprint("tenant", i/10), Key: fmt.Sprint("key", i), Model: "deepseek-ocr", Route: "/ocr"}
		l.Record(names[i], Counts{Images: 1})
	}
	if err := l.write(true); err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, 0, 1<<24)
	var rewrites time.Duration
	times := 0
	for b.Loop() {
		times++
		start := time.Now()
		stop, ended := make(chan bool), make(chan bool)
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
					if len(took) == cap(took) {
						continue
					}
					start := time.Now()
					l.Record(names[rand.IntN(100)], Counts{Images: 1})
					took = append(took, time.Since(start))
				}
			}
		}()
		l.adopt(<-l.rewrite())
		close(stop)
		<-ended
		rewrites += time.Since(start)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*999/1000]), "p99.9-ns")
	b.ReportMetric(float64(took[len(took)-1]), "max-ns")
	b.ReportMetric(rewrites.Seconds()/float64(times), "s/rewrite")
	b.ReportMetric(float64(l.journal.size)/1e6, "MB")
	if err := l.journal.close(); err != nil {
		b.Fatal(err)
	}
}
