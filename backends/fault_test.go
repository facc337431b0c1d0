package backends_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ocrmux/backends"
	"ocrmux/backends/sim"
)

// connections is a server that does with every request on every connection
// what its script says. Requests other than completions it answers well.
type connections struct {
	// answer gets the number of the connection and of the completion on it, both
	// from 1. It reports false where the connection is to be closed.
	answer func(c net.Conn, r *bufio.Reader, conn, request int) bool

	mu    sync.Mutex
	conns []net.Conn // that brought a completion
	all   []net.Conn
	l     net.Listener
	wg    sync.WaitGroup
}

func (s *connections) Serve(l net.Listener) error {
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	for {
		c, err := l.Accept()
		if err != nil {
			s.wg.Wait()
			return err
		}
		s.mu.Lock()
		s.all = append(s.all, c)
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *connections) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		_ = c.Close()
	}
	if s.l == nil {
		return nil
	}
	return s.l.Close()
}

func (s *connections) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	number := 0
	for request := 1; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasPrefix(line, "POST") {
			for strings.TrimSpace(line) != "" && err == nil {
				line, err = r.ReadString('\n')
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			continue
		}
		if number == 0 {
			s.mu.Lock()
			s.conns = append(s.conns, c)
			number = len(s.conns)
			s.mu.Unlock()
		}
		if !s.answer(c, r, number, request) {
			return
		}
		request++
	}
}

// count is the number of connections that brought a completion.
func (s *connections) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// readRequest reads the rest of a request.
func readRequest(r *bufio.Reader) {
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.TrimSpace(line) == "" {
			break
		}
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	_, _ = io.CopyN(io.Discard, r, int64(length))
}

const wholeAnswer = `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}`

func writeAnswer(c net.Conn) {
	_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(wholeAnswer), wholeAnswer)
}

func newStandBeforeConnections(t *testing.T, servers ...*connections) *stand {
	t.Helper()
	var cfg backends.Config
	for i, server := range servers {
		cfg.Backends = append(cfg.Backends, backends.Backend{Name: fmt.Sprintf("b%d", i), URL: "http://" + serve(t, server)})
	}
	s := &stand{t: t}
	s.run(cfg)
	return s
}

func large(r *backends.Request) *backends.Request {
	b := r.Body.(*body)
	b.text = append(b.text, strings.Repeat(" ", 4<<20)...)
	return r
}

func TestPool_ReplaysOnAFreshConnectionWhatMetAnIdleOneBeingClosed(t *testing.T) {
	for _, size := range []string{"small", "large"} {
		server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
			if conn == 1 && request == 2 { // the request is here, the idle timeout strikes all the same
				return false
			}
			readRequest(r)
			writeAnswer(c)
			return true
		}}
		s := newStandBeforeConnections(t, server)
		for i := range 3 {
			r := chat(false)
			if size == "large" {
				r = large(r)
			}
			receipt, err := s.do(t.Context(), r, &collector{})
			if err != nil || receipt.Attempts != 1 {
				t.Errorf("%s, request %d: %v, %d attempts, want an answer to the first", size, i+1, err, receipt.Attempts)
			}
		}
		if b := s.Status().Backends[0]; b.State != "up" || b.Breaker != "closed" {
			t.Errorf("%s: %+v: held against the backend", size, b)
		}
		if n := server.count(); n < 2 || n > 3 {
			t.Errorf("%s: %d connections, want the closed one and a fresh one", size, n)
		}
		want := `# HELP ocrmux_retries_total Further attempts asked for, by what became of the one before: failed, lost, moved. With idle_closed the request was sent again to the same backend on a fresh connection.
# TYPE ocrmux_retries_total counter
ocrmux_retries_total{pool="test",reason="failed"} 0
ocrmux_retries_total{pool="test",reason="idle_closed"} 1
ocrmux_retries_total{pool="test",reason="lost"} 0
ocrmux_retries_total{pool="test",reason="moved"} 0
`
		if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want), "ocrmux_retries_total"); err != nil {
			t.Error(err)
		}
	}
}

func TestPool_ReplaysOnce(t *testing.T) {
	var posts atomic.Int32
	server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
		if posts.Add(1) > 1 {
			return false
		}
		readRequest(r)
		writeAnswer(c)
		return true
	}}
	s := newStandBeforeConnections(t, server)
	if _, err := s.do(t.Context(), chat(false), &collector{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.do(t.Context(), chat(false), &collector{}); !errors.Is(err, backends.ErrLost) {
		t.Errorf("got %v, want %v", err, backends.ErrLost)
	}
	if n := posts.Load(); n != 3 {
		t.Errorf("%d requests arrived, want the good one, the one on the closed connection, and its replay", n)
	}
}

func TestPool_MovesWhatLostItsConnection(t *testing.T) {
	partly := map[string]string{
		"before the head":      "",
		"inside the head":      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
		"inside a head's line": "HTTP/1.1 200 OK\r\nContent-Ty",
		"after the head":       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n",
		"inside the answer":    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"choices\":",
		"at a chunk's end":     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"inside a chunk":       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
		"inside a chunk's end": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r",
	}
	for name, head := range partly {
		server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
			readRequest(r)
			_, _ = io.WriteString(c, head)
			return false
		}}
		good := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
			readRequest(r)
			writeAnswer(c)
			return true
		}}
		s := newStandBeforeConnections(t, server, good)
		for server.count() == 0 {
			var sink collector
			if _, err := s.do(t.Context(), chat(false), &sink); err != nil || len(sink.events) != 1 {
				t.Fatalf("%s: %v, want an answer from the other", name, err)
			}
		}
		if n := server.count(); n != 1 {
			t.Errorf("%s: sent %d times, want no replay of what a fresh connection lost", name, n)
		}
		outcome := "lost"
		if name == "inside a head's line" { // net/http takes it for nonsense
			outcome = "failed"
		}
		if s.sum("ocrmux_backend_attempts_total", "b0", outcome) == 0 {
			t.Errorf("%s: not counted as %s", name, outcome)
		}
	}
}

func TestPool_HoldsNonsenseAgainstTheBackend(t *testing.T) {
	server := &connections{answer: func(c net.Conn, r *bufio.Reader, conn, request int) bool {
		readRequest(r)
		_, _ = io.WriteString(c, "canary-text is no HTTP\r\n\r\n")
		return false
	}}
	s := newStandBeforeConnections(t, server)
	_, err := s.do(t.Context(), chat(false), &collector{})
	if !errors.Is(err, backends.ErrMalformed) || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, want %v without what came", err, backends.ErrMalformed)
	}
}

func TestPool_MovesWhatWaitsOnASilentBackend(t *testing.T) {
	for name, stream := range map[string]bool{"whole": false, "stream": true} {
		s := newStand(t, 2, nil)
		s.fault(0, sim.Faults{Hang: true, Health: "hang"})
		s.fault(1, sim.Faults{Hang: true})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := s.do(context.Background(), chat(stream), &collector{}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		eventually(t, "both have work", func() bool { return s.received() == 8 })
		s.fault(1, sim.Faults{})
		wg.Wait()
		eventually(t, "the silent one's work is aborted", func() bool {
			st := s.sims[0].Stats()
			return st.Aborted == st.Received
		})
		s.idle()
	}
}

func TestPool_MovesAStreamThatFellSilentUnlessItIsCommitted(t *testing.T) {
	for _, commits := range []bool{false, true} {
		s := newStand(t, 2, nil)
		for i := range s.sims {
			s.fault(i, sim.Faults{MidStream: "hang", AfterEvents: 3, Health: "hang"})
		}
		sink := &collector{commits: commits}
		var receipt backends.Receipt
		ended := make(chan error, 1)
		go func() {
			var err error
			receipt, err = s.do(context.Background(), chat(true), sink)
			ended <- err
		}()
		eventually(t, "the stream hangs", func() bool { return sink.count() == 3 })
		hung := int(s.sims[1].Stats().Received)
		s.fault(1-hung, sim.Faults{})
		eventually(t, "the backend is suspect", func() bool { return s.Status().Backends[hung].State == "suspect" })
		if commits {
			s.fault(hung, sim.Faults{}) // the stream goes on where it was
		}
		if err := <-ended; err != nil || !sink.done {
			t.Errorf("commits %v: %v, want a complete answer", commits, err)
		}
		if stayed := receipt.Attempts == 1; stayed != commits {
			t.Errorf("commits %v: %d attempts", commits, receipt.Attempts)
		}
		if !commits && sink.begins[0].Commit() {
			t.Error("the void attempt could be committed after the move")
		}
		if !sink.begins[len(sink.begins)-1].Commit() {
			t.Error("the complete answer could not be committed afterwards")
		}
	}
}

func TestPool_LosesNothingWhenABackendIsKilled(t *testing.T) {
	s := newStand(t, 4, func(c *backends.Config) {
		for i := range c.Backends {
			c.Backends[i].MaxInFlight = 32
		}
	})
	for i := range s.sims {
		s.fault(i, sim.Faults{MidStream: "hang", AfterEvents: 2})
	}
	var wg sync.WaitGroup
	var failed atomic.Int32
	for i := range 64 {
		wg.Go(func() {
			var sink collector
			_, err := s.do(context.Background(), chat(i%2 == 0), &sink)
			if err != nil || i%2 == 0 && !sink.done || i%2 == 1 && len(sink.events) != 1 {
				failed.Add(1)
				t.Logf("client %d: %v", i, err)
			}
		})
	}
	eventually(t, "the victim holds work", func() bool { return s.received() == 64 && s.sims[0].Stats().InProgress >= 8 })
	_ = s.sims[0].Close()
	for i := range s.sims {
		s.fault(i, sim.Faults{})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 64 failed", n)
	}
}

func TestPool_KeepsToTheBackendThatLivesWhenAnotherIsKilled(t *testing.T) {
	s := newStand(t, 2, nil)
	_ = s.sims[0].Close()
	eventually(t, "the dead one is down", func() bool { return s.Status().Backends[0].State == "down" })
	for range 4 {
		receipt, err := s.do(t.Context(), chat(true), &collector{})
		if err != nil || receipt.Attempts != 1 || receipt.Backend != "b1" {
			t.Errorf("%v from %s in %d attempts, want b1 at once", err, receipt.Backend, receipt.Attempts)
		}
	}
	if !strings.Contains(s.log.String(), "backend=b0 was=up is=down") && !strings.Contains(s.log.String(), "is=down") {
		t.Errorf("the log does not tell that b0 is down:\n%s", s.log)
	}
}

func TestPool_LearnsWhatABackendServes(t *testing.T) {
	s := newStand(t, 2, func(c *backends.Config) { c.ModelsInterval = 30 * time.Millisecond })
	if got := s.MaxModelLen(model); got != 8192 {
		t.Errorf("max_model_len %d, want the stand-in's 8192", got)
	}
	if got := s.MaxModelLen("other"); got != 0 {
		t.Errorf("max_model_len of an unknown model %d, want 0", got)
	}
	if !s.Usable(model) || s.Usable("other") {
		t.Error("usable is wrong")
	}
	if got := s.Status().Backends[1].Models; len(got) != 1 || got[0] != model {
		t.Errorf("models %q", got)
	}
	r := chat(true)
	r.Model = "other"
	if _, err := s.do(t.Context(), r, &collector{}); err != backends.ErrUnavailable {
		t.Errorf("a model that nobody serves: %v, want %v", err, backends.ErrUnavailable)
	}
}

func TestPool_SaysOnceWhichConfiguredModelIsMissing(t *testing.T) {
	var lists atomic.Int32
	other := sim.New(sim.Config{Model: "other"})
	handler := other.Handler()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/models" {
			lists.Add(1)
		}
		handler.ServeHTTP(w, r)
	})}
	s := &stand{t: t}
	s.run(backends.Config{
		ModelsInterval: 10 * time.Millisecond,
		Backends:       []backends.Backend{{Name: "b0", URL: "http://" + serve(t, server)}},
	})
	eventually(t, "it was asked three times", func() bool { return lists.Load() >= 3 })
	if n := strings.Count(s.log.String(), "missing="+model); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, s.log)
	}
	if s.Usable(model) {
		t.Error("usable though nobody serves it")
	}
}

func TestPool_MetricsAreCleanAndReturnToZero(t *testing.T) {
	s := newStand(t, 2, nil)
	for range 3 {
		if _, err := s.do(t.Context(), chat(true), &collector{}); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for metric, want := range map[string]float64{
		"ocrmux_backend_in_flight": 0, "ocrmux_queue_length": 0, "ocrmux_backend_up": 2, "ocrmux_backend_attempts_total": 3,
	} {
		if got := s.sum(metric); got != want {
			t.Errorf("%s sums to %v, want %v", metric, got, want)
		}
	}
}

func TestNew_NamesWhatIsWrongWithoutTellingKeys(t *testing.T) {
	for _, url := range []string{"", "localhost:8000", "ftp://h", "http://h/v1", "http://user:canary@h", "http://h?key=canary", "http://%zz canary"} {
		_, err := backends.New(backends.Config{Name: "p", Backends: []backends.Backend{{Name: "b", URL: url, APIKey: "canary"}}}, backends.Deps{})
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), `"b"`) {
			t.Errorf("%q: %v, want an error that names the backend and nothing secret", url, err)
		}
	}
}
