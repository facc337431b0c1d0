package usage_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ocrmux/usage"
)

var (
	alice = usage.Who{Tenant: "acme", Key: "alice", Model: "deepseek-ocr", Route: "/ocr"}
	bob   = usage.Who{Tenant: "acme", Key: "bob", Model: "deepseek-ocr", Route: "/v1/chat/completions"}
	carol = usage.Who{Tenant: "other", Key: "carol", Model: "deepseek-ocr", Route: "/ocr"}
	page  = usage.Counts{Requests: 1, Images: 1, Pixels: 2_500_000, PromptTokens: 910, ImageTokens: 900, GeneratedTokens: 1000, GPU: 1500 * time.Millisecond}
)

func journalPath(t testing.TB) string { return filepath.Join(t.TempDir(), "usage.jsonl") }

func open(t testing.TB, path string, deps usage.Deps) *usage.Ledger {
	t.Helper()
	l, err := usage.Open(usage.Config{Path: path}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run runs l until the test asks it to stop.
func run(t testing.TB, l *usage.Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// clock is set by the test.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) set(text string) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	c.at = at
}

func at(text string) *clock {
	c := new(clock)
	c.set(text)
	return c
}

func month(t testing.TB, l *usage.Ledger, tenant string, wantPages, wantTokens int64) {
	t.Helper()
	if pages, tokens := l.Month(tenant); pages != wantPages || tokens != wantTokens {
		t.Errorf("%s used %d pages and %d tokens, want %d and %d", tenant, pages, tokens, wantPages, wantTokens)
	}
}

func TestReport_TellsPeopleTodayAndTheMonth(t *testing.T) {
	c := at("2026-11-21T10:00:00Z")
	l := open(t, "", usage.Deps{Now: c.now})
	l.Record(alice, page)
	c.set("2026-11-22T23:59:59.9Z")
	l.Record(alice, page)
	l.Record(bob, usage.Counts{Requests: 2, CacheHits: 1, Refused: usage.Refusals{Requests: 1, Images: 2, Megapixels: 3, Tokens: 4, InProgress: 5, Quota: 6, Capacity: 7}})
	l.Record(carol, page)

	got, err := json.MarshalIndent(l.Report(usage.Filter{Tenant: "acme"}), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	none := `"refused":{"requests":0,"images":0,"megapixels":0,"tokens":0,"in_progress":0,"quota":0,"capacity":0}`
	all := `"refused":{"requests":1,"images":2,"megapixels":3,"tokens":4,"in_progress":5,"quota":6,"capacity":7}`
	one := `"requests":1,"images":1,"megapixels":2.5,"prompt_tokens":910,"image_tokens":900,"generated_tokens":1000,"gpu_seconds":1.5,"cache_hits":0,`
	two := `"requests":2,"images":2,"megapixels":5,"prompt_tokens":1820,"image_tokens":1800,"generated_tokens":2000,"gpu_seconds":3,"cache_hits":0,`
	ofAlice := `{"tenant":"acme","key":"alice","model":"deepseek-ocr","route":"/ocr",`
	ofBob := `{"tenant":"acme","key":"bob","model":"deepseek-ocr","route":"/v1/chat/completions","requests":2,"images":0,"megapixels":0,"prompt_tokens":0,"image_tokens":0,"generated_tokens":0,"gpu_seconds":0,"cache_hits":1,` + all + `}`
	want := `{"time":"2026-11-22T23:59:59.9Z",` +
		`"today":{"period":"2026-11-22","total":{"requests":3,"images":1,"megapixels":2.5,"prompt_tokens":910,"image_tokens":900,"generated_tokens":1000,"gpu_seconds":1.5,"cache_hits":1,` + all + `},` +
		`"rows":[` + ofAlice + one + none + `},` + ofBob + `]},` +
		`"month":{"period":"2026-11","total":{"requests":4,"images":2,"megapixels":5,"prompt_tokens":1820,"image_tokens":1800,"generated_tokens":2000,"gpu_seconds":3,"cache_hits":1,` + all + `},` +
		`"rows":[` + ofAlice + two + none + `},` + ofBob + `]}}`
	if got := compact(t, got); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	for _, f := range []struct {
		usage.Filter
		want int64
	}{
		{usage.Filter{}, 5},
		{usage.Filter{Tenant: "other"}, 1},
		{usage.Filter{Key: "alice"}, 2},
		{usage.Filter{Tenant: "acme", Key: "bob"}, 2},
		{usage.Filter{Tenant: "other", Key: "bob"}, 0},
		{usage.Filter{Tenant: "nobody"}, 0},
	} {
		report := l.Report(f.Filter)
		if report.Month.Total.Requests != f.want || report.Month.Rows == nil || report.Today.Rows == nil {
			t.Errorf("%+v: %+v, want %d requests", f.Filter, report.Month, f.want)
		}
	}
}

func compact(t *testing.T, text []byte) string {
	var value json.RawMessage = text
	out, err := json.Marshal(value) // compacts
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestMonth_BeginsAtZeroEveryMonth(t *testing.T) {
	c := at("2026-11-30T23:59:59Z")
	l := open(t, "", usage.Deps{Now: c.now})
	l.Record(alice, page)
	l.Record(bob, page)
	l.Record(carol, page)
	month(t, l, "acme", 2, 3820)
	month(t, l, "other", 1, 1910)
	month(t, l, "nobody", 0, 0)
	c.set("2026-12-01T00:00:00Z")
	month(t, l, "acme", 0, 0)
	l.Record(alice, page)
	month(t, l, "acme", 1, 1910)
}

func TestRun_WritesWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := journalPath(t)
		stop := run(t, open(t, path, usage.Deps{})) // creates the file
		stop()
		l := open(t, path, usage.Deps{})
		stop = run(t, l)
		for i := range 3 {
			l.Record(alice, page)
			time.Sleep(time.Second)
			synctest.Wait()
			if lines := strings.Count(read(t, path), "\n"); lines != i+1 {
				t.Errorf("after %d s the journal has %d lines", i+1, lines)
			}
		}
		before := read(t, path)
		time.Sleep(time.Minute)
		synctest.Wait()
		if read(t, path) != before {
			t.Error("written to with nothing to say")
		}
		l.Record(bob, page)
		stop() // writes a last time
		stop = run(t, open(t, path, usage.Deps{}))
		stop()
		month(t, open(t, path, usage.Deps{}), "acme", 4, 4*1910)
	})
}

func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestOpen_RemembersThisMonthAndKnowsWhatWasToday(t *testing.T) {
	path, c := journalPath(t), at("2026-11-21T12:00:00Z")
	again := func() *usage.Ledger {
		l := open(t, path, usage.Deps{Now: c.now})
		run(t, l)()
		// The journal is closed; what it said is still known.
		return l
	}
	l := open(t, path, usage.Deps{Now: c.now})
	stop := run(t, l)
	l.Record(alice, page)
	stop()

	l = open(t, path, usage.Deps{Now: c.now})
	stop = run(t, l)
	l.Record(alice, page)         // the 21st, not written when
	c.set("2026-11-22T00:00:01Z") // the 22nd begins
	l.Record(alice, page)         // and is counted
	before := l.Report(usage.Filter{})
	stop()
	for range 3 { // however often it is written anew
		after := again().Report(usage.Filter{})
		if today := after.Today.Total.Images; today != 1 {
			t.Errorf("today %d images, want 1", today)
		}
		if month := after.Month.Total.Images; month != 3 {
			t.Errorf("this month %d images, want 3", month)
		}
		if !equal(before, after) {
			t.Errorf("before %+v, after %+v", before, after)
		}
	}
	c.set("2026-11-23T00:00:00Z")
	if r := again().Report(usage.Filter{}); r.Today.Total.Images != 0 || r.Month.Total.Images != 3 {
		t.Errorf("a day later %+v", r)
	}
	c.set("2026-12-01T00:00:00Z")
	if r := again().Report(usage.Filter{}); r.Today.Total.Images != 0 || r.Month.Total.Images != 0 {
		t.Errorf("a month later %+v", r)
	}
	c.set("2026-11-30T23:59:59Z") // the clock was wrong
	month(t, again(), "acme", 3, 3*1910)
}

func equal(a, b usage.Report) bool {
	one, _ := json.Marshal(a)
	two, _ := json.Marshal(b)
	return string(one) == string(two)
}

func TestRun_WritesAnOldMonthsCountsUnderTheirMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := journalPath(t)
		time.Sleep(time.Until(time.Date(2000, 1, 31, 23, 59, 59, 5e8, time.UTC)))
		l := open(t, path, usage.Deps{})
		stop := run(t, l)
		l.Record(alice, page)
		time.Sleep(600 * time.Millisecond) // not written yet, and it is February
		month(t, l, "acme", 0, 0)
		l.Record(alice, page)
		l.Record(alice, page)
		time.Sleep(2 * time.Second)
		month(t, l, "acme", 2, 2*1910)
		stop()
		content := read(t, path)
		if !strings.Contains(content, `"period":"2000-01-31"`) || !strings.Contains(content, `"period":"2000-02-01"`) {
			t.Error(content)
		}
		january := func() time.Time { return time.Date(2000, 1, 31, 0, 0, 0, 0, time.UTC) }
		month(t, open(t, path, usage.Deps{Now: january}), "acme", 1, 1910)
	})
}

func TestOpen_KeepsThirteenMonthsThatAreOver(t *testing.T) {
	path, c := journalPath(t), at("2025-01-15T00:00:00Z")
	for range 20 {
		l := open(t, path, usage.Deps{Now: c.now})
		stop := run(t, l)
		l.Record(alice, page)
		stop()
		c.at = c.at.AddDate(0, 1, 0)
	}
	run(t, open(t, path, usage.Deps{Now: c.now}))() // 2026-09, without a record
	var periods []string
	for line := range strings.Lines(read(t, path)) {
		_, rest, _ := strings.Cut(line, `"period":"`)
		periods = append(periods, rest[:len("2026-11")])
	}
	if len(periods) != 13 {
		t.Errorf("kept %d months: %q", len(periods), periods)
	}
	for _, p := range periods {
		if p < "2025-08" {
			t.Errorf("kept %s", p)
		}
	}
}

// A process whose clock is far off for a while costs one old month, not all.
func TestOpen_KeepsTheMonthsOfARightClock(t *testing.T) {
	path, c := journalPath(t), at("2026-11-22T00:00:00Z")
	for _, now := range []string{"2026-11-22T00:00:00Z", "1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2026-11-22T00:00:10Z"} {
		c.set(now)
		l := open(t, path, usage.Deps{Now: c.now})
		stop := run(t, l)
		l.Record(alice, page)
		stop()
	}
	month(t, open(t, path, usage.Deps{Now: c.now}), "acme", 2, 2*1910)
}

func TestOpen_RefusesAJournalThatAnotherHas(t *testing.T) {
	path := journalPath(t)
	stop := run(t, open(t, path, usage.Deps{}))
	_, err := usage.Open(usage.Config{Path: path}, usage.Deps{})
	if !errors.Is(err, usage.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	stop()
	run(t, open(t, path, usage.Deps{}))()
}

func TestOpen_SaysWhereNoFileCanBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nowhere", "usage.jsonl")
	if _, err := usage.Open(usage.Config{Path: path}, usage.Deps{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOpen_MakesFilesForItsOwnerAlone(t *testing.T) {
	path := journalPath(t)
	for range 2 { // created, and written anew
		l := open(t, path, usage.Deps{})
		stop := run(t, l)
		l.Record(alice, page)
		stop()
		l = open(t, path, usage.Deps{})
		stop = run(t, l)
		l.Record(alice, page)
		stop()
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 2 { // the journal and its lock
			t.Fatalf("%v %v", entries, err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
			}
		}
	}
}

func TestOpen_FollowsALink(t *testing.T) {
	path := journalPath(t)
	link := filepath.Join(t.TempDir(), "link.jsonl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l := open(t, link, usage.Deps{})
		stop := run(t, l)
		l.Record(alice, page)
		stop()
	}
	month(t, open(t, path, usage.Deps{}), "acme", 3, 3*1910)
}

func TestRun_WritesAJournalAnewThatSomebodyTookAway(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := journalPath(t)
				l := open(t, path, usage.Deps{})
				stop := run(t, l)
				l.Record(alice, page)
				time.Sleep(2 * time.Second)
				if err := take(path); err != nil {
					t.Fatal(err)
				}
				l.Record(bob, page)
				time.Sleep(2 * time.Second)
				l.Record(alice, page)
				stop()
				month(t, open(t, path, usage.Deps{}), "acme", 3, 3*1910)
			})
		})
	}
}

func TestLedger_BoundsItsSeries(t *testing.T) {
	reg := prometheus.NewRegistry()
	l := open(t, "", usage.Deps{Registerer: reg})
	one := usage.Counts{Requests: 1, Images: 1}
	name := func(i int) string { return string(rune('a'+i%26)) + string(rune('0'+i/26%10000)) }
	for i := range 80_000 {
		l.Record(usage.Who{Tenant: "acme", Key: name(i), Model: name(i / 7), Route: name(i)}, one)
	}
	value := func(metric string) float64 { return metricValue(t, reg, metric) }
	if series := value("ocrmux_usage_series"); series != 80_000 || value("ocrmux_usage_records_coarse_total") != 0 {
		t.Fatalf("%v series", series)
	}
	for i := range 120_000 {
		l.Record(usage.Who{Tenant: name(i / 100), Key: name(i) + "new", Model: "m", Route: "r"}, one)
	}
	if series := value("ocrmux_usage_series"); series > 100_001 {
		t.Errorf("%v series", series)
	}
	if coarse := value("ocrmux_usage_records_coarse_total"); coarse != 120_000 {
		t.Errorf("%v records counted coarsely, want 120000", coarse)
	}
	if total := l.Report(usage.Filter{}).Month.Total; total.Requests != 200_000 || total.Images != 200_000 {
		t.Errorf("counted %+v, want 200000", total)
	}
	if pages, _ := l.Month("acme"); pages != 80_000 {
		t.Errorf("%d pages of acme, want 80000", pages)
	}
	first := usage.Who{Tenant: "acme", Key: name(0), Model: name(0), Route: name(0)}
	l.Record(first, one) // known: as fine as before
	if coarse := value("ocrmux_usage_records_coarse_total"); coarse != 120_000 {
		t.Errorf("%v records counted coarsely, want 120000", coarse)
	}
}

func TestLedger_KeepsNoMemoryOfItsCallers(t *testing.T) {
	l := open(t, "", usage.Deps{})
	buffer := []byte("acme")
	l.Record(usage.Who{Tenant: unsafe.String(&buffer[0], len(buffer))}, page)
	copy(buffer, "evil")
	month(t, l, "acme", 1, 1910)
	month(t, l, "evil", 0, 0)
}

func TestLedger_CutsNamesThatAreTooLong(t *testing.T) {
	path := journalPath(t)
	l := open(t, path, usage.Deps{})
	stop := run(t, l)
	long := strings.Repeat("長", 1000)
	l.Record(usage.Who{Tenant: "acme", Model: long}, page)
	l.Record(usage.Who{Tenant: "acme", Model: long}, page)
	stop()
	after := open(t, path, usage.Deps{}).Report(usage.Filter{})
	if len(after.Month.Rows) != 1 || after.Month.Rows[0].Images != 2 || after.Month.Rows[0].Model != strings.Repeat("長", 85) {
		t.Errorf("got %+v", after.Month.Rows)
	}
}

func TestLedger_CountsExactlyUnderConcurrency(t *testing.T) {
	path := journalPath(t)
	l := open(t, path, usage.Deps{})
	stop := run(t, l)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for n := range 1000 {
				who := []usage.Who{alice, bob, carol}[(i+n)%3]
				l.Record(who, usage.Counts{Requests: 1, Images: 1})
				if n%100 == 0 {
					l.Report(usage.Filter{Tenant: who.Tenant})
					l.Month(who.Tenant)
				}
			}
		})
	}
	callers.Wait()
	stop()
	for _, l := range []*usage.Ledger{l, open(t, path, usage.Deps{})} {
		if total := l.Report(usage.Filter{}).Month.Total.Requests; total != 16_000 {
			t.Errorf("%d requests, want 16000", total)
		}
	}
}

func TestLedger_MetricsAreWellNamed(t *testing.T) {
	reg := prometheus.NewRegistry()
	open(t, journalPath(t), usage.Deps{Registerer: reg, Log: slog.New(slog.DiscardHandler)})
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func metricValue(t testing.TB, reg prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
