package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/cache"
	"ocrmux/compat"
	"ocrmux/completions"
	"ocrmux/fetch"
	"ocrmux/gateway"
	"ocrmux/usage"
)

const model = "deepseek-ai/DeepSeek-OCR"

// world is a gateway on a socket of its own before real stand-ins.
type world struct {
	t        *testing.T
	url      string
	addr     string
	admin    string
	key      string            // of the tenant acme
	keys     map[string]string // of the others that setup names
	sims     []*sim.Server
	log      *syncBuffer
	server   *gateway.Server
	pool     completions.Pool
	registry *prometheus.Registry
	ledger   *usage.Ledger
	auth     *auth.Gate
	stopped  bool // by the test itself
}

// setup is what a test may want different.
type setup struct {
	sims      int
	sim       sim.Config
	gateway   gateway.Config
	others    []string // tenants of keys that are to have a key beside acme
	keys      string   // of keys.yaml; "" for one tenant without limits and the anonymous one
	cache     bool
	images    *fetch.Fetcher
	maxQueue  int
	inFlight  int
	noBackend bool
	guard     completions.Guard
	pool      completions.Pool // in place of the one before the stand-ins
}

func newWorld(t *testing.T, set setup) *world {
	t.Helper()
	w := &world{t: t, log: new(syncBuffer), registry: prometheus.NewRegistry()}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var bs []backends.Backend
	for i := range max(1, set.sims) {
		cfg := set.sim
		cfg.Seed = 7
		if cfg.Engine == nil { // short answers: what is long about them is proven elsewhere
			cfg.Engine = sim.Synthetic{Seed: 7, Tokens: sim.Range{Min: 20, Max: 60}}
		}
		if cfg.Timing == nil {
			cfg.Timing = new(sim.Timing)
		}
		s := sim.New(cfg)
		ln := listen(t)
		addr := ln.Addr().String()
		if set.noBackend {
			ln.Close()
		} else {
			go func() { _ = s.Serve(ln) }()
		}
		t.Cleanup(func() { s.Close() })
		w.sims = append(w.sims, s)
		bs = append(bs, backends.Backend{Name: fmt.Sprintf("gpu%d", i), URL: "http://" + addr, MaxInFlight: set.inFlight})
	}
	pool, err := backends.New(backends.Config{Name: "main", Backends: bs, MaxQueue: set.maxQueue, ProbeInterval: 50 * time.Millisecond},
		backends.Deps{Log: log, Registry: w.registry})
	must(t, err)
	w.ledger, err = usage.Open(usage.Config{}, usage.Deps{Log: log, Registerer: w.registry})
	must(t, err)
	gate := w.gate(set.keys, set.others, log)
	w.auth = gate
	deps := completions.Deps{Pools: map[string]completions.Pool{"main": pool}, Log: log}
	if set.pool != nil {
		deps.Pools["main"] = set.pool
	}
	w.pool = deps.Pools["main"]
	if set.cache {
		deps.Cache = cache.New(cache.Config{MaxBytes: 1 << 20, TTL: time.Hour}, w.registry)
	}
	service, err := completions.New(completions.Config{Models: []completions.Model{{
		Name: model, Aliases: []string{"deepseek-ocr"}, Pool: "main", Guard: set.guard,
		Recipe: completions.Recipe{Members: []compat.Member{
			{Name: "temperature", Value: []byte("0")},
			{Name: "skip_special_tokens", Value: []byte("false")},
			{Name: "vllm_xargs", Value: []byte(`{"ngram_size":30,"window_size":90,"whitelist_token_ids":[128821,128822]}`)},
		}, MaxTokens: 8192},
	}, {Name: "secret-model", Pool: "main", ServedAs: model}}}, deps)
	must(t, err)
	set.gateway.Legacy.Model = model
	set.gateway.Time.LameDuck = time.Millisecond
	w.server, err = gateway.New(set.gateway, gateway.Deps{
		Gate: gate, Ledger: w.ledger, Service: service, Images: set.images, Pools: []*backends.Pool{pool}, Log: log, Registry: w.registry,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = pool.Run(ctx) })
	ln := listen(t)
	w.addr, w.url = ln.Addr().String(), "http://"+ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ln, nil) }()
	admin := httptest.NewServer(promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{}))
	w.admin = admin.URL
	t.Cleanup(func() {
		admin.Close()
		end, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if err := w.server.Shutdown(end); err != nil && !w.stopped {
			t.Errorf("shutdown: %v", err)
		}
		_ = <-served // it has no more to say
		cancel()
		loops.Wait()
	})
	if !set.noBackend {
		w.eventually("a backend is up", func() bool { return w.server.Ready() == nil })
	}
	return w
}

// gate makes a key for the tenant "acme" beside what keys.yaml says.
func (w *world) gate(keys string, others []string, log *slog.Logger) *auth.Gate {
	w.t.Helper()
	pepper := bytes.Repeat([]byte("p"), 32)
	path := filepath.Join(w.t.TempDir(), "keys.yaml")
	if keys == "" {
		keys = "tenants:\n  - name: acme\n  - name: anonymous\n"
	}
	must(w.t, os.WriteFile(path, []byte(keys), 0o600))
	ring, err := auth.NewKeyRing(path, pepper)
	must(w.t, err)
	w.key, _, err = ring.Create(auth.KeyOptions{Tenant: "acme"})
	must(w.t, err)
	w.keys = map[string]string{}
	for _, name := range others {
		w.keys[name], _, err = ring.Create(auth.KeyOptions{Tenant: name})
		must(w.t, err)
	}
	gate, err := auth.New(auth.Config{KeyFile: path, Pepper: pepper}, auth.Deps{Logger: log, Registerer: w.registry})
	must(w.t, err)
	return gate
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return ln
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			w.t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// reply is an answer read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("not JSON: %v: %q", err, r.body)
	}
	return v
}

// errorCode is the code of an OpenAI error.
func (r reply) errorCode(t *testing.T) any {
	t.Helper()
	e, ok := r.json(t)["error"].(map[string]any)
	if !ok {
		t.Fatalf("not an OpenAI error: %s", r.body)
	}
	for _, key := range []string{"message", "type", "param", "code"} {
		if _, ok := e[key]; !ok {
			t.Errorf("the error lacks %q: %s", key, r.body)
		}
	}
	return e["code"]
}

func (w *world) do(method, path, contentType string, body io.Reader, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, body)
	must(w.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	must(w.t, err)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	must(w.t, err)
	return reply{res.StatusCode, res.Header, string(all)}
}

func (w *world) chat(body string, headers ...string) reply {
	w.t.Helper()
	return w.do("POST", "/v1/chat/completions", "application/json", strings.NewReader(body),
		append([]string{"Authorization", "Bearer " + w.key}, headers...)...)
}

// upload is a form with files under one field and values beside them.
func upload(t *testing.T, field string, files [][]byte, values ...string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for i, f := range files {
		p, err := m.CreateFormFile(field, fmt.Sprintf("page%d.png", i))
		must(t, err)
		_, _ = p.Write(f)
	}
	for i := 0; i < len(values); i += 2 {
		must(t, m.WriteField(values[i], values[i+1]))
	}
	must(t, m.Close())
	return m.FormDataContentType(), b.Bytes()
}

func (w *world) ocr(path, field string, files [][]byte, values ...string) reply {
	w.t.Helper()
	contentType, body := upload(w.t, field, files, values...)
	return w.do("POST", path, contentType, bytes.NewReader(body))
}

// page is a PNG that differs with n.
func page(n int) []byte {
	img := image.NewGray(image.Rect(0, 0, 300, 200))
	for i := range 300 {
		img.SetGray(i, (i*n+n)%200, color.Gray{Y: 255})
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img)
	return b.Bytes()
}

func base64Of(image []byte) string { return base64.StdEncoding.EncodeToString(image) }

func chatBody(image []byte, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}},{"type":"text","text":"Free OCR."}]}]%s}`,
		model, base64.StdEncoding.EncodeToString(image), more)
}

// syncBuffer is a log that tests may read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
