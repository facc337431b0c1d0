package usage_test

import (
	"fmt"
	"os"
	"testing"

	"ocrmux/usage"
)

// The price of a request that is counted, among 10,000 series.
func BenchmarkRecord(b *testing.B) {
	l, names := manySeries(b, "")
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Record(names[i%8], page)
		}
	})
	b.Run("10000 in turn", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Record(names[i%len(names)], page)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				l.Record(names[i%8], page)
			}
		})
	})
}

func manySeries(t testing.TB, path string) (*usage.Ledger, []usage.Who) {
	l := open(t, path, usage.Deps{})
	var names []usage.Who
	for i := range 10_000 {
		names = append(names, usage.Who{
			Tenant: fmt.Sprintf("tenant-%d", i/10), Key: fmt.Sprintf("key%05d", i), Model: "deepseek-ocr", Route: "/v1/chat/completions",
		})
		l.Record(names[i], page)
	}
	return l, names
}

func BenchmarkMonth(b *testing.B) {
	l, names := manySeries(b, "")
	b.ReportAllocs()
	for b.Loop() {
		l.Month(names[0].Tenant)
	}
}

func BenchmarkReportOfAll(b *testing.B) {
	l, _ := manySeries(b, "")
	for b.Loop() {
		l.Report(usage.Filter{})
	}
}

// Reading back a million lines, which is what a start may take at most: 10,000
// series, a hundred lines each.
func BenchmarkOpenAMillionLines(b *testing.B) {
	path := journalPath(b)
	l, names := manySeries(b, path)
	stop := run(b, l)
	stop()
	source := read(b, path)
	for range 99 { // more writings of the same series
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
		l := open(b, path, usage.Deps{})
		stop := run(b, l)
		for _, who := range names {
			l.Record(who, page)
		}
		stop()
		source += read(b, path)
	}
	b.SetBytes(int64(len(source)))
	for b.Loop() {
		b.StopTimer()
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		l := open(b, path, usage.Deps{})
		b.StopTimer()
		if pages, _ := l.Month(names[0].Tenant); pages != 10*100 {
			b.Fatal(pages)
		}
		run(b, l)()
		b.StartTimer()
	}
}

func TestRecord_AllocatesNothingForWhoIsKnown(t *testing.T) {
	l := open(t, "", usage.Deps{})
	l.Record(alice, page)
	if got := testing.AllocsPerRun(1000, func() { l.Record(alice, page) }); got != 0 {
		t.Errorf("%v allocations a record", got)
	}
}
