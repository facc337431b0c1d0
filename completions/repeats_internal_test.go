package completions

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocrmux/compat"
)

// usual is what config.yaml has by default.
const usual = 20

// found is how many bytes of text it took to see that it repeats itself, given
// in pieces of up to 9 bytes; -1 where it was not seen.
func found(limit int, text string) int {
	r := repeats{limit: limit}
	for at := 0; at < len(text); {
		n := min(1+at%9, len(text)-at)
		if r.add([]byte(text[at : at+n])) {
			return at + n
		}
		at += n
	}
	return -1
}

// page is a text without an end that says nothing twice.
func pageText(rng *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s %d, ", []string{"收據", "total", "the", "金額", "of", "No."}[rng.IntN(6)], rng.Uint32())
	}
	return b.String()
}

func TestRepeats_FindsEveryPeriodSoonAfterTheLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, period := range []int{1, 2, 3, 5, 9, 31, 32, 33, 64, 100, 250, 511, 512, 513, 1000, 1500, 2047, 2048} {
		for range 3 {
			pattern := pageText(rng, period)[:period]
			before := pageText(rng, rng.IntN(5000)) + "\x00" // which is in no pattern
			limit := 2 + rng.IntN(20)
			times := limit
			if blank([]byte(pattern + pattern)) {
				times *= blankFactor
			}
			most := (times + 1) * max(period, shortPattern)
			text := before + strings.Repeat(pattern, (most+searchEvery)/period+3)
			at := found(limit, text)
			if late := max(most, 2*period+searchEvery) + period + 9; at < len(before)+most || at > len(before)+late {
				t.Errorf("period %d, limit %d: found after %d of %d bytes", period, limit, at-len(before), most)
			}
		}
	}
}

func TestRepeats_FindsNothingTwiceTheLongestPeriodApart(t *testing.T) {
	pattern := pageText(rand.New(rand.NewPCG(3, 4)), maxPeriod+1)[:maxPeriod+1]
	if at := found(2, strings.Repeat(pattern, 30)); at >= 0 {
		t.Errorf("a period of %d was found at %d", len(pattern), at)
	}
}

// repeatsItself is the definition, in as many steps as it takes.
func repeatsItself(text string, limit int) bool {
	for p := 1; p <= min(maxPeriod, len(text)/2); p++ {
		run := p
		for run < len(text) && text[len(text)-1-run] == text[len(text)-1-run+p] {
			run++
		}
		times := limit
		if blank([]byte(text[len(text)-2*p:])) {
			times *= blankFactor
		}
		if run >= (times+1)*max(p, shortPattern) {
			return true
		}
	}
	return false
}

func TestRepeats_SaysSoOnlyWhereItIsSo(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	said := 0
	for range 300 {
		var b strings.Builder
		for b.Len() < 6000 { // patterns of patterns, with faults between them
			part := strings.Repeat("ab<.1 "[:1+rng.IntN(6)], 1+rng.IntN(20)) + string(rune('a'+rng.IntN(3)))
			b.WriteString(strings.Repeat(part, 1+rng.IntN(12)))
		}
		text := b.String()
		limit := 3 + rng.IntN(12)
		at := found(limit, text)
		if at < 0 {
			continue
		}
		said++
		// add says it for some byte of the last piece.
		is := false
		for back := 0; back < 9 && !is; back++ {
			is = repeatsItself(text[:at-back], limit)
		}
		if !is {
			t.Errorf("limit %d: %q", limit, text[max(0, at-500):at])
		}
	}
	if said < 50 || said > 290 {
		t.Errorf("found in %d of 300", said)
	}
}

func TestRepeats_LongestRepeatIsWhatComparingFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		p := make([]byte, 1+rng.IntN(60))
		for i := range p {
			p[i] = "aab"[rng.IntN(3)]
		}
		wantPeriod, wantRun := 0, 0
		for run := len(p); run > 1 && wantRun == 0; run-- {
			end := p[len(p)-run:]
			for period := 1; 2*period <= run; period++ {
				if bytes.Equal(end[period:], end[:run-period]) {
					wantPeriod, wantRun = period, run
					break
				}
			}
		}
		if period, run := longestRepeat(p); period != wantPeriod || run != wantRun {
			t.Fatalf("%s: period %d of %d, want %d of %d", p, period, run, wantPeriod, wantRun)
		}
	}
}

func TestBlank_HasNoWordOutsideOfTags(t *testing.T) {
	for pattern, want := range map[string]bool{
		"<td></td>": true, "td></td><": true, "<tr><td></td></tr>\n": true, ".": true, "－": true, "| |": true, "--- ": true,
		"<td>0</td>": false, "a": false, "的": false, "\x84\xe7\x9a": false, "0 ": false, "a<b ": false, "<|det|>[[1, 2]]": false,
	} {
		if got := blank([]byte(pattern + pattern)); got != want {
			t.Errorf("%q: %t", pattern, got)
		}
	}
}

// sheets are pages that repeat themselves and mean it.
func sheets() map[string]string {
	row := func(cell string, n int) string { return "<tr>" + strings.Repeat("<td>"+cell+"</td>", n) + "</tr>" }
	var numbered, contents, table strings.Builder
	for i := range 60 {
		fmt.Fprintf(&numbered, "<tr><td>%d</td>%s</tr>", i+1, strings.Repeat("<td>0</td>", 15))
		fmt.Fprintf(&contents, "Chapter %d %s %d\n", i, strings.Repeat(".", 120), 3*i)
		fmt.Fprintf(&table, "| %d | N/A | N/A | N/A |\n", i)
	}
	return map[string]string{
		"an empty form":         "<table>" + strings.Repeat(row("", 12), 60) + "</table>",
		"a wide empty form":     "<table>" + strings.Repeat(row("", 31), 45) + "</table>",
		"an attendance sheet":   "<table>" + row("日期", 8) + strings.Repeat(row(" ", 8), 62) + "</table>",
		"numbered rows of zero": "<table>" + numbered.String() + "</table>",
		"a small table of zero": "<table>" + strings.Repeat(row("0", 15), usual) + "</table>",
		"contents":              contents.String(),
		"leaders":               strings.Repeat("_", 400) + "\n" + strings.Repeat(".", 400) + "\n" + strings.Repeat("- ", 200),
		"a table in Markdown":   table.String(),
		"lines of a form":       strings.Repeat(strings.Repeat("_", 90)+"\n", 40),
		"a refrain":             strings.Repeat("Hallelujah! ", 50),
	}
}

func TestRepeats_LeavesPagesAlone(t *testing.T) {
	texts := sheets()
	files, err := filepath.Glob("../samples/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d samples: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	for name, text := range texts {
		if at := found(usual, text); at >= 0 {
			t.Errorf("%s is taken for a loop at %d: %q", name, at, text[max(0, at-100):at])
		}
	}
}

func TestRepeats_FindsWhatModelsFallInto(t *testing.T) {
	before := pageText(rand.New(rand.NewPCG(9, 10)), 900)
	for name, loop := range map[string]string{
		"a header":       "<|ref|>title<|/ref|><|det|>[[120, 80, 860, 110]]<|/det|>\n# 中華民國一一四年度財務報表\n\n",
		"cells":          "<td></td>",
		"a row":          "<tr><td>0</td><td>0</td><td>0</td></tr>",
		"a word":         "the ",
		"one character":  "的",
		"a long passage": pageText(rand.New(rand.NewPCG(11, 12)), 1200),
	} {
		text := before + strings.Repeat(loop, 32<<10/len(loop)) // what 8,192 tokens come to
		if at := found(usual, text); at < 0 {
			t.Errorf("%s was not found", name)
		} else {
			t.Logf("%s, %d bytes: found after %d bytes", name, len(loop), at-len(before))
		}
	}
}

func TestRepeats_HoldsNoMoreThanItsMemory(t *testing.T) {
	r := repeats{limit: usual}
	text := []byte(pageText(rand.New(rand.NewPCG(13, 14)), 1<<20))
	r.add(text)
	if cap(r.text) > 2*memory {
		t.Errorf("%d bytes for a text of 1 MiB", cap(r.text))
	}
}

// BenchmarkRepeats measures an event of one token, four bytes: of a usual page,
// and of a table, whose end has always stood before, so that every search goes
// all the way.
func BenchmarkRepeats(b *testing.B) {
	for name, text := range map[string]string{
		"page":  pageText(rand.New(rand.NewPCG(15, 16)), 32<<10),
		"table": sheets()["numbered rows of zero"],
	} {
		b.Run(name, func(b *testing.B) {
			r := repeats{limit: 1 << 20}
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 4) % (len(text) - 4) {
				r.add([]byte(text[i : i+4]))
			}
		})
	}
}

func TestGuard_TakesAnIncompleteResponseForTruncated(t *testing.T) {
	var g guard
	if g.watch(&compat.Chunk{Type: "response.completed"}); g.quality != Sound {
		t.Errorf("completed: %v", g.quality)
	}
	if g.watch(&compat.Chunk{Type: "response.incomplete"}); g.quality != Truncated {
		t.Errorf("incomplete: %v", g.quality)
	}
}
