package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/fetch"
	"ocrmux/gateway"
)

// fetcher has an internet of one web server, a.example. Every other name is
// private. dialled counts connections.
func fetcher(t *testing.T, cfg fetch.Config, serve http.HandlerFunc) (f *fetch.Fetcher, dialled *atomic.Int32) {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	dialled = new(atomic.Int32)
	return fetch.New(cfg, fetch.Network{
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "a.example" {
				return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			dialled.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
		},
	}, prometheus.NewRegistry()), dialled
}

// gauge is the value of a metric without labels.
func (w *world) gauge(name string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	must(w.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

func urlBody(url, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%q}},{"type":"text","text":"Free OCR."}]}]%s}`, model, url, more)
}

func TestImages_AreFetchedAndTheBackendReceivesBytes(t *testing.T) {
	image := page(5)
	f, _ := fetcher(t, fetch.Config{}, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(image) })
	w := newWorld(t, setup{images: f, cache: true})
	want := w.chat(chatBody(image, ""))
	if want.status != 200 {
		t.Fatalf("got %d %s", want.status, want.body)
	}
	sum := sha256.Sum256(image)
	answer := func(r reply) any {
		return r.json(t)["choices"].([]any)[0].(map[string]any)["message"].(map[string]any)["content"]
	}
	for i, more := range []string{`,"temperature":0.0,"top_p":1`, "", `,"stream":true`} {
		r := w.chat(urlBody("http://a.example/page.png", more))
		if r.status != 200 {
			t.Fatalf("%s: got %d %s", more, r.status, r.body)
		}
		if i == 1 { // the same image, however it came, is the same question
			if got := r.header.Get("X-Ocrmux-Cache"); got != "hit" || answer(r) != answer(want) {
				t.Errorf("cache %s", got)
			}
			continue
		}
		requests := w.sims[0].LastRequests()
		last := requests[len(requests)-1]
		if strings.Contains(string(last.Body), "a.example") || len(last.ImageSHA256) != 1 || last.ImageSHA256[0] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: the backend got %.300s, images %v", more, last.Body, last.ImageSHA256)
		}
	}
	if r := w.respond(`{"model":"deepseek-ocr","input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a.example:80/x"}]}]}`); r.status != 400 {
		t.Errorf("HTTPS to a server of HTTP: got %d %s", r.status, r.body)
	}
	r := w.respond(`{"model":"deepseek-ocr","input":[{"role":"user","content":[{"type":"input_image","image_url":"http://a.example/x"},{"type":"input_text","text":"Free OCR."}]}]}`)
	if requests := w.sims[0].LastRequests(); r.status != 200 || requests[len(requests)-1].ImageSHA256[0] != hex.EncodeToString(sum[:]) {
		t.Errorf("responses: got %d %s", r.status, r.body)
	}
	if n := w.sims[0].Stats().RemoteImages; n != 0 {
		t.Errorf("the backend was sent %d URLs", n)
	}
	w.eventually("the images' memory is given back", func() bool { return w.gauge("ocrmux_image_memory_bytes") == 0 })
	if got := w.gauge("ocrmux_image_memory_limit_bytes") + w.gauge("ocrmux_body_memory_limit_bytes"); got != 1<<30 {
		t.Errorf("bodies and images may take %v bytes together", got)
	}
	if strings.Contains(w.log.String(), "a.example") {
		t.Error("the log has the URL")
	}
}

func TestImages_ThatCannotBeHadAreTheClientsError(t *testing.T) {
	f, dialled := fetcher(t, fetch.Config{MaxBytes: 1000, Timeout: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 1001))
		case "/text":
			fmt.Fprint(w, "no image")
		case "/slow":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	})
	w := newWorld(t, setup{images: f})
	for _, c := range []struct{ url, code, says string }{
		{"http://a.example/large", "image_too_large", "bytes"},
		{"http://a.example/text", "invalid_image_format", "png"},
		{"http://a.example/slow", "invalid_image_url", "too long"},
		{"http://a.example/nothing", "invalid_image_url", "404"},
		{"http://b.example/", "invalid_image_url", "no answer"},
		{"http://127.0.0.1/", "invalid_image_url", "not public"},
		{"http://user@a.example/", "invalid_image_url", "user"},
		{"http://a.example:8000/", "invalid_image_url", "80 and 443"},
		{"ftp://a.example/", "invalid_image_url", "data:image/"},
	} {
		before := dialled.Load()
		r := w.chat(urlBody(c.url, ""))
		e := readError(t, r)
		if r.status != 400 || e.Code != c.code || !strings.Contains(e.Message, c.says) || !strings.Contains(r.body, `"param":"messages[0].content[0].image_url.url"`) {
			t.Errorf("%s: got %d %s", c.url, r.status, r.body)
		}
		if reaches := strings.HasPrefix(c.url, "http://a.example/"); (dialled.Load() > before) != reaches {
			t.Errorf("%s: %d connections", c.url, dialled.Load()-before)
		}
	}
	if n := w.sims[0].Stats().Received; n != 0 {
		t.Errorf("%d reached a backend", n)
	}
	if got := w.gauge("ocrmux_image_memory_bytes"); got != 0 {
		t.Errorf("%v bytes are still held", got)
	}
}

func TestImages_WithoutRoomAreRefusedInTime(t *testing.T) {
	var first atomic.Bool
	arrived, proceed := make(chan struct{}), make(chan struct{})
	f, _ := fetcher(t, fetch.Config{}, func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) { // its length unknown, it holds all there is
			w.(http.Flusher).Flush()
			close(arrived)
			<-proceed
		}
		_, _ = w.Write(page(1))
	})
	w := newWorld(t, setup{images: f, gateway: gateway.Config{BodiesBytes: 4 << 20, OpenAI: gateway.OpenAI{Queue: 100 * time.Millisecond}}})
	done := make(chan reply)
	go func() { done <- w.chat(urlBody("http://a.example/", "")) }()
	<-arrived
	w.eventually("the first holds memory", func() bool { return w.gauge("ocrmux_image_memory_bytes") == 1<<20 })
	if r := w.chat(urlBody("http://a.example/", "")); r.status != 503 || r.errorCode(t) != "overloaded" {
		t.Errorf("got %d %s", r.status, r.body)
	}
	close(proceed)
	if r := <-done; r.status != 200 {
		t.Errorf("the first: got %d %s", r.status, r.body)
	}
	w.eventually("all is given back", func() bool { return w.gauge("ocrmux_image_memory_bytes") == 0 })
}

func TestImages_AreNotFetchedUnlessSwitchedOn(t *testing.T) {
	w := newWorld(t, setup{})
	for _, url := range []string{"http://a.example/x.png", "HTTPS://a.example/x.png"} {
		r := w.chat(urlBody(url, ""))
		if r.status != 400 || r.errorCode(t) != "invalid_image_url" || !strings.Contains(r.body, "images.fetch") {
			t.Errorf("%s: got %d %s", url, r.status, r.body)
		}
	}
}
