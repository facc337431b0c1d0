package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ocrmux/gateway"
)

// chunked is body in chunks of n bytes, without the last one.
func chunked(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		n = min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

// Bodies of every way to be read: at once, after a beginning, and in steps.
func TestABodyArrivesWholeHoweverItIsSent(t *testing.T) {
	w := newWorld(t, setup{})
	// The JSON comes last, so that it is not read where the end is missing.
	for _, length := range []int{0, 8192, 65535, 65536, 65537, 262144, 262145, 1 << 20, 1<<20 + 1, 5 << 20} {
		body := chatBody(page(1), "")
		body = strings.Repeat(" ", max(0, length-len(body))) + body
		for _, reader := range []io.Reader{strings.NewReader(body), struct{ io.Reader }{strings.NewReader(body)}} {
			got := w.do("POST", "/v1/chat/completions", "application/json", reader, "Authorization", "Bearer "+w.key)
			if got.status != http.StatusOK {
				t.Errorf("%d bytes by %T: %d %.200s", length, reader, got.status, got.body)
			}
		}
	}
}

func TestAChunkedBodyThatIsCutIsNotTakenForAWholeOne(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{Time: gateway.Time{Body: 100 * time.Millisecond}}})
	whole := chatBody(page(1), "")
	for _, size := range []int{0, 70_000} {
		body := whole + strings.Repeat(" ", size)
		for name, sent := range map[string]string{
			"without a last chunk": chunked(body, 1000),
			"within a chunk":       fmt.Sprintf("%x\r\n%s", len(body)+10, body),
		} {
			got := w.talk("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + w.key +
				"\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
			if len(got) != 1 || !strings.HasPrefix(got[0], "408") {
				t.Errorf("%d bytes %s: %.200q", len(body), name, got)
			}
		}
	}
	if n := w.sims[0].Stats().Received; n != 0 {
		t.Errorf("%d reached the backend", n)
	}
}

// Whoever announces large bodies and sends next to nothing keeps nobody else
// from sending theirs.
func TestAnnouncedBodiesHoldNoMemoryBeforeTheyBegin(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{BodiesBytes: 48 << 20}})
	for i := range 40 {
		c, err := net.Dial("tcp", w.addr)
		must(t, err)
		defer c.Close()
		head := "Content-Length: 16000000"
		if i%2 == 0 {
			head = "Transfer-Encoding: chunked"
		}
		_, err = fmt.Fprintf(c, "POST /ocr HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n2000\r\n%s\r\n", head, strings.Repeat("x", 8192))
		must(t, err)
	}
	w.eventually("all of them are being read", func() bool {
		return strings.Contains(w.metrics(), "\nocrmux_requests_in_flight 40\n")
	})
	big := bytes.Repeat([]byte(" "), 9<<20)
	copy(big, page(1))
	if got := w.ocr("/ocr", "file", [][]byte{big}); got.status != http.StatusOK {
		t.Errorf("a large upload beside them: %d %s", got.status, got.body)
	}
	if got := w.chat(chatBody(page(2), "")); got.status != http.StatusOK {
		t.Errorf("a small one: %d", got.status)
	}
}
