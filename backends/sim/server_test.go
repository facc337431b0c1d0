package sim_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"ocrmux/backends/sim"
)

// atOnce takes no time and has pages of a fixed length.
func atOnce(tokens int) sim.Config {
	return sim.Config{
		Engine: sim.Synthetic{Tokens: sim.Range{Min: tokens, Max: tokens}},
		Timing: &sim.Timing{},
	}
}

// served is a stand-in behind a real socket.
type served struct {
	*sim.Server
	url string
}

func serve(t *testing.T, cfg sim.Config) served {
	t.Helper()
	s := sim.New(cfg)
	h := httptest.NewServer(s.Handler())
	t.Cleanup(h.Close)
	return served{s, h.URL}
}

func (s served) post(t *testing.T, path, body string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post(s.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const chatPath = "/v1/chat/completions"

// blank is a data URL of an empty page.
func blank(width, height int) string {
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(blankPNG(width, height))
}

func blankPNG(width, height int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var onePixel = blankPNG(1, 1)

// ocr is a chat request for a page; settings are further keys of its body.
func ocr(url, settings string) string {
	if settings != "" {
		settings = "," + settings
	}
	return fmt.Sprintf(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%q}},{"type":"text","text":"Free OCR."}]}]%s}`, url, settings)
}

// exact are the settings that leave a page's text as it is.
const exact = `"temperature":0,"skip_special_tokens":false,"vllm_xargs":{"ngram_size":30,"window_size":90,"whitelist_token_ids":[128821,128822]}`

type chatAnswer struct {
	ID      string
	Object  string
	Choices []struct {
		Index   int
		Message struct{ Role, Content string }
		Delta   struct {
			Role    string
			Content *string
		}
		Text         string
		FinishReason *string `json:"finish_reason"`
		StopReason   *string `json:"stop_reason"`
		Logprobs     *struct{ Content []struct{ Token string } }
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
	Error *struct {
		Message, Type string
		Param         *string
		Code          int
	}
}

func decode(t *testing.T, body string) chatAnswer {
	t.Helper()
	var a chatAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v in %.500q", err, body)
	}
	return a
}

// text asks for one whole answer and returns its text and finish reason.
func (s served) text(t *testing.T, body string) (text, finish string) {
	t.Helper()
	status, answer := s.post(t, chatPath, body)
	if status != http.StatusOK {
		t.Fatalf("got status %d: %s", status, answer)
	}
	a := decode(t, answer)
	return a.Choices[0].Message.Content, *a.Choices[0].FinishReason
}

// events splits a stream into the data of its events.
func events(t *testing.T, stream string) []string {
	t.Helper()
	parts := strings.Split(stream, "\n\n")
	if last := parts[len(parts)-1]; last != "" {
		t.Fatalf("stream ends inside an event: %q", last)
	}
	var out []string
	for _, p := range parts[:len(parts)-1] {
		data, ok := strings.CutPrefix(p, "data: ")
		if !ok || strings.Contains(data, "\n") {
			t.Fatalf("not an event: %q", p)
		}
		out = append(out, data)
	}
	return out
}

// inBubble runs f in a synctest bubble with a stand-in whose connections are
// pipes, so that its time is the bubble's.
func inBubble(t *testing.T, cfg sim.Config, f func(t *testing.T, s *sim.Server, client *http.Client)) {
	synctest.Test(t, func(t *testing.T) {
		s := sim.New(cfg)
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		transport := &http.Transport{DialContext: l.dial}
		f(t, s, &http.Client{Transport: transport})
		transport.CloseIdleConnections()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// pipes is a listener whose connections never leave the process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func chatRequest(ctx context.Context, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", "http://sim"+chatPath, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// pageText is an engine that always writes the same.
type pageText string

func (f pageText) Read(context.Context, sim.Page) (sim.Text, error) {
	return sim.Text{Content: string(f)}, nil
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func serveFunc(t *testing.T, f http.HandlerFunc) string {
	h := httptest.NewServer(f)
	t.Cleanup(h.Close)
	return h.URL
}
