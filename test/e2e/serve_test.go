package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// Each backend works on one image at a time, so that one after the other would
// take eight seconds, and badly spread more than two.
func TestBatch_IsReadOnAllBackendsSideBySide(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 4, Sim: []string{"-ttft", "1s", "-tokens", "20", "-max-num-seqs", "1"}, Config: noCache})
	c := newClient(t, s.Routers[0].URL, s.Key)
	pages := make([]page, 8)
	for i := range pages {
		pages[i].png = picture(t, i)
	}
	began := time.Now()
	a, err := c.batch(t.Context(), pages...)
	took := time.Since(began)
	if err != nil || len(a.texts) != len(pages) {
		t.Fatalf("%d texts, %v", len(a.texts), err)
	}
	var work []int64
	for _, b := range s.Backends {
		work = append(work, b.Stats(t).Completed)
	}
	t.Logf("batch: 8 images of one second over four backends took %.2f s; images by backend: %v", took.Seconds(), work)
	if took >= 3*time.Second {
		t.Errorf("the batch took %s, want less than 3 s", took)
	}
	for i := range pages {
		if want := heading(pages[i]); !strings.Contains(a.texts[i], want) {
			t.Errorf("item %d is %q, want a text with %q", i, a.texts[i], want)
		}
	}
}

func TestStream_ArrivesAsItIsMade(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-tpot", "100ms", "-tokens", "20"}, Config: noCache})
	res := beginStream(t, s)
	defer res.Body.Close()
	began, buffer := time.Now(), make([]byte, 64<<10)
	var arrivals []time.Duration
	var text strings.Builder
	for {
		n, err := res.Body.Read(buffer)
		if n > 0 {
			arrivals = append(arrivals, time.Since(began))
			text.Write(buffer[:n])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := streamed(text.String()); err != nil {
		t.Error(err)
	}
	// 20 tokens a tenth of a second apart: a router that waits for the end, or
	// for a full buffer, would hand them out together.
	if len(arrivals) < 15 || arrivals[len(arrivals)/2] > arrivals[len(arrivals)-1]*3/4 {
		t.Errorf("%d pieces, at %v", len(arrivals), arrivals)
	}
}

func TestServe_NamesABusyPort(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	config, err := os.ReadFile(stand.Repository("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ key, old string }{{"http.listen", "127.0.0.1:5000"}, {"admin.listen", "127.0.0.1:5001"}} {
		text := strings.Replace(string(config), "listen: "+test.old, "listen: "+busy.Addr().String(), 1)
		for _, other := range []string{"127.0.0.1:5000", "127.0.0.1:5001"} {
			text = strings.Replace(text, "listen: "+other, "listen: "+stand.FreeAddress(t), 1)
		}
		text = strings.Replace(text, "file: keys.yaml", "file: "+stand.Repository("keys.yaml"), 1)
		text = strings.Replace(text, "configs/development.pepper", stand.Repository("configs/development.pepper"), 1)
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), stand.Program(t, "router"), "serve", "-config", path).CombinedOutput()
		want := fmt.Sprintf("%s: another program is listening on %s already", test.key, busy.Addr())
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("said %q (%v), want %q", out, err, want)
		}
	}
}

// A client that leaves in the middle of a stream frees its backend.
func TestStream_ThatIsLeftIsAborted(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-tpot", "1s", "-tokens", "100"}, Config: noCache})
	res := beginStream(t, s)
	if _, err := res.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	stand.Eventually(t, "the backend has aborted the work", func() bool {
		got := s.Backends[0].Stats(t)
		return got.Aborted == 1 && got.InProgress == 0
	})
}

// What is asked for again while the router runs comes from memory, for one
// tenant at a time.
func TestCache_AnswersTheSamePageAtOnce(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 2, Sim: []string{"-ttft", "300ms", "-tokens", "20"}})
	c := newClient(t, s.Routers[0].URL, s.Key)
	p := page{png: picture(t, 5)}
	first, err := c.ocr(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.ocr(t.Context(), p)
	if err != nil || !slices.Equal(first.texts, second.texts) {
		t.Errorf("%q, then %q (%v)", first.texts, second.texts, err)
	}
	asked := int64(0)
	for _, b := range s.Backends {
		asked += b.Stats(t).Received
	}
	if asked != 1 {
		t.Errorf("the backends were asked %d times, want once", asked)
	}
	if status := modelsStatus(t, s.Routers[0], s.Key+"x"); status != http.StatusUnauthorized {
		t.Errorf("a wrong key: %d", status)
	}
}
