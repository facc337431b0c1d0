package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// wire is one connection on which a test writes requests as bytes.
type wire struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (w *world) dial() *wire {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	must(w.t, err)
	must(w.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	w.t.Cleanup(func() { c.Close() })
	return &wire{Conn: c, t: w.t, r: bufio.NewReader(c)}
}

// ask sends a request and reads the answer to its end.
func (c *wire) ask(method, request string) (*http.Response, string) {
	c.t.Helper()
	_, err := io.WriteString(c, request)
	must(c.t, err)
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	must(c.t, err)
	body, err := io.ReadAll(res.Body)
	must(c.t, err)
	return res, string(body)
}

func TestEveryAnswerHasARequestIdAndLeavesTheConnectionAsItSays(t *testing.T) {
	w := newWorld(t, setup{})
	key := "Authorization: Bearer " + w.key + "\r\n"
	chat := `{"model":"deepseek-ocr","messages":[{"role":"user","content":"x"}]}`
	post := func(path, headers, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body)
	}
	ids := map[string]bool{}
	for _, c := range []struct {
		name, method, request string
		status                int
	}{
		{"an answer", "POST", post("/v1/chat/completions", key, chat), 200},
		{"an answer again", "POST", post("/v1/chat/completions", key, chat), 200},
		{"no key", "POST", post("/v1/chat/completions", "", chat), 401},
		{"bad JSON", "POST", post("/v1/chat/completions", key, "{"), 400},
		{"no such model", "POST", post("/v1/chat/completions", key, `{"model":"x","messages":[]}`), 404},
		{"no such path", "POST", post("/v1/nothing", key, chat), 404},
		{"no such page", "POST", post("/nothing", "", chat), 404},
		{"wrong method", "GET", "GET /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"HEAD of a POST route", "HEAD", "HEAD /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"wrong method, legacy", "GET", "GET /ocr HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"no file", "POST", post("/ocr", "Content-Type: multipart/form-data; boundary=x\r\n", "--x--\r\n"), 400},
		{"OPTIONS", "OPTIONS", "OPTIONS /ocr HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"OPTIONS of all", "OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"OPTIONS of OpenAI's", "OPTIONS", "OPTIONS /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"redirect", "GET", "GET /x//health HTTP/1.1\r\nHost: x\r\n\r\n", 404},
		{"redirect", "GET", "GET //health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"the page", "GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"HEAD of the page", "HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"HEAD of health", "HEAD", "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"HEAD of livez", "HEAD", "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"a body for livez", "POST", post("/livez", "", strings.Repeat("x", 1<<16)), 404},
		{"a body for health", "POST", post("/health", "", strings.Repeat("x", 1<<16)), 405},
		{"the models", "GET", "GET /v1/models HTTP/1.1\r\nHost: x\r\n" + key + "\r\n", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := w.dial()
			for range 2 { // the second shows that nothing of the first is left over
				res, body := conn.ask(c.method, c.request)
				if res.StatusCode != c.status {
					t.Errorf("got %d, want %d: %s", res.StatusCode, c.status, body)
				}
				id := res.Header.Get("X-Request-Id")
				if id == "" || ids[id] {
					t.Errorf("request id %q", id)
				}
				ids[id] = true
				if len(res.Header["Content-Type"]) != 1 && body != "" {
					t.Errorf("content types %q", res.Header["Content-Type"])
				}
				if res.Close {
					t.Fatal("it costs the connection")
				}
				if c.status == 405 && res.Header.Get("Allow") == "" {
					t.Error("405 does not say what is allowed") // RFC 9110, section 15.5.6
				}
			}
		})
	}
}

func TestHTTP10_GetsAStreamThatItCanRead(t *testing.T) {
	w := newWorld(t, setup{})
	body := chatBody(page(1), `,"stream":true`)
	for _, more := range []string{"", "Connection: keep-alive\r\n"} {
		conn := w.dial()
		res, got := conn.ask("POST", fmt.Sprintf("POST /v1/chat/completions HTTP/1.0\r\n%sAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", more, w.key, len(body), body))
		if res.StatusCode != 200 || len(res.TransferEncoding) > 0 || res.Header.Get("Transfer-Encoding") != "" {
			t.Errorf("%q: got %d, %v %v", more, res.StatusCode, res.TransferEncoding, res.Header)
		}
		if !strings.HasSuffix(got, "data: [DONE]\n\n") || !strings.HasPrefix(got, "data: {") {
			t.Errorf("%q: got %.80q ... %q", more, got, got[max(0, len(got)-80):])
		}
	}
}

func TestHTTP10_GetsAnAnswer(t *testing.T) {
	w := newWorld(t, setup{})
	conn := w.dial()
	body := chatBody(page(1), "")
	for range 2 {
		res, got := conn.ask("POST", fmt.Sprintf("POST /v1/chat/completions HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body))
		if res.StatusCode != 200 || !strings.Contains(got, `"finish_reason"`) || res.Header.Get("Connection") != "keep-alive" {
			t.Errorf("got %d %v: %s", res.StatusCode, res.Header, got)
		}
	}
}
