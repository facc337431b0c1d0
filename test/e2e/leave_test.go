package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// leaver is a client that hangs up before its answer is there.
type leaver struct {
	label  string
	stream bool
	events int           // leave after this many events of a stream; 0: none
	after  time.Duration // leave after this long, or sooner with the events

	left time.Time
	seen int // events
	err  error
}

// leaverOf takes the kinds in turn. None stays as long as the shortest answer takes.
func leaverOf(i int, random *rand.Rand) *leaver {
	l := &leaver{label: fmt.Sprintf("leaver-%04d.", i), stream: i%4 != 3}
	switch i % 4 {
	case 0: // still queued, most of them
		l.after = time.Duration(30+random.IntN(120)) * time.Millisecond
	case 1: // before the first token, most of those that were sent
		l.events, l.after = 1, time.Duration(200+random.IntN(2000))*time.Millisecond
	case 2: // mid-stream
		l.events, l.after = 2+random.IntN(8), time.Minute
	default: // without streaming
		l.after = time.Duration(300+random.IntN(1500)) * time.Millisecond
	}
	return l
}

// run asks on a connection of its own and closes it, as a killed client would.
func (l *leaver) run(address, key string, p page) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		l.err = err
		return
	}
	body := chatBody(p, l.label, fmt.Sprintf(`,"stream":%v`, l.stream))
	if _, l.err = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, key, len(body), body); l.err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(l.after))
	lines := bufio.NewScanner(conn)
	for (l.events == 0 || l.seen < l.events) && lines.Scan() {
		if line := lines.Text(); l.seen == 0 && strings.HasPrefix(line, "HTTP/1.1 ") && !strings.Contains(line, " 200 ") || strings.HasSuffix(line, "[DONE]") || !l.stream {
			l.err = fmt.Errorf("was answered before it left: %s", line)
		} else if strings.HasPrefix(line, "data: ") {
			l.seen++
		}
	}
	if !timedOut(lines.Err()) && l.seen < l.events {
		l.err = fmt.Errorf("the router hung up first: %w", lines.Err())
	}
	l.left = time.Now()
	_ = conn.Close()
}

func timedOut(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// stayers read pages to the end: streaming, whole and by /ocr. Every request
// has a label of its own.
func stayers(t *testing.T, c *client, pages []page, n int) *load {
	return run(t, n, func(ctx context.Context, client, turn int) done {
		p := pages[(client*7+turn*13)%len(pages)]
		switch client % 3 {
		case 0:
			a, err := c.ocr(ctx, p)
			return done{kind: "ocr", err: same(a, err, p.ocr)}
		case 1:
			text, err := c.stream(ctx, p)
			return done{kind: "stream", err: same(answer{texts: []string{text}}, err, p.text)}
		default:
			a, err := c.chat(ctx, p)
			return done{kind: "chat", err: same(a, err, p.text)}
		}
	})
}

// gauges are what must be as before once nobody asks for anything.
var gauges = []string{
	"ocrmux_requests_in_flight", "ocrmux_queue_length", "ocrmux_backend_in_flight",
	"ocrmux_tenant_in_progress", "ocrmux_tenant_waiting", "ocrmux_body_memory_bytes",
}

var leaverLabel = regexp.MustCompile(`leaver-\d+\.`)

// It measures milliseconds, so it runs before the tests that run side by side,
// until it has nothing to do but wait.
func TestSoak_WhoLeavesCostsNothing(t *testing.T) {
	m := timing{first: 500 * time.Millisecond, token: 50 * time.Millisecond, shortest: 40, most: 60} // 2.45 to 3.45 s
	s := stand.New(t, stand.Options{
		Backends: 4, Sim: m.args(), MaxInFlight: form(22, 40),
		Config: noCache + "\nopenai: {queue: 1m}",
	})
	router := s.Routers[0]
	goroutines := router.Metric(t, "go_goroutines")
	for range 20 { // probes come and go
		goroutines = min(goroutines, router.Metric(t, "go_goroutines"))
	}
	goroutines++ // fasthttp's clock for Date headers starts with its first answer
	c := newClient(t, router.URL, s.Key)
	pages := learn(t, s, c, m, 20)
	for _, b := range s.Backends {
		b.Reset(t)
	}

	began := stayers(t, c, pages, askers)
	seed := rand.Uint64()
	leavers := leaveAll(t, strings.TrimPrefix(router.URL, "http://"), s.Key, pages, form(150, 1000), form(100, 200), seed)
	all := began.stop()
	tally(t, all)

	for _, b := range s.Backends {
		stand.Eventually(t, "the backends are idle", func() bool { return b.Stats(t).InProgress == 0 })
	}
	checkLeavers(t, s, leavers, int64(len(all)), seed)

	if n := router.Metric(t, "ocrmux_cancelled_total"); int(n) != len(leavers) {
		t.Errorf("ocrmux_cancelled_total is %v, want %d", n, len(leavers))
	}
	c.http.CloseIdleConnections()
	t.Parallel()
	for _, name := range gauges {
		stand.Eventually(t, name+" is zero", func() bool { return router.Metric(t, name) == 0 })
	}
	defer func() {
		if t.Failed() {
			t.Log(stand.Get(t, router.Admin+"/debug/pprof/goroutine?debug=1"))
		}
	}()
	stand.Eventually(t, fmt.Sprintf("the router has %v goroutines, as before", goroutines), func() bool {
		return router.Metric(t, "go_goroutines") <= goroutines
	})
}

// leaveAll runs n leavers, so many at a time.
func leaveAll(t *testing.T, address, key string, pages []page, n, atOnce int, seed uint64) []*leaver {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	all := make([]*leaver, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = leaverOf(i, random)
	}
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				all[i].run(address, key, pages[i%len(pages)])
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, l := range all {
		if l.err != nil {
			t.Errorf("%s %v", l.label, l.err)
		}
	}
	return all
}

// checkLeavers compares what the backends recorded with what the clients did.
func checkLeavers(t *testing.T, s *stand.Stand, leavers []*leaver, stayed int64, seed uint64) {
	t.Helper()
	sent := make(map[string]stand.Request)
	var aborted, completed int64
	for _, b := range s.Backends {
		stats := b.Stats(t)
		aborted += stats.Aborted
		completed += stats.Completed
		for _, r := range b.Requests(t) {
			if label := leaverLabel.Find(r.Body); label != nil {
				sent[string(label)] = r
			}
		}
	}
	phases := make(map[string]int)
	var delays []time.Duration
	for _, l := range leavers {
		r, ok := sent[l.label]
		switch {
		case !ok:
			phases["queued"]++
			continue
		case !l.stream:
			phases["non-streaming"]++
		case l.seen == 0:
			phases["before the first token"]++
		default:
			phases["mid-stream"]++
		}
		if r.Outcome != "aborted" {
			t.Errorf("the request of %s, which left, is %q at its backend", l.label, r.Outcome)
		}
		delays = append(delays, r.Ended.Sub(l.left))
	}
	slices.Sort(delays)
	p99 := delays[len(delays)*99/100]
	t.Logf("leavers (seed %d): %d left (%v), %d of them had been sent, aborted at the backends %d; from hang-up to abort: median %s, p99 %s, most %s; %d requests of those that stayed, completed at the backends %d",
		seed, len(leavers), phases, len(sent), aborted, delays[len(delays)/2], p99, delays[len(delays)-1], stayed, completed)
	if int(aborted) != len(sent) {
		t.Errorf("aborted at the backends: %d, want %d", aborted, len(sent))
	}
	if completed != stayed {
		t.Errorf("completed at the backends: %d, want %d", completed, stayed)
	}
	if p99 > 300*time.Millisecond {
		t.Errorf("p99 from hang-up to abort %s, want at most 300 ms", p99)
	}
	for _, phase := range []string{"queued", "before the first token", "mid-stream", "non-streaming"} {
		if 20*phases[phase] < len(leavers) {
			t.Errorf("%d of %d left %s: too few to show anything", phases[phase], len(leavers), phase)
		}
	}
}
