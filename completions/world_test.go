package completions_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/completions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	model  = "deepseek-ai/DeepSeek-OCR"
	alias  = "deepseek-ocr"
	served = "/models/ocr"
)

var recipe = completions.Recipe{
	Members: []compat.Member{
		{Name: "temperature", Value: []byte("0")},
		{Name: "skip_special_tokens", Value: []byte("false")},
		{Name: "vllm_xargs", Value: []byte(`{"ngram_size":30}`)},
	},
	MaxTokens: 8192,
}

// pool is a pool that does what its script says.
type pool struct {
	script func(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error)
	maxLen int
	idle   bool          // has a usable backend and is never asked
	queue  time.Duration // wait for a slot

	mu     sync.Mutex
	asked  []*backends.Request
	bodies []string
	runs   int   // in progress
	ended  error // the cause of the last request's end by its context
}

func (p *pool) MaxModelLen(string) int { return p.maxLen }
func (p *pool) Usable(string) bool     { return p.script != nil || p.idle }

func (p *pool) Do(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
	p.mu.Lock()
	p.runs++
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.runs--
		if p.ended == nil {
			p.ended = context.Cause(ctx)
		}
	}()
	if p.queue > 0 {
		select {
		case <-time.After(p.queue):
		case <-ctx.Done():
			return backends.Receipt{}, context.Cause(ctx)
		}
	}
	body, err := io.ReadAll(r.Body.Open())
	if err != nil {
		return backends.Receipt{}, err
	}
	if int64(len(body)) != r.Body.Size() {
		return backends.Receipt{}, fmt.Errorf("the body says that it has %d bytes and has %d", r.Body.Size(), len(body))
	}
	p.mu.Lock()
	p.bodies = append(p.bodies, string(body))
	p.mu.Unlock()
	return p.script(ctx, r, s)
}

// running is how many requests are in progress.
func (p *pool) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs
}

// cause is what ended the first request that was not let come to its end.
func (p *pool) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// times is how often the pool was asked.
func (p *pool) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// body is the last that was sent.
func (p *pool) body() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bodies[len(p.bodies)-1]
}

// answering gives a whole answer in the form that was asked for.
func answering(text, finish string) *pool {
	return &pool{maxLen: 8192, script: func(_ context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		s.Begin(backends.Start{Backend: "gpu0", Attempts: 1})
		var err error
		if r.Stream {
			err = give(s, answer(text, finish, true)...)
		} else {
			err = give(s, fmt.Sprintf(`{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":%q}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`, text, finish))
		}
		return backends.Receipt{Start: backends.Start{Backend: "gpu0", Attempts: 1}}, err
	}}
}

// failing answers nothing.
func failing(err error) *pool {
	return &pool{script: func(context.Context, *backends.Request, backends.Sink) (backends.Receipt, error) {
		return backends.Receipt{}, err
	}}
}

// answer is a stream of one event for each word.
func answer(text, finish string, usage bool) (events []string) {
	for _, word := range strings.SplitAfter(text, " ") {
		events = append(events, event(word))
	}
	events = append(events, fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":%q}]}\n\n", finish))
	if usage {
		events = append(events, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n")
	}
	return append(events, "data: [DONE]\n\n")
}

func event(text string) string {
	return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", text)
}

// give hands events, or one whole answer, to a sink as a pool does.
func give(s backends.Sink, events ...string) error {
	var chunk compat.Chunk
	for _, e := range events {
		data := strings.TrimSuffix(strings.TrimPrefix(e, "data: "), "\n\n")
		raw := []byte(e)
		if err := compat.ParseChunk(compat.Chat, []byte(data), &chunk); err != nil {
			return err
		}
		if err := s.Take(raw, &chunk); err != nil {
			return err
		}
		clear(raw) // valid during the call only
	}
	return nil
}

// memory is a cache that shows what it was asked.
type memory struct {
	mu     sync.Mutex
	values map[[32]byte][]byte
	gets   [][32]byte
	puts   int
	err    error
	slow   time.Duration // that each call takes
	panics string        // the call that does
}

func (m *memory) Get(_ context.Context, key [32]byte) ([]byte, time.Duration, bool, error) {
	time.Sleep(m.slow)
	if m.panics == "get" {
		panic("a defect")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets = append(m.gets, key)
	value, ok := m.values[key]
	return value, time.Minute, ok, m.err
}

func (m *memory) Put(ctx context.Context, key [32]byte, value []byte, _, _ string) error {
	time.Sleep(m.slow)
	if m.panics == "put" {
		panic("a defect")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.values == nil {
		m.values = make(map[[32]byte][]byte)
	}
	m.puts++
	m.values[key] = value
	return m.err
}

// service is a Service before one pool.
func service(t *testing.T, p completions.Pool, cache completions.Cache) *completions.Service {
	t.Helper()
	s, err := completions.New(
		completions.Config{Models: []completions.Model{{Name: model, Aliases: []string{alias}, Pool: "main", ServedAs: served, Recipe: recipe}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": p}, Cache: cache, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client is a request with a body of the client's own.
func client(t *testing.T, s *completions.Service, body string) *completions.Request {
	t.Helper()
	c, err := compat.Parse(compat.Chat, []byte(body), compat.Rules{MaxImages: 8, MaxN: 8})
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return &completions.Request{Model: s.Model(c.Model), Client: c, Tenant: "acme", QueueFor: time.Second}
}

// upload is a page that came by a legacy route.
func upload(s *completions.Service, image, prompt string) *completions.Request {
	return &completions.Request{Model: s.Model(model), Page: &completions.Page{Image: []byte(image), MIME: "image/gif", Prompt: prompt}, Tenant: "acme", QueueFor: time.Second}
}

// picture is a GIF of w by 1 pixels, as far as anybody here looks.
func picture(w int) string { return fmt.Sprintf("GIF89a%c\x00\x01\x00\x00\x00\x00;", w) }

// chat is a request body with an image, a prompt and more members.
func chat(image, prompt, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/gif;base64,%s"}},{"type":"text","text":%q}]}]%s}`,
		model, base64.StdEncoding.EncodeToString([]byte(image)), prompt, more)
}

// eventually waits for what another goroutine brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
