package backends_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends"
	"ocrmux/compat"
)

// mock answers like a server that costs nothing.
func mock(t testing.TB, stream bool) string {
	events := []byte(strings.Repeat("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"},\"finish_reason\":null}]}\n\n", 50) +
		"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if stream {
			w.Header()["Content-Type"] = []string{"text/event-stream"}
			_, _ = w.Write(events)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = w.Write([]byte(wholeAnswer))
	})
	return "http://" + serve(t, &http.Server{Handler: mux})
}

func benchmark(b *testing.B, size int, stream bool) {
	url := mock(b, stream)
	pool, err := backends.New(backends.Config{Name: "p", Backends: []backends.Backend{{Name: "b0", URL: url}}},
		backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Run(ctx) }()
	b.Cleanup(func() { stop(); <-done })
	for pool.Status().Backends[0].State != "up" {
		time.Sleep(time.Millisecond)
	}
	var body compat.Body
	body.Append(bytes.Repeat([]byte("x"), size))
	r := &backends.Request{Body: &body, Stream: stream, Model: model}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pool.Do(ctx, r, discard{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Begin(backends.Start)             {}
func (discard) Take([]byte, *compat.Chunk) error { return nil }
func (discard) Restart() bool                    { return true }

func BenchmarkDo_Small(b *testing.B)  { benchmark(b, 300, false) }
func BenchmarkDo_Stream(b *testing.B) { benchmark(b, 300, true) }
func BenchmarkDo_300kB(b *testing.B)  { benchmark(b, 300<<10, false) }

// BenchmarkTransport_* is what net/http alone takes for the same.
func benchmarkTransport(b *testing.B, size int) {
	url := mock(b, false)
	t := &http.Transport{DisableCompression: true, WriteBufferSize: 64 << 10}
	b.Cleanup(t.CloseIdleConnections)
	payload := bytes.Repeat([]byte("x"), size)
	b.ReportAllocs()
	for b.Loop() {
		req, _ := http.NewRequest("POST", url+"/v1/chat/completions", bytes.NewReader(payload))
		resp, err := t.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

func BenchmarkTransport_Small(b *testing.B) { benchmarkTransport(b, 300) }
func BenchmarkTransport_300kB(b *testing.B) { benchmarkTransport(b, 300<<10) }
