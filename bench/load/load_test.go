package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// answering starts a server that gives every request the same bytes and closes.
func answering(t *testing.T, answer string) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, answer)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestOnlyRightAnswersCount(t *testing.T) {
	const (
		head   = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
		two    = "lorem lorem "
		done   = "data: [DONE]\n\n"
		forty  = "Content-Length: 40\r\n\r\n"
		hit    = "X-Ocrmux-Cache: hit\r\n"
		stream = "data: lorem\n\ndata: lorem\n\n"
	)
	whole, streamed, cached := scenario{words: 2}, scenario{words: 2, stream: true}, scenario{words: 2, cache: "hit"}
	for _, test := range []struct {
		name     string
		scenario scenario
		answer   string
		want     string // of the error
	}{
		{"right", whole, head + "\r\n" + two, ""},
		{"refused", whole, "HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n" + two, "status 503"},
		{"a token lost", whole, head + "\r\nlorem ", "not 2 tokens"},
		{"a token twice", whole, head + "\r\n" + two + two, "not 2 tokens"},
		{"cut", whole, head + forty + two, "unexpected EOF"},
		{"no answer", whole, "", "EOF"},
		{"right stream", streamed, head + "\r\n" + stream + done, ""},
		{"stream cut between events", streamed, head + "\r\n" + stream, "without [DONE]"},
		{"hit", cached, head + hit + "\r\n" + two, ""},
		{"miss", cached, head + "\r\n" + two, "x-ocrmux-cache"},
	} {
		p := plan{peer: peer{address: answering(t, test.answer)}, scenario: test.scenario, request: []byte("POST / HTTP/1.1\r\nHost: h\r\n\r\n")}
		all, err := p.converse(time.Time{})
		switch {
		case test.want == "" && (err != nil || len(all) != 1):
			t.Errorf("%s: %d answers, %v", test.name, len(all), err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestRequestsAreWhatTheirScenariosSay(t *testing.T) {
	sizes := map[string]int{
		"small": 600, "stream": 600, "ocr": 300_000, "upload": 300_000,
		"hit": 400_000, "hit_upload": 300_000, "miss": 400_000, "miss_upload": 300_000,
	}
	for _, s := range scenarios {
		raw, err := s.request("127.0.0.1:1", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if s.fresh {
			other := bytes.Clone(raw)
			stamp(raw, 1)
			stamp(other, 2)
			if bytes.Equal(raw, other) {
				t.Errorf("%s: the same twice", s.name)
			}
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("%s: %v, %q", s.name, err, r.Header)
		}
		if want := sizes[s.name]; len(body) < want*9/10 || len(body) > want*11/10 {
			t.Errorf("%s: %d bytes, want about %d", s.name, len(body), want)
		}
		if r.Header.Get("Content-Type") == jsonType && !json.Valid(body) {
			t.Errorf("%s: not JSON", s.name)
		}
	}
}

func TestTheRatioIsTheMedianOfTheRounds(t *testing.T) {
	pair := func(floor, router float64) round { return round{{cpuMicros: floor}, {cpuMicros: router}} }
	got := row("small", []round{pair(100, 50), pair(1000, 900), pair(100, 70)})
	if want := "| small | **0.70** | 0.50–0.90 | 70 / 100 | 14286 / 10000 |"; !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestCPUIsCounted spins until the kernel has charged this process for it.
func TestCPUIsCounted(t *testing.T) {
	self := peer{pid: os.Getpid()}
	before, err := self.usage()
	if err != nil {
		t.Fatal(err)
	}
	for time.Since(before.at) < 10*time.Second {
		now, err := self.usage()
		if err != nil {
			t.Fatal(err)
		}
		if now.proxy > before.proxy && now.bench > before.bench && now.machine > before.machine && now.peakMiB > 0 {
			return
		}
	}
	t.Error("no CPU was counted in ten seconds of work")
}
