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

	"ocrmux/gateway"
)

// talk sends bytes as they are and returns what comes back within ten seconds,
// until the other side closes or, with first, after one answer.
func (w *world) talk(bytes string) (answers []string) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	must(w.t, err)
	defer c.Close()
	must(w.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(c, bytes)
	must(w.t, err)
	r := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(r, nil)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return answers
		}
		must(w.t, err)
		body, err := io.ReadAll(res.Body)
		must(w.t, err)
		answers = append(answers, fmt.Sprint(res.StatusCode, " ", string(body)))
	}
}

func TestABareLineFeedAfterTheRequestLineIsRefused(t *testing.T) {
	w := newWorld(t, setup{})
	const rest = "Host: a\r\nConnection: close\r\n\r\n"
	for line, want := range map[string]string{
		"GET /livez HTTP/1.1\r\n":     "200",
		"GET /livez HTTP/1.1\n":       "400",
		"\r\nGET /livez HTTP/1.1\r\n": "200",
		"\nGET /livez HTTP/1.1\r\n":   "400",
		"\r\nGET /livez HTTP/1.1\n":   "400",
	} {
		got := w.talk(line + rest)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: %q instead of %s", line, got, want)
		}
	}
}

func TestABareLineFeedIsFoundInEveryRequestOfAConnection(t *testing.T) {
	w := newWorld(t, setup{})
	c, err := net.Dial("tcp", w.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	r := bufio.NewReader(c)
	for i, want := range []int{200, 200, 400} {
		end := "\r\n"
		if want == 400 {
			end = "\n"
		}
		_, err := io.WriteString(c, "GET /livez HTTP/1.1"+end+"Host: a\r\n\r\n")
		must(t, err)
		res, err := http.ReadResponse(r, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, err)
		if res.StatusCode != want {
			t.Errorf("request %d: %d", i, res.StatusCode)
		}
	}
}

func TestRequestsOneBehindTheOtherAreAllAnswered(t *testing.T) {
	w := newWorld(t, setup{})
	post := func(body string) string {
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", w.key, len(body), body)
	}
	got := w.talk(post("{}") + post("{\n}") + post(strings.Repeat("\n", 9000)) +
		"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if len(got) != 4 || !strings.HasPrefix(got[3], "200") {
		t.Errorf("%q", got)
	}
}

func TestTheClientOfARefusedUploadReadsWhyAfterItHasSentAll(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{Legacy: gateway.Legacy{MaxBody: 1 << 20}}})
	const size = 40 << 20 // more than is discarded before the answer
	got := w.talk(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
	if len(got) != 1 || !strings.HasPrefix(got[0], "401") {
		t.Errorf("%.300q", got)
	}
}

func TestAKeyWithoutItsSchemeIsWrong(t *testing.T) {
	w := newWorld(t, setup{})
	for _, credential := range []string{w.key, "Basic " + w.key, "Token " + w.key} {
		got := w.do("GET", "/v1/models", "", nil, "Authorization", credential)
		if got.status != http.StatusUnauthorized {
			t.Errorf("%.10s...: %d", credential, got.status)
		}
	}
}
