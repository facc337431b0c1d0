package completions_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/completions"
)

// player is a pool that plays one answer as fast as it is taken.
type player struct {
	events [][]byte
	chunks []*compat.Chunk
	whole  []byte
}

// newPlayer plays words events of about the size that vLLM gives a token.
func newPlayer(words int) *player {
	p := &player{}
	add := func(event string) {
		c := new(compat.Chunk)
		data := strings.TrimSuffix(strings.TrimPrefix(event, "data: "), "\n\n")
		if err := compat.ParseChunk(compat.Chat, []byte(data), c); err != nil {
			panic(err)
		}
		p.events, p.chunks = append(p.events, []byte(event)), append(p.chunks, c)
	}
	for range words {
		add(`data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"/models/ocr","choices":[{"index":0,"delta":{"content":"word "},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	}
	for _, e := range answer("", "stop", true)[1:] {
		add(e)
	}
	p.whole = fmt.Appendf(nil, `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, strings.Repeat("word ", words))
	return p
}

func (p *player) MaxModelLen(string) int { return 8192 }
func (p *player) Usable(string) bool     { return true }

func (p *player) Do(_ context.Context, r *backends.Request, s backends.Sink) (receipt backends.Receipt, err error) {
	if err := r.Body.Open().Close(); err != nil {
		return receipt, err
	}
	s.Begin(backends.Start{Backend: "gpu0", Attempts: 1})
	if !r.Stream {
		return receipt, s.Take(p.whole, p.chunks[0])
	}
	for i := range p.events {
		if err := s.Take(p.events[i], p.chunks[i]); err != nil {
			return receipt, err
		}
	}
	return receipt, nil
}

// none is a cache that has nothing and keeps nothing; one has the same for all.
type none struct{}

func (none) Get(context.Context, [32]byte) ([]byte, time.Duration, bool, error) {
	return nil, 0, false, nil
}
func (none) Put(context.Context, [32]byte, []byte, string, string) error { return nil }

type one struct{ none }

func (one) Get(context.Context, [32]byte) ([]byte, time.Duration, bool, error) {
	return []byte(`{"text":"` + strings.Repeat("word ", 600) + `","finish":"stop","usage":{}}`), 0, true, nil
}

const image300k = 300_000

func benchmark(b *testing.B, words int, cache completions.Cache, body string, stream bool) {
	s, err := completions.New(
		completions.Config{Models: []completions.Model{{Name: model, Pool: "main", ServedAs: served, Recipe: recipe}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": newPlayer(words)}, Cache: cache, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		b.Fatal(err)
	}
	page := &completions.Page{Image: make([]byte, image300k), MIME: "image/png", Prompt: "Free OCR."}
	var c *compat.Request
	if body != "" {
		page = nil
		if c, err = compat.Parse(compat.Chat, []byte(body), compat.Rules{MaxImages: 1, MaxN: 8}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		r := &completions.Request{Model: s.Model(model), Client: c, Page: page, Tenant: "acme", QueueFor: time.Second}
		if !stream {
			if _, err := s.Whole(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			continue
		}
		st := s.Stream(b.Context(), r)
		if err := st.Await(nil); err != nil {
			b.Fatal(err)
		}
		for err = nil; err == nil; {
			_, err = st.Next(nil)
		}
		if st.Close(nil); err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkWhole(b *testing.B) {
	text := `{"model":"` + model + `","messages":[{"role":"user","content":"x"}]}`
	image := chat("GIF89a\x01\x00\x01\x00"+strings.Repeat("\x00", image300k), "Free OCR.", "")
	b.Run("own", func(b *testing.B) { benchmark(b, 600, nil, text, false) })
	b.Run("own page", func(b *testing.B) { benchmark(b, 600, nil, "", false) })
	b.Run("shared", func(b *testing.B) { benchmark(b, 600, none{}, image, false) })
	b.Run("shared page", func(b *testing.B) { benchmark(b, 600, none{}, "", false) })
	b.Run("hit", func(b *testing.B) { benchmark(b, 600, one{}, image, false) })
	b.Run("hit page", func(b *testing.B) { benchmark(b, 600, one{}, "", false) })
}

func BenchmarkStream(b *testing.B) {
	text := `{"model":"` + model + `","messages":[{"role":"user","content":"x"}],"stream":true}`
	image := chat("GIF89a\x01\x00\x01\x00"+strings.Repeat("\x00", image300k), "Free OCR.", `,"stream":true`)
	b.Run("own", func(b *testing.B) { benchmark(b, 600, nil, text, true) })
	b.Run("shared", func(b *testing.B) { benchmark(b, 600, none{}, image, true) })
	b.Run("hit", func(b *testing.B) { benchmark(b, 600, one{}, image, true) })
}
