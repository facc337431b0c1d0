package e2e_test

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocrmux/test/pages"
	"ocrmux/test/stand"
)

// Character errors that a page's text may have, as the product promises them.
const (
	englishError = 0.02
	chineseError = 0.12
)

// TestText_OfAPageThatNoFileHoldsComesBack draws words that nobody has read
// before and reads them by every route. No cache: every text is Tesseract's.
func TestText_OfAPageThatNoFileHoldsComesBack(t *testing.T) {
	s := stand.New(t, stand.Options{Sim: []string{"-engine", "tesseract"}, Config: "cache: {max_bytes: 0}"})
	c := newClient(t, s.Routers[0].URL, s.Key)
	for script, bound := range map[pages.Script]float64{pages.English: englishError, pages.Chinese: chineseError} {
		seed := rand.Uint64()
		drawn, err := pages.Random(seed, script)
		if err != nil {
			t.Fatal(err)
		}
		p := page{png: drawn.PNG()}
		for route, read := range map[string]func() (answer, error){
			"chat":  func() (answer, error) { return c.chat(t.Context(), p) },
			"ocr":   func() (answer, error) { return c.ocr(t.Context(), p) },
			"batch": func() (answer, error) { return c.batch(t.Context(), p) },
		} {
			a, err := read()
			if err != nil {
				t.Fatalf("%s, seed %d, by %s: %v", script, seed, route, err)
			}
			wrong := pages.CharacterError(a.texts[0], drawn.Text)
			t.Logf("%s page of seed %d by %s: character error %.2f %%", script, seed, route, 100*wrong)
			if wrong > bound {
				t.Errorf("%s page of seed %d by %s: character error %.3f, bound %.2f; got\n%s", script, seed, route, wrong, bound, a.texts[0])
			}
		}
	}
}

// TestMakeRun_ReadsTheSamples does what README tells a newcomer to do: starts
// everything with the one command, sends the samples, and presses Ctrl-C.
func TestMakeRun_ReadsTheSamples(t *testing.T) {
	run := exec.Command("make", "-C", stand.Repository("."), "run")
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its group is what a terminal's Ctrl-C reaches
	log, err := os.Create(filepath.Join(t.TempDir(), "run.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	run.Stdout, run.Stderr = log, log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = run.Wait(); close(ended) }()
	group := -run.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(group, syscall.SIGKILL); <-ended })
	said := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	stand.Eventually(t, "make run says what to try", func() bool {
		select {
		case <-ended:
			t.Fatalf("it ended by itself:\n%s", said())
		default:
		}
		return strings.Count(said(), "curl") >= 2
	})

	files, err := filepath.Glob(stand.Repository("samples/*.txt"))
	if err != nil || len(files) < 4 {
		t.Fatalf("samples: %v %v", files, err)
	}
	var form []string
	for _, file := range files {
		form = append(form, "-F", "files=@"+imageOf(t, file))
	}
	var batch struct{ Results []struct{ Text string } }
	curl(t, &batch, append(form, "http://localhost:5000/ocr/batch")...)
	if len(batch.Results) != len(files) {
		t.Fatalf("%d texts of %d", len(batch.Results), len(files))
	}
	for i, file := range files {
		checkSample(t, "batch", file, batch.Results[i].Text)
	}
	for _, name := range []string{"samples/receipt-en.txt", "samples/notice-zh.txt"} {
		var one struct{ Text string }
		file := stand.Repository(name)
		curl(t, &one, "-F", "file=@"+imageOf(t, file), "http://localhost:5000/ocr")
		checkSample(t, "/ocr", file, one.Text)
	}

	if err := syscall.Kill(group, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(stand.Patience):
		t.Fatal("Ctrl-C did not end it")
	}
	for _, port := range []string{"5000", "5001", "8001", "8002"} {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			t.Errorf("Ctrl-C left the process behind that listens on port %s", port)
		}
	}
}

// imageOf is the picture beside a sample's text.
func imageOf(t *testing.T, file string) string {
	t.Helper()
	for _, kind := range []string{"png", "jpg"} {
		image := strings.TrimSuffix(file, "txt") + kind
		if _, err := os.Stat(image); err == nil {
			return image
		}
	}
	t.Fatalf("no picture beside %s", file)
	return ""
}

// curl is what an old script uses.
func curl(t *testing.T, v any, args ...string) {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-sS", "--fail-with-body"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
}

func checkSample(t *testing.T, how, file, got string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bound := englishError
	if strings.Contains(file, "-zh") {
		bound = chineseError
	}
	wrong := pages.CharacterError(got, string(want))
	t.Logf("%s by %s: character error %.2f %%", filepath.Base(file), how, 100*wrong)
	if wrong > bound {
		t.Errorf("%s by %s: character error %.3f, bound %.2f; got\n%s", filepath.Base(file), how, wrong, bound, got)
	}
}
