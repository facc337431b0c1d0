package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/admin"
	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/usage"
)

// token is a canary: it must never be seen again.
const token = "0p3rator-canary-of-enough-random-letters"

// keyFile is what worlds begin with: 7q3n0v5k is the key that the
// examples of docs/admin.md work on.
const keyFile = `# of the reading room
tenants:
  - name: acme
    class: batch
    limits: {images_per_minute: 600}
  - name: beta # the second
  - name: gamma
keys:
  - id: 7q3n0v5k
    tenant: acme
    hash: hmac-sha256:8a9d63e2e56e4b1ec09d527e357448453d00ef26ea4e5c2c83f3db6796c0867c
    created: 2026-11-22T17:24:36Z
    expires: 2041-01-31T00:00:00Z
    note: scanner
  - id: 0a1b2c3d # old
    tenant: beta
    hash: hmac-sha256:8a9d63e2e56e4b1ec09d527e357448453d00ef26ea4e5c2c83f3db6796c0867d
`

// pepper is a canary too.
const pepper = "pepper-canary-of-the-tests"

// world is an operators' listener with all that stands behind it.
type world struct {
	t       *testing.T
	cfg     admin.Config
	deps    admin.Deps
	handler http.Handler
	log     *logBuffer
	now     time.Time
	ready   error
	reload  func(context.Context) (any, error)
	reloads int
	keys    string // path of the key file
	applied int    // times that it was put in force
	ledger  *usage.Ledger
	deleted []string // what the cache was asked to forget
}

// newWorld is a loopback listener; withToken gives it a token.
func newWorld(t *testing.T, edit ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, log: new(logBuffer), now: time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)}
	w.cfg = admin.Config{Loopback: true}
	registry := prometheus.NewRegistry()
	pool, err := backends.New(backends.Config{Name: "ocr", Backends: []backends.Backend{
		{Name: "gpu-0", URL: "http://127.0.0.1:1"}, {Name: "gpu-1", URL: "http://127.0.0.1:2"},
	}}, backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	w.keys = filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(w.keys, []byte(keyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := auth.NewKeyRing(w.keys, []byte(pepper))
	if err != nil {
		t.Fatal(err)
	}
	if w.ledger, err = usage.Open(usage.Config{}, usage.Deps{}); err != nil {
		t.Fatal(err)
	}
	w.reload = func(context.Context) (any, error) {
		return map[string][]string{"changed": {"log.level"}, "unchangeable": {"http.listen"}}, nil
	}
	w.deps = admin.Deps{
		Log:      slog.New(slog.NewJSONHandler(w.log, nil)),
		Registry: registry,
		Ready:    func() error { return w.ready },
		Keys:     ring,
		Applied:  func() { w.applied++ },
		Usage:    w.ledger,
		Pools:    func() []*backends.Pool { return []*backends.Pool{pool} },
		Reload: func(ctx context.Context) (any, error) {
			w.reloads++
			return w.reload(ctx)
		},
		Config: func() (json.RawMessage, error) { return json.RawMessage(`{"admin":{"token_file":"(hidden)"}}`), nil },
		Cache:  forgetful{w},
		Now:    func() time.Time { return w.now },
	}
	for _, e := range edit {
		e(w)
	}
	w.handler = admin.New(w.cfg, w.deps)
	return w
}

func withToken(w *world) { w.cfg.Token = func() string { return token } }

func withoutLoopback(w *world) { w.cfg.Loopback = false }

// forgetful is a cache that only remembers what it was to forget.
type forgetful struct{ w *world }

func (f forgetful) Delete(_ context.Context, tenant, model string) (int, error) {
	if model == "broken" {
		return 0, errors.New("disk on fire, sk-ocr-secretcanary")
	}
	f.w.deleted = append(f.w.deleted, tenant+"/"+model)
	return 3, nil
}

// ask sends a request from this machine; edits change it before.
func (w *world) ask(method, target, body string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	w.t.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "127.0.0.1:5001"
	if w.cfg.Token != nil && w.cfg.Token() != "" {
		bearing(token)(r)
	}
	for _, e := range edits {
		e(r)
	}
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, r)
	if isJSON := answer.Header().Get("Content-Type") == "application/json"; isJSON && !json.Valid(answer.Body.Bytes()) {
		w.t.Errorf("%s %s: not JSON: %s", method, target, answer.Body)
	}
	return answer
}

// bearing sets a token; "" takes it away.
func bearing(token string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Authorization")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address }
}

// wantError checks that an answer is an error of OpenAI's shape, and returns its message.
func wantError(t *testing.T, answer *httptest.ResponseRecorder, status int, code string) (message, param string) {
	t.Helper()
	var body struct {
		Error struct {
			Message, Type string
			Param, Code   *string
		}
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %q: %v", answer.Code, answer.Body, err)
	}
	got := ""
	if body.Error.Code != nil {
		got = *body.Error.Code
	}
	if answer.Code != status || got != code || body.Error.Message == "" || body.Error.Type == "" {
		t.Errorf("got %d %s, want %d and code %q", answer.Code, answer.Body, status, code)
	}
	if kind := answer.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	if body.Error.Param != nil {
		param = *body.Error.Param
	}
	return body.Error.Message, param
}

// wantJSON checks a good answer, white space aside.
func wantJSON(t *testing.T, answer *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Compact(&got, answer.Body.Bytes()); err != nil || answer.Code != status || got.String() != want {
		t.Errorf("got %d %s (%v), want %d %s", answer.Code, answer.Body, err, status, want)
	}
}

// logBuffer holds lines of log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// audit returns the lines of audit so far, without level and time, and empties the log.
func (w *world) audit() (lines []map[string]any) {
	w.t.Helper()
	for line := range strings.Lines(w.log.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			w.t.Fatal(err)
		}
		if m["msg"] != "audit" {
			continue
		}
		if _, err := time.Parse(time.RFC3339, m["time"].(string)); err != nil {
			w.t.Error(err)
		}
		delete(m, "msg")
		delete(m, "level")
		delete(m, "time")
		lines = append(lines, m)
	}
	w.log.mu.Lock()
	w.log.text.Reset()
	w.log.mu.Unlock()
	return lines
}

// wantAudit checks that exactly one line was written, word for word.
func (w *world) wantAudit(want string) {
	w.t.Helper()
	lines := w.audit()
	got, _ := json.Marshal(lines)
	if string(got) != "["+want+"]" {
		w.t.Errorf("audit: got %s, want %s", got, want)
	}
}
