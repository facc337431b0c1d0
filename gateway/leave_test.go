package gateway_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/backends/sim"
)

// Clients that leave wherever it comes: in the middle of a head, of a body or of
// an answer, on every route. Whatever they had is given back, once.
func TestClientsThatLeaveAnywhereLeaveNothingBehind(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, setup{sims: 2, inFlight: 2, sim: sim.Config{Timing: &sim.Timing{FirstToken: time.Millisecond}}})
	contentType, form := upload(t, "file", [][]byte{page(1)})
	_, batch := upload(t, "files", [][]byte{page(1), page(2), page(3)})
	batchType := contentType[:strings.Index(contentType, "=")+1] + string(batch[2:strings.Index(string(batch), "\r")])
	request := func(version, path, contentType, body string) string {
		return fmt.Sprintf("POST %s HTTP/%s\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, version, w.key, contentType, len(body), body)
	}
	stream, whole := chatBody(page(1), `,"stream":true`), chatBody(page(1), "")
	requests := []string{
		request("1.1", "/v1/chat/completions", "application/json", stream),
		request("1.0", "/v1/chat/completions", "application/json", stream),
		request("1.1", "/v1/chat/completions", "application/json", whole),
		request("1.1", "/ocr", contentType, string(form)),
		request("1.1", "/ocr/batch", batchType, string(batch)),
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	stayed := 0
	for i := range 12 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 6 {
				text := requests[r.IntN(len(requests))]
				c, err := net.Dial("tcp", w.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				switch r.IntN(4) {
				case 0: // in the middle of the request
					_, _ = io.WriteString(c, text[:r.IntN(len(text))])
				case 1: // before the answer
					_, _ = io.WriteString(c, text)
				case 2: // in the middle of the answer
					_, _ = io.WriteString(c, text)
					_, _ = io.CopyN(io.Discard, c, int64(1+r.IntN(400)))
				case 3: // not at all
					_, _ = io.WriteString(c, strings.Replace(text, "Host: x", "Host: x\r\nConnection: close", 1))
					if got, err := io.ReadAll(c); err != nil || !strings.Contains(string(got[:min(len(got), 20)]), " 200 ") {
						t.Errorf("who stayed got %v, %.200q", err, got)
					}
					mu.Lock()
					stayed++
					mu.Unlock()
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	if stayed == 0 {
		t.Error("nobody stayed")
	}
	for _, gauge := range []string{"ocrmux_requests_in_flight", "ocrmux_body_memory_bytes", "ocrmux_queue_length", "ocrmux_backend_in_flight", "ocrmux_tenant_in_progress"} {
		w.eventually(gauge+" is zero", func() bool { return sum(w.metrics(), gauge) == 0 })
	}
	for i, s := range w.sims {
		w.eventually(fmt.Sprintf("gpu%d does nothing", i), func() bool { return s.Stats().InProgress == 0 })
	}
}

// sum adds up the series of a metric; -1 where there are none.
func sum(metrics, name string) float64 {
	total := -1.0
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		var v float64
		_, _ = fmt.Sscan(m[1], &v)
		total = max(total, 0) + v
	}
	return total
}
