package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// start runs a mock of three tokens and returns a function that asks it.
func start(t *testing.T) (ask func(body string) (contentType, answer string)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- (&backend{answers: prepare(3)}).serve(l) }()
	// One connection for all: every answer has to leave it usable.
	var connections atomic.Int32
	client := &http.Client{Transport: &http.Transport{DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		if connections.Add(1) > 1 {
			return nil, errors.New("the first connection was not used again")
		}
		return net.Dial(network, address)
	}}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return func(body string) (string, string) {
		res, err := client.Post("http://"+l.Addr().String()+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		return res.Header.Get("Content-Type"), string(answer)
	}
}

// delta is what a client reads from an event.
type delta struct {
	Choices []struct {
		Delta        struct{ Content string }
		FinishReason string `json:"finish_reason"`
	}
	Usage *struct {
		CompletionTokens int `json:"completion_tokens"`
	}
}

func TestAStreamIsEventsThatEndWithDone(t *testing.T) {
	ask := start(t)
	for _, usage := range []bool{false, true, false} {
		body := `{"model":"mock","stream":true}`
		if usage {
			body = `{"model":"mock","stream":true,"stream_options":{"include_usage":true}}`
		}
		contentType, answer := ask(body)
		if !strings.HasPrefix(contentType, "text/event-stream") {
			t.Errorf("content type %q", contentType)
		}
		events, whole := strings.CutSuffix(answer, "data: [DONE]\n\n")
		if !whole {
			t.Fatalf("does not end with [DONE]: %q", answer)
		}
		var text, finish string
		counted := 0
		for event := range strings.SplitSeq(strings.TrimSuffix(events, "\n\n"), "\n\n") {
			data, ok := strings.CutPrefix(event, "data: ")
			var d delta
			if err := json.Unmarshal([]byte(data), &d); err != nil || !ok {
				t.Fatalf("event %q: %v", event, err)
			}
			for _, c := range d.Choices {
				text, finish = text+c.Delta.Content, c.FinishReason
			}
			if d.Usage != nil {
				counted += d.Usage.CompletionTokens
			}
		}
		if text != strings.Repeat(word, 3) || finish != "stop" || (counted == 3) != usage {
			t.Errorf("text %q, finish %q, %d tokens in usage, which was asked for: %t", text, finish, counted, usage)
		}
	}
}

func TestAWholeAnswerSaysTheSame(t *testing.T) {
	ask := start(t)
	for range 2 {
		contentType, answer := ask(`{"model":"mock"}`)
		var whole struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(answer), &whole); err != nil || contentType != "application/json" {
			t.Fatalf("%s %q: %v", contentType, answer, err)
		}
		if got := whole.Choices[0].Message.Content; got != strings.Repeat(word, 3) {
			t.Errorf("content %q", got)
		}
	}
}
