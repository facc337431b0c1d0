package sim_test

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
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
	page := draw200dpi(t, loadFace(t, latinFont, 0, 40), []string{"grounded words"}) // near the top left
	got := read(t, newTesseract(t), sim.Page{Image: page.png, Grounding: true, Size: image.Pt(1654, 2339)})
	m := groundedBlock.FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("got %q, want one grounded block", got)
	}
	if m[5] != page.text {
		t.Errorf("text %q, want %q", m[5], page.text)
	}
	var box [4]int
	for i := range box {
		box[i], _ = strconv.Atoi(m[i+1])
	}
	// The words begin 160 of 1654 pixels from the left; their base line is 200
	// of 2339 pixels from the top.
	if box[0] < 90 || box[0] > 102 || box[1] < 60 || box[3] > 95 || box[2] < 200 || box[2] > 400 {
		t.Errorf("box %v is not where the words are", box)
	}
}

func TestTesseract_IsKilledWithItsRequest(t *testing.T) {
	engine := newTesseract(t)
	page := chinesePage(t, rand.New(rand.NewPCG(1, 1)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := engine.Read(ctx, sim.Page{Image: page.png})
		ended <- err
	}()
	var pid string
	for deadline := time.Now().Add(10 * time.Second); pid == ""; {
		if time.Now().After(deadline) {
			t.Fatal("no tesseract process appeared")
		}
		pid = childNamed("tesseract")
	}
	cancel()
	start := time.Now()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("the read ended %v after its context", took)
	}
	if _, err := os.Stat("/proc/" + pid); !os.IsNotExist(err) {
		t.Errorf("process %s is still there", pid)
	}
}

// childNamed returns the id of a child of this process.
func childNamed(name string) string {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, pid := range strings.Fields(string(children)) {
			comm, _ := os.ReadFile("/proc/" + pid + "/comm")
			if strings.TrimSpace(string(comm)) == name {
				return pid
			}
		}
	}
	return ""
}

func TestNewTesseract_SaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := sim.NewTesseract(0)
	if err == nil || !strings.Contains(err.Error(), "apt-get install tesseract-ocr tesseract-ocr-chi-tra") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that names the packages", err)
	}
}
