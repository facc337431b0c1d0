package gateway_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

func TestDeadline_IsAnErrorInEveryRoutesWords(t *testing.T) {
	const soon = 150 * time.Millisecond
	w := newWorld(t, setup{
		sim: sim.Config{Timing: &sim.Timing{PerToken: 20 * time.Second}},
		gateway: gateway.Config{
			OpenAI: gateway.OpenAI{Timeout: soon, Streaming: soon},
			Legacy: gateway.Legacy{Timeout: soon},
		},
	})
	t.Run("chat", func(t *testing.T) {
		r := w.chat(chatBody(page(1), ""))
		if r.errorCode(t); r.status != 504 || r.header.Get("X-Should-Retry") != "false" {
			t.Errorf("got %d %v %s", r.status, r.header, r.body)
		}
	})
	t.Run("a stream that has begun", func(t *testing.T) {
		r := w.chat(chatBody(page(1), `,"stream":true`))
		if r.status != 200 || !strings.Contains(r.body, `data: {"error":{`) || !strings.HasSuffix(r.body, "data: [DONE]\n\n") {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
	t.Run("/ocr", func(t *testing.T) {
		r := w.ocr("/ocr", "file", [][]byte{page(1)})
		if r.status < 500 || r.json(t)["error"] == nil || r.header.Get("X-Request-Id") == "" {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
	t.Run("/ocr/batch", func(t *testing.T) {
		r := w.ocr("/ocr/batch", "files", [][]byte{page(1), page(2), page(3)})
		if r.status != 200 || strings.Count(r.body, `"error"`) != 3 {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
	w.eventually("all work has ended", func() bool {
		s := w.sims[0].Stats()
		return s.InProgress == 0 && s.Aborted == s.Received && s.Received == 6
	})
}

func TestQueueThatTakesTooLongIsA503ThatSaysWhenToComeAgain(t *testing.T) {
	var first sync.WaitGroup
	defer first.Wait()
	hold := make(chan struct{})
	defer close(hold)
	w := newWorld(t, setup{
		sim:      sim.Config{Timing: &sim.Timing{FirstToken: 20 * time.Second}},
		gateway:  gateway.Config{OpenAI: gateway.OpenAI{Queue: 50 * time.Millisecond}, Legacy: gateway.Legacy{Timeout: 300 * time.Millisecond}},
		inFlight: 1,
	})
	first.Go(func() {
		w.leave("/v1/chat/completions", "application/json", chatBody(page(1), ""), func(net.Conn) { <-hold })
	})
	w.eventually("the only slot is taken", func() bool { return w.sims[0].Stats().InProgress == 1 })
	for _, more := range []string{"", `,"stream":true`} {
		r := w.chat(chatBody(page(2), more))
		if r.errorCode(t); r.status != 503 || r.header.Get("Retry-After") != "1" || r.header.Get("Retry-After-Ms") != "1000" {
			t.Errorf("%q: got %d %v %s", more, r.status, r.header, r.body)
		}
	}
	if r := w.ocr("/ocr", "file", [][]byte{page(2)}); r.status < 500 || r.json(t)["error"] == nil {
		t.Errorf("/ocr: got %d %v %s", r.status, r.header, r.body)
	}
}

func TestNoBackendIsA503OnEveryRoute(t *testing.T) {
	w := newWorld(t, setup{pool: script(func(context.Context, *backends.Request, backends.Sink) error { return backends.ErrUnavailable })})
	for _, more := range []string{"", `,"stream":true`} {
		r := w.chat(chatBody(page(2), more))
		if r.errorCode(t); r.status != 503 || r.header.Get("Retry-After") != "1" {
			t.Errorf("%q: got %d %v %s", more, r.status, r.header, r.body)
		}
	}
	if r := w.ocr("/ocr", "file", [][]byte{page(2)}); r.status != 503 || r.header.Get("Retry-After") != "1" || r.json(t)["error"] == nil {
		t.Errorf("/ocr: got %d %v %s", r.status, r.header, r.body)
	}
	if r := w.ocr("/ocr/batch", "files", [][]byte{page(2)}); r.status != 200 || strings.Count(r.body, `"error"`) != 1 {
		t.Errorf("/ocr/batch: got %d %s", r.status, r.body)
	}
}
