package sim

import (
	"crypto/sha256"
	"image"
	"slices"
	"testing"
)

func TestSynthetic_PagesAreAsLongAsRealOnes(t *testing.T) {
	const pages = 1000
	var lengths []int
	loops, repeats := 0, 0
	for i := range pages {
		text, err := Synthetic{}.Read(t.Context(), Page{Image: []byte{}, SHA256: sha256.Sum256([]byte{byte(i), byte(i >> 8)})})
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, countTokens(text.Content))
		if text.Loops {
			loops++
		}
		if _, ok := repeatedLine(text.Content); ok {
			repeats++
		}
	}
	slices.Sort(lengths)
	sum := 0
	for _, n := range lengths {
		sum += n
	}
	// A log-normal distribution with median 650 and σ 0.8 has the mean 895 and
	// its 95th percentile at 2424.
	for _, c := range []struct {
		what           string
		got, low, high int
	}{
		{"median", lengths[pages/2], 600, 700},
		{"mean", sum / pages, 820, 970},
		{"95th percentile", lengths[pages*95/100], 2100, 2750},
		{"longest", lengths[pages-1], 4000, 7000},
		{"looping pages", loops, pages * 2 / 100, pages * 4 / 100},
		{"pages with repeated lines", repeats, pages * 10 / 100, pages * 15 / 100},
	} {
		if c.got < c.low || c.got > c.high {
			t.Errorf("%s: %d, want %d to %d", c.what, c.got, c.low, c.high)
		}
	}
}

func TestSynthetic_FixedLengthsAreExact(t *testing.T) {
	s := Synthetic{Tokens: Range{Min: 5, Max: 9}}
	seen := map[int]int{}
	for i := range 200 {
		text, _ := s.Read(t.Context(), Page{Image: []byte{}, SHA256: sha256.Sum256([]byte{byte(i)})})
		if _, repeats := repeatedLine(text.Content); repeats || text.Loops {
			t.Errorf("page %d loops", i)
		}
		seen[countTokens(text.Content)]++
	}
	if len(seen) != 5 || seen[5] == 0 || seen[9] == 0 {
		t.Errorf("lengths %v, want 5 to 9", seen)
	}
}

func TestSplit_CutsLikeATokenizer(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         {},
		"one two":                  {"one", " two"},
		"international":            {"inter", "natio", "nal"},
		"總計 NT$1,200":              {"總", "計", " NT", "$", "1", ",", "200"},
		"a  b\n\nc":                {"a", " ", " b", "\n", "\n", "c"},
		"<td>x</td>":               {"<td>", "x", "</td>"},
		"<table> <b":               {"<", "table", ">", " ", "<", "b"},
		"<|ref|>é<|/ref|>":         {"<|ref|>", "é", "<|/ref|>"},
		"\xff broken":              {"\xff", " broke", "n"},
		"trailing ":                {"trail", "ing", " "},
		"<|det|>[[1, 2]]<|/det|>。": {"<|det|>", "[", "[", "1", ",", " 2", "]", "]", "<|/det|>", "。"},
	} {
		if got := split(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := countTokens(text); got != len(want) {
			t.Errorf("%q: counted %d, want %d", text, got, len(want))
		}
	}
}

func TestTidy_LeavesOneSpaceAndOneBlankLine(t *testing.T) {
	for text, want := range map[string]string{
		"總計      120 元\n\f": "總計 120 元",
		"a b\n\n\n\nc\n":    "a b\n\nc",
		"\n  \n姓名　王小明  \n":  "姓名 王小明",
	} {
		if got := tidy(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestParseLayout_GroupsWordsByParagraph(t *testing.T) {
	table := "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n" +
		"1\t1\t0\t0\t0\t0\t0\t0\t999\t999\t-1\t\n" +
		"2\t1\t1\t0\t0\t0\t10\t20\t200\t100\t-1\t\n" +
		"3\t1\t1\t1\t0\t0\t10\t20\t200\t50\t-1\t\n" +
		"4\t1\t1\t1\t1\t0\t10\t20\t200\t20\t-1\t\n" +
		"5\t1\t1\t1\t1\t1\t10\t20\t50\t20\t96.1\ttwo\n" +
		"5\t1\t1\t1\t1\t2\t70\t20\t50\t20\t96.1\twords\n" +
		"4\t1\t1\t1\t2\t0\t10\t50\t200\t20\t-1\t\n" +
		"5\t1\t1\t1\t2\t1\t10\t50\t50\t20\t96.1\t總\n" +
		"5\t1\t1\t1\t2\t2\t70\t50\t50\t20\t96.1\t計\n" +
		"3\t1\t1\t2\t0\t0\t10\t90\t200\t30\t-1\t\n" +
		"4\t1\t1\t2\t1\t0\t10\t90\t200\t20\t-1\t\n" +
		"5\t1\t1\t2\t1\t1\t10\t90\t50\t20\t95\t \n"
	got := grounded(parseLayout(table), image.Pt(999, 999))
	if want := "<|ref|>text<|/ref|><|det|>[[10, 20, 210, 70]]<|/det|>\ntwo words\n總計"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
