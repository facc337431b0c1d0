package backends_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/compat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const model = "deepseek-ai/DeepSeek-OCR"

// stand is a running pool before stand-ins for vLLM.
type stand struct {
	*backends.Pool
	t        *testing.T
	cfg      backends.Config
	sims     []*sim.Server
	registry *prometheus.Registry
	log      *logBuffer
}

// newStand starts n stand-ins that answer at once, and a pool of b0, b1, ...
// before them that is quick to notice things.
func newStand(t *testing.T, n int, edit func(*backends.Config)) *stand {
	t.Helper()
	var cfg backends.Config
	s := &stand{t: t}
	for i := range n {
		server := sim.New(sim.Config{Timing: &sim.Timing{}, APIKey: "canary-key"})
		s.sims = append(s.sims, server)
		cfg.Backends = append(cfg.Backends, backends.Backend{
			Name: fmt.Sprintf("b%d", i), URL: "http://" + serve(t, server), APIKey: "canary-key",
		})
	}
	if edit != nil {
		edit(&cfg)
	}
	s.run(cfg)
	return s
}

// newStandBefore is newStand with handlers in place of stand-ins.
func newStandBefore(t *testing.T, handlers ...http.HandlerFunc) *stand {
	t.Helper()
	var cfg backends.Config
	for i, h := range handlers {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("POST /v1/", h)
		server := &http.Server{Handler: mux}
		cfg.Backends = append(cfg.Backends, backends.Backend{Name: fmt.Sprintf("b%d", i), URL: "http://" + serve(t, server)})
	}
	s := &stand{t: t}
	s.run(cfg)
	return s
}

func serve(t testing.TB, server interface {
	Serve(net.Listener) error
	Close() error
},
) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}

// run starts the pool and waits until every backend is up.
func (s *stand) run(cfg backends.Config) {
	s.t.Helper()
	cfg.Name, cfg.Models = "test", []string{model}
	cfg.ProbeInterval, cfg.ProbeTimeout, cfg.Tick = 20*time.Millisecond, 500*time.Millisecond, 5*time.Millisecond
	cfg.StallSilence, cfg.StallProbe = 400*time.Millisecond, 200*time.Millisecond
	s.registry, s.log = prometheus.NewRegistry(), new(logBuffer)
	pool, err := backends.New(cfg, backends.Deps{Log: slog.New(slog.NewTextHandler(s.log, nil)), Registry: s.registry})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Pool, s.cfg = pool, cfg
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pool.Run(ctx)
	}()
	s.t.Cleanup(func() { stop(); <-done })
	eventually(s.t, "every backend is up", func() bool {
		for _, b := range s.Status().Backends {
			if b.State != "up" {
				return false
			}
		}
		return true
	})
}

// fault sets a stand-in's faults.
func (s *stand) fault(i int, f sim.Faults) {
	s.t.Helper()
	if err := s.sims[i].SetFaults(f); err != nil {
		s.t.Fatal(err)
	}
}

// received sums the requests that came to all stand-ins.
func (s *stand) received() (n int64) {
	for _, server := range s.sims {
		n += server.Stats().Received
	}
	return n
}

// idle waits until the pool holds nothing and no stand-in works.
func (s *stand) idle() {
	s.t.Helper()
	eventually(s.t, "nothing is in flight", func() bool {
		st := s.Status()
		n := st.Queued
		for _, b := range st.Backends {
			n += b.InFlight
		}
		for _, server := range s.sims {
			n += int(server.Stats().InProgress)
		}
		return n == 0
	})
}

// eventually waits for cond, which ought to hold soon.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(limit) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// body is a backends.Body that remembers whether it is open.
type body struct {
	text []byte
	mu   sync.Mutex
	open int
}

func (b *body) Size() int64 { return int64(len(b.text)) }

func (b *body) Open() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	return &openBody{Reader: bytes.NewReader(b.text), body: b}
}

type openBody struct {
	*bytes.Reader
	body *body
	once sync.Once
}

func (o *openBody) Close() error {
	o.once.Do(func() {
		o.body.mu.Lock()
		defer o.body.mu.Unlock()
		o.body.open--
	})
	return nil
}

func chat(stream bool) *backends.Request {
	text := fmt.Sprintf(`{"model":%q,"temperature":0,"stream":%v,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"canary-prompt"}]}`, model, stream)
	if !stream {
		text = strings.Replace(text, `"stream_options":{"include_usage":true},`, "", 1)
	}
	return &backends.Request{Dialect: compat.Chat, Body: &body{text: []byte(text)}, Stream: stream, Model: model, QueueFor: 5 * time.Second}
}

// do is Do with the checks that hold for every call.
func (s *stand) do(ctx context.Context, r *backends.Request, sink backends.Sink) (backends.Receipt, error) {
	receipt, err := s.Do(ctx, r, sink)
	b := r.Body.(*body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != 0 {
		s.t.Errorf("the request's body is still open %d times after Do", b.open)
	}
	return receipt, err
}

// collector is a Sink that nobody looks at before the end; with commits, one
// that shows every event at once.
type collector struct {
	commits bool
	fail    error  // returned by Take
	onTake  func() // called by Take

	mu        sync.Mutex
	begins    []backends.Start
	start     backends.Start
	committed bool
	events    []string
	text      string
	done      bool
	restarts  int
}

func (c *collector) Begin(s backends.Start) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start = s
	c.begins = append(c.begins, s)
	c.events, c.text, c.done = nil, "", false
}

func (c *collector) Take(raw []byte, chunk *compat.Chunk) error {
	if c.onTake != nil {
		c.onTake()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.commits && !c.committed {
		if !c.start.Commit() {
			return errors.New("void")
		}
		c.committed = true
	}
	c.events = append(c.events, string(raw))
	c.done = c.done || chunk.Done
	for _, choice := range chunk.Choices {
		c.text += string(choice.Text)
	}
	return c.fail
}

func (c *collector) Restart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restarts++
	return !c.committed
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// sum adds up all series of a metric whose labels contain all of values.
func (s *stand) sum(metric string, values ...string) (total float64) {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.Metric {
			found := 0
			for _, l := range m.Label {
				if slices.Contains(values, l.GetValue()) {
					found++
				}
			}
			if found == len(values) {
				total += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return total
}
