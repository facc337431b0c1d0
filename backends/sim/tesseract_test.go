package sim_test

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/image/bmp"

	"ocrmux/backends/sim"
)

// newTesseract fails where the program is missing: what is not run is not shown.
func newTesseract(t *testing.T) *sim.Tesseract {
	t.Helper()
	engine, err := sim.NewTesseract(1)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

func read(t *testing.T, engine sim.Engine, page sim.Page) string {
	t.Helper()
	start := time.Now()
	text, err := engine.Read(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("read in %v", time.Since(start).Round(time.Millisecond))
	return text.Content
}

// Bounds are what the whole product promises through its routes.
func TestTesseract_ReadsRandomWordsOfBothScripts(t *testing.T) {
	engine := newTesseract(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, c := range []struct {
		script string
		page   drawnPage
		bound  float64
	}{
		{"English", englishPage(t, rng), 0.02},
		{"Chinese", chinesePage(t, rng), 0.12},
	} {
		got := read(t, engine, sim.Page{Image: c.page.png})
		e := charError(got, c.page.text)
		t.Logf("%s: character error %.2f %%", c.script, 100*e)
		if e > c.bound {
			t.Errorf("%s: character error %.4f, want at most %v\ngot:\n%s\nwant:\n%s", c.script, e, c.bound, got, c.page.text)
		}
		if strings.Contains(got, "\f") {
			t.Errorf("%s: text has a form feed", c.script)
		}
	}
}

func TestTesseract_JoinsChineseCharacters(t *testing.T) {
	got := read(t, newTesseract(t), sim.Page{Image: draw200dpi(t, loadFace(t, chineseFont, chineseFace, 38), []string{"公司總計金額", "paid in full"}).png})
	if want := "公司總計金額\npaid in full"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTesseract_ReadsFormatsThatOnlyGoDecodes(t *testing.T) {
	page := draw200dpi(t, loadFace(t, latinFont, 0, 40), []string{"formats are no obstacle"})
	picture, err := png.Decode(bytes.NewReader(page.png))
	if err != nil {
		t.Fatal(err)
	}
	picture = picture.(*image.Gray).SubImage(image.Rect(100, 100, 1000, 300)) // not at the origin
	for name, encode := range map[string]func(*bytes.Buffer) error{
		"bmp":  func(b *bytes.Buffer) error { return bmp.Encode(b, picture) },
		"jpeg": func(b *bytes.Buffer) error { return jpeg.Encode(b, picture, nil) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		if got := read(t, newTesseract(t), sim.Page{Image: b.Bytes()}); got != page.text {
			t.Errorf("%s: got %q, want %q", name, got, page.text)
		}
	}
}

var groundedBlock = regexp.MustCompile(`(?s)<\|ref\|>text<\|/ref\|><\|det\|>\[\[(\d+), (\d+), (\d+), (\d+)\]\]<\|/det\|>\n(.*)`)

func TestTesseract_GroundsTheTextWhereItStands(t *testing.T) {
	page := draw200dpi(t, loadFace(t, latinFont, 0, 40), []string{"grounded words"})
	head, err := png.DecodeConfig(bytes.NewReader(page.png))
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, newTesseract(t), sim.Page{Image: page.png, Grounding: true, Size: image.Pt(head.Width, head.Height)})
	m := groundedBlock.FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("got %q, want one grounded block", got)
	}
	if m[5] != page.text {
		t.Errorf("text %q, want %q", m[5], page.text)
	}
	pixel := func(i, size int) int { // as the model's users compute it
		v, _ := strconv.Atoi(m[i])
		return v * size / 999
	}
	box := image.Rect(pixel(1, head.Width), pixel(2, head.Height), pixel(3, head.Width), pixel(4, head.Height))
	// The words begin at pixel 160; letters of 40 px stand 30 above their base
	// line and reach 10 below it.
	inner, outer := image.Rect(170, pageTop-20, 380, pageTop), image.Rect(150, pageTop-40, 440, pageTop+20)
	if !inner.In(box) || !box.In(outer) {
		t.Errorf("box %v is not where the words are, between %v and %v", box, inner, outer)
	}
}

// playedTesseract stands in PATH: it reads no page, starts a child, tells both
// process ids to the pipe, and never ends.
const playedTesseract = `#!/bin/sh
case "$1" in --list-langs) echo eng; echo chi_tra; exit;; esac
sleep 1000 &
echo $$ $! >"$PIDS"
wait
`

func TestTesseract_DiesWithItsRequestChildrenIncluded(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tesseract"), []byte(playedTesseract), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("PIDS", pids)
	engine := newTesseract(t)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := engine.Read(ctx, sim.Page{Image: onePixel})
		ended <- err
	}()
	told, err := os.ReadFile(pids) // waits for the script
	if err != nil {
		t.Fatal(err)
	}
	// A second read finds the only worker taken, and need not wait for it.
	other, leave := context.WithCancel(t.Context())
	leave()
	if _, err := engine.Read(other, sim.Page{Image: onePixel}); err != context.Canceled {
		t.Errorf("waiting for a worker ends with %v", err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	// A killed process has let go of its files a moment before it is gone.
	deadline := time.Now().Add(5 * time.Second)
	for _, pid := range strings.Fields(string(told)) {
		for !gone(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s is still there", pid)
			}
			runtime.Gosched()
		}
	}
}

// gone reports whether there is no such process, or only its exit status: a
// container may have nobody who collects it.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[0] == 'Z' || after[0] == 'X'
}

func TestNewTesseract_SaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := sim.NewTesseract(0)
	if err == nil || !strings.Contains(err.Error(), "apt-get install tesseract-ocr tesseract-ocr-chi-tra") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names the packages", err)
	}
}
