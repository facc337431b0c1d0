package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/compat"
)

// script is a pool that fails as no stand-in can.
type script func(ctx context.Context, r *backends.Request, s backends.Sink) error

func (f script) MaxModelLen(string) int { return 0 }
func (f script) Usable(string) bool     { return true }
func (f script) Do(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
	return backends.Receipt{}, f(ctx, r, s)
}

// unhashable is an error that cannot be a map's key.
type unhashable []string

func (unhashable) Error() string { return "canary-cause" }

func TestFailureThatNobodyForesawIsAnInternalErrorAndALineInTheLog(t *testing.T) {
	for _, c := range []struct {
		name string
		fail script
		told string // in the log
	}{
		{"an error", func(context.Context, *backends.Request, backends.Sink) error { return unhashable{"x"} }, "canary-cause"},
		{"a panic", func(context.Context, *backends.Request, backends.Sink) error { panic("canary-value") }, `"panic":"string","stack":`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, setup{pool: c.fail})
			for _, more := range []string{"", `,"stream":true`} {
				r := w.chat(chatBody(page(1), more))
				if r.errorCode(t); r.status != 500 || r.header.Get("X-Request-Id") == "" || r.header.Get("Content-Type") != "application/json" || strings.Contains(r.body, "canary") {
					t.Errorf("%q: got %d %v %s", more, r.status, r.header, r.body)
				}
			}
			if r := w.ocr("/ocr", "file", [][]byte{page(1)}); r.status != 500 || strings.Contains(r.body, "canary") || r.json(t)["error"] == nil {
				t.Errorf("/ocr: got %d %s", r.status, r.body)
			}
			r := w.ocr("/ocr/batch", "files", [][]byte{page(1), page(2)})
			if r.status != 200 || strings.Count(r.body, `"error"`) != 2 || strings.Contains(r.body, "canary") {
				t.Errorf("/ocr/batch: got %d %s", r.status, r.body)
			}
			if n := strings.Count(w.log.String(), c.told); n != 5 || strings.Contains(w.log.String(), "canary-value") {
				t.Errorf("the log tells of it %d times, want 5: %s", n, w.log)
			}
		})
	}
}

func TestStream_ThatIsReadTooSlowlyEndsInAnErrorAndFreesItsBackend(t *testing.T) {
	over := make(chan error, 1)
	w := newWorld(t, setup{pool: script(func(_ context.Context, _ *backends.Request, s backends.Sink) error {
		s.Begin(backends.Start{Backend: "gpu0", Attempts: 1})
		event := []byte(`data: {"choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 1<<20) + `"}}]}` + "\n\n")
		for {
			if err := s.Take(event, &compat.Chunk{}); err != nil {
				over <- err
				return err
			}
		}
	})})
	body := chatBody(page(1), `,"stream":true`)
	conn := w.dial()
	_, _ = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body)
	_ = <-over // before a byte is read
	res, err := http.ReadResponse(conn.r, nil)
	must(t, err)
	got, err := io.ReadAll(res.Body)
	must(t, err)
	if tail := string(got[max(0, len(got)-300):]); !strings.Contains(tail, `data: {"error":{"message":"The answer was read more slowly`) || !strings.HasSuffix(tail, "data: [DONE]\n\n") {
		t.Errorf("it ends with %q", tail)
	}
}

func TestBatch_WhoseClientLeavesAtItsBackendsIsNotCountedAsQueued(t *testing.T) {
	w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{FirstToken: 20 * time.Second}}})
	contentType, body := upload(t, "files", [][]byte{page(1), page(2)})
	w.leave("/ocr/batch", contentType, string(body), func(net.Conn) {
		w.eventually("both images are at the backend", func() bool { return w.sims[0].Stats().InProgress == 2 })
	})
	w.eventually("it is counted", func() bool { return strings.Contains(w.metrics(), `ocrmux_cancelled_total{phase="waiting"} 1`) })
}

func TestShutdown_LetsWhatItCutsTellItsClient(t *testing.T) {
	w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{PerToken: 20 * time.Second}}})
	body := chatBody(page(1), `,"stream":true`)
	stream, legacy := w.dial(), w.dial()
	fmt.Fprintf(stream, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body)
	contentType, form := upload(t, "file", [][]byte{page(2)})
	fmt.Fprintf(legacy, "POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(form), form)
	res, err := http.ReadResponse(stream.r, nil)
	must(t, err)
	w.eventually("the page is at the backend", func() bool { return w.sims[0].Stats().InProgress == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no time at all
	w.stopped = true
	if err := w.server.Shutdown(ctx); err == nil {
		t.Error("work was cut, and Shutdown does not say so")
	}
	if log := w.log.String(); strings.Count(log, `"msg":"request"`) != 2 {
		t.Errorf("what was cut was not waited for: %s", log)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(got), `data: {"error":{`) || !strings.HasSuffix(string(got), "data: [DONE]\n\n") {
		t.Errorf("the stream ends with %v: %q", err, got)
	}
	res, err = http.ReadResponse(bufio.NewReader(legacy), nil)
	must(t, err)
	if got, _ := io.ReadAll(res.Body); res.StatusCode != 503 || !strings.Contains(string(got), `"error"`) {
		t.Errorf("/ocr: got %d %s", res.StatusCode, got)
	}
}
