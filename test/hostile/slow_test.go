package hostile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// slowClients is how many there are of each kind.
const slowClients = 200

// cut bounds how long a slow client may keep its connection under the timeouts of
// the tests below. A refused body is listened to for ten seconds and, after the
// answer, for two more.
const cut = 14 * time.Second

// A slow client connects and then does as little as keeps a connection alive
// elsewhere.
type slowClient struct {
	name  string
	begin string // what is sent at once
	drip  string // what is sent again and again, every quarter of a second
	read  bool   // answers are read; else their end is never seen
	long  bool   // takes its time: in full only
}

func TestSlowClientsAreCutInTimeAndNobodyElseWaits(t *testing.T) {
	s := stand.New(t, stand.Options{
		Backends: 1,
		Keys:     strings.Replace(keys, "keys:\n", withAnonymous+"keys:\n", 1),
		HTTP:     "header_timeout: 1s\nbody_timeout: 1s\nidle_timeout: 2s\nwrite_timeout: 1s",
		Sim:      []string{"-ttft", "1ms", "-tokens", "5"},
	})
	router := s.Routers[0]
	address := strings.TrimPrefix(router.URL, "http://")
	key := "Authorization: Bearer " + s.Key + "\r\n"
	kinds := []slowClient{
		{name: "says nothing", read: true},
		{name: "sends a head byte by byte", begin: "GET /v1/models HTTP/1.1\r\nX-A: ", drip: "a", read: true},
		{name: "sends headers without end", begin: "GET /v1/models HTTP/1.1\r\n", drip: "X-A: b\r\n", read: true},
		{name: "sends a body byte by byte", begin: "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + key + "Content-Length: 30000000\r\n\r\n" + padding[:20000], drip: "x", read: true},
		{name: "sends chunks of one byte", begin: "POST /ocr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", drip: "1\r\nx\r\n", read: true},
		{name: "sends a refused body byte by byte", begin: "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n" + padding[:20000], drip: "x", read: true, long: true},
		{name: "keeps its connection for nothing", begin: "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", read: true},
		{name: "reads nothing of its answers", begin: strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 2000)},
	}
	t.Run("together", func(t *testing.T) {
		slow(t, kinds, address, router.URL, s.Key)
	})
	stand.Eventually(t, "no request is left", func() bool { return router.Metric(t, "ocrmux_requests_in_flight") == 0 })
	if held := router.Metric(t, "ocrmux_body_memory_bytes"); held != 0 {
		t.Errorf("%.0f bytes of bodies are still held", held)
	}
}

// slow lets all kinds loose at once.
func slow(t *testing.T, kinds []slowClient, address, url, key string) {
	for _, kind := range kinds {
		if kind.long && !*full {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			others := serveOthers(t, url, key)
			var clients sync.WaitGroup
			began := time.Now()
			for range slowClients {
				clients.Go(func() {
					if err := kind.stay(address); err != nil {
						t.Error(err)
					}
				})
			}
			clients.Wait()
			took := time.Since(began)
			served, slowest := others.stop()
			t.Logf("all gone after %s; %d of others served meanwhile, the slowest in %s", took.Round(time.Millisecond), served, slowest.Round(time.Millisecond))
			if served < int64(took/time.Second) || slowest > 3*time.Second {
				t.Errorf("only %d of others were served, the slowest in %s", served, slowest)
			}
		})
	}
}

// stay keeps a connection for as long as the router lets it.
func (kind slowClient) stay(address string) error {
	c, err := dial(address)
	if err != nil {
		return err
	}
	defer c.Close()
	if !kind.read { // so little room that the answers cannot pile up here
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
	}
	ended := make(chan error, 1)
	_ = c.SetDeadline(time.Now().Add(cut))
	if kind.read {
		go func() {
			_, err := io.Copy(io.Discard, bufio.NewReader(c))
			ended <- err
		}()
	}
	_, err = io.WriteString(c, kind.begin)
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for err == nil {
		select {
		case err = <-ended:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("not cut in %s", cut)
			}
			return nil
		case <-again.C:
			if !kind.read { // whether the connection lives shows in writing only
				_, err = io.WriteString(c, "G")
			} else if kind.drip != "" {
				_, _ = io.WriteString(c, kind.drip) // after the answer nobody listens
			}
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("not cut in %s", cut)
	}
	return nil
}

func TestStreamsThatNobodyReadsAreCut(t *testing.T) {
	readers := 20 // at once: before a stream stalls, two processors have to write
	if *full {    // megabytes of it into buffers of the kernel
		readers = slowClients
	}
	s := stand.New(t, stand.Options{
		Backends: 1,
		Keys:     keys,
		HTTP:     "write_timeout: 1s",
		Sim:      []string{"-ttft", "1ms", "-tpot", "1us", "-tokens", "60000", "-max-model-len", "65536"},
	})
	router := s.Routers[0]
	address := strings.TrimPrefix(router.URL, "http://")
	const body = `{"model":"deepseek-ocr","stream":true,"max_tokens":60000,"messages":[{"role":"user","content":"Hello."}]}`
	began := time.Now()
	others := serveShortTexts(t, router.URL, s.Key)
	cutOff := func() int { return strings.Count(router.Log(t), "the client does not take its answer") }
	for i := range readers {
		if i%20 == 0 {
			stand.Eventually(t, "the streams before are cut", func() bool { return cutOff() >= i })
		}
		c, err := dial(address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", s.Key, len(body), body)
	}
	stand.Eventually(t, "all that nobody reads are cut", func() bool { return cutOff() >= readers })
	took := time.Since(began)
	served, slowest := others.stop()
	t.Logf("%d streams cut after %s; %d of others served meanwhile, the slowest in %s", readers, took.Round(time.Millisecond), served, slowest.Round(time.Millisecond))
	if n := cutOff(); n != readers {
		t.Errorf("%d were cut", n)
	}
	if served < int64(took/time.Second) || slowest > 3*time.Second {
		t.Errorf("only %d of others were served, the slowest in %s", served, slowest)
	}
	stand.Eventually(t, "the backend works for nobody", func() bool { return s.Backends[0].Stats(t).InProgress == 0 })
	stand.Eventually(t, "no request is left", func() bool { return router.Metric(t, "ocrmux_requests_in_flight") == 0 })
}
