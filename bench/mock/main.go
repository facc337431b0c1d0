// Command mock is the backend that bench/run puts behind the proxies it
// measures. It speaks as much of vLLM's HTTP API as they need, and does so
// little for it that any proxy costs more: it reads requests from the
// connection as they come, never parses a body, and writes answers that were
// made before the first request.
//
// It is no stand-in for vLLM in tests (that is vllmsim): it takes any body for
// a question and gives everybody the same answer.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	latency := flag.Duration("latency", 0, "time before an answer or its first token")
	interToken := flag.Duration("inter-token", 0, "time between two tokens of a stream")
	tokens := flag.Int("tokens", 16, "tokens of an answer, at least 1")
	flag.Parse()
	l, err := net.Listen("tcp", "127.0.0.1:0") // any free port
	if err == nil {
		fmt.Println(l.Addr())
		b := &backend{*latency, *interToken, prepare(*tokens)}
		err = b.serve(l)
	}
	fmt.Fprintln(os.Stderr, "mock:", err)
	os.Exit(1)
}

type backend struct {
	latency    time.Duration
	interToken time.Duration
	answers    answers
}

// serve ends, with an error, when l can take no more connections; a connection
// ends with its client.
func (b *backend) serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go b.converse(c)
	}
}

// converse answers one connection's requests, one after another.
func (b *backend) converse(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	var body bytes.Buffer
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return // the client has left
		}
		body.Reset()
		if _, err := body.ReadFrom(request.Body); err != nil {
			return
		}
		if b.answer(c, request, body.Bytes()) != nil || request.Close {
			return
		}
	}
}

var (
	asksForStream = []byte(`"stream":true`)
	asksForUsage  = []byte(`"include_usage":true`)
)

func (b *backend) answer(c net.Conn, request *http.Request, body []byte) error {
	switch request.URL.Path {
	case "/health":
		return write(c, b.answers.health)
	case "/v1/models":
		return write(c, b.answers.models)
	case "/v1/chat/completions", "/ocr": // the latter for the floor, which forwards what it gets
		if bytes.Contains(body, asksForStream) {
			return b.stream(c, bytes.Contains(body, asksForUsage))
		}
		time.Sleep(b.latency)
		return write(c, b.answers.whole)
	}
	return write(c, b.answers.notFound)
}

// stream writes each token when it is due, as an event in a chunk of its own.
func (b *backend) stream(c net.Conn, usage bool) error {
	for i, token := range b.answers.tokens {
		if i == 0 {
			time.Sleep(b.latency)
		} else {
			time.Sleep(b.interToken)
		}
		if err := write(c, token); err != nil {
			return err
		}
	}
	if usage {
		return write(c, b.answers.endWithUsage)
	}
	return write(c, b.answers.end)
}

func write(c net.Conn, b []byte) error {
	_, err := c.Write(b)
	return err
}
