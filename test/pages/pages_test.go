package pages_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"ocrmux/test/pages"
)

func TestCharacterError_CountsEditsPerTrueCharacter(t *testing.T) {
	for _, test := range []struct {
		name, got, want string
		share           float64
	}{
		{"equal", "one two", "one two", 0},
		{"white space runs are one space", " one\n\ttwo ", "one two", 0},
		{"a lost space is an edit", "onetwo", "one two", 1.0 / 7},
		{"replaced", "cat", "cut", 1.0 / 3},
		{"inserted", "caat", "cat", 1.0 / 3},
		{"deleted", "ct", "cat", 1.0 / 3},
		{"several", "kitten", "sitting", 3.0 / 7},
		{"nothing read", "", "four", 1},
		{"much too much read", "aaaaaaaa", "b", 8},
		{"spaces between ideographs do not count", "時 間 學 校", "時間學校", 0},
		{"ideographs are characters, not bytes", "時間學枝", "時間學校", 0.25},
		{"empty", "", " \n", 0},
		{"empty page, invented text", "word", "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if share := pages.CharacterError(test.got, test.want); share != test.share {
				t.Errorf("CharacterError(%q, %q) = %v, want %v", test.got, test.want, share, test.share)
			}
		})
	}
}

func TestRandom_SameSeedSamePageOtherSeedOtherPage(t *testing.T) {
	for _, script := range []pages.Script{pages.English, pages.Chinese} {
		t.Run(script.String(), func(t *testing.T) {
			first, again, other := random(t, 7, script), random(t, 7, script), random(t, 8, script)
			if first.Text != again.Text || !bytes.Equal(first.PNG(), again.PNG()) {
				t.Error("seed 7 gave two different pages")
			}
			if first.Text == other.Text || bytes.Equal(first.PNG(), other.PNG()) {
				t.Error("seeds 7 and 8 gave the same page")
			}
			if letters := utf8.RuneCountInString(first.Text); letters < 200 {
				t.Errorf("a page of %d characters, want at least 200", letters)
			}
			t.Logf("%d characters, %d bytes of PNG:\n%s", utf8.RuneCountInString(first.Text), len(first.PNG()), first.Text)
		})
	}
}

// Read as vllmsim reads, with half the bounds that tests of the whole way set:
// what they measure beyond this is not the page's fault.
func TestRandom_TesseractReadsThePage(t *testing.T) {
	for script, bound := range map[pages.Script]float64{pages.English: 0.01, pages.Chinese: 0.06} {
		t.Run(script.String(), func(t *testing.T) {
			page := random(t, 1, script)
			read := exec.CommandContext(t.Context(), "tesseract", "stdin", "stdout", "-l", "eng+chi_tra", "--psm", "6")
			read.Env = append(read.Environ(), "OMP_THREAD_LIMIT=1")
			read.Stdin = bytes.NewReader(page.PNG())
			var complaint strings.Builder
			read.Stderr = &complaint
			text, err := read.Output()
			if err != nil {
				t.Fatalf("tesseract: %v: %s", err, complaint.String())
			}
			share := pages.CharacterError(string(text), page.Text)
			t.Logf("character error %.2f %%", 100*share)
			if share > bound {
				t.Errorf("character error %.3f, want at most %.3f\nread:\n%s\ntrue:\n%s", share, bound, text, page.Text)
			}
		})
	}
}

func random(t *testing.T, seed uint64, script pages.Script) pages.Page {
	t.Helper()
	page, err := pages.Random(seed, script)
	if err != nil {
		t.Fatal(err)
	}
	return page
}
