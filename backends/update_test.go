package backends_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends"
	"ocrmux/backends/sim"
)

// update changes the configuration that the stand runs with.
func (s *stand) update(edit func(*backends.Config)) {
	s.t.Helper()
	s.cfg.Backends = slices.Clone(s.cfg.Backends)
	edit(&s.cfg)
	if err := s.Update(s.cfg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) backend(name string) backends.BackendStatus {
	s.t.Helper()
	for _, b := range s.Status().Backends {
		if b.Name == name {
			return b
		}
	}
	s.t.Fatalf("no backend %s", name)
	return backends.BackendStatus{}
}

func (s *stand) isUp(name string) func() bool {
	return func() bool { return s.backend(name).State == "up" }
}

// TestUpdate_FailsNoRequest changes everything that can be changed 200 times
// under load.
func TestUpdate_FailsNoRequest(t *testing.T) {
	s := newStand(t, 4, func(c *backends.Config) { c.MaxQueue = 100 })
	all := slices.Clone(s.cfg.Backends)
	s.update(func(c *backends.Config) { c.StallSilence, c.DownAfter = time.Minute, 1000 }) // this machine may be busy
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var served atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				sink := &collector{commits: n%3 == 0}
				if _, err := s.do(context.Background(), chat((n+i)%2 == 0), sink); err != nil {
					t.Errorf("a request failed: %v", err)
				}
				served.Add(1)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 1))
	for n := range 200 {
		s.update(func(c *backends.Config) {
			c.Backends = []backends.Backend{all[0]} // so that somebody is there
			for _, b := range all[1:] {
				switch random.IntN(4) {
				case 0: // missing
				case 1: // another of the same name
					b.URL = all[1+random.IntN(3)].URL
					fallthrough
				default:
					b.MaxInFlight = 1 + random.IntN(8)
					c.Backends = append(c.Backends, b)
				}
			}
			random.Shuffle(len(c.Backends), func(i, j int) { c.Backends[i], c.Backends[j] = c.Backends[j], c.Backends[i] })
			c.Policy = []string{"least_loaded", "round_robin"}[n%2]
			c.MaxQueue = 50 + random.IntN(100)
			c.RetryMin = 1 + random.IntN(5)
			c.ProbeInterval = time.Duration(5+random.IntN(20)) * time.Millisecond
		})
		if b := s.backend("b0"); b.State != "up" {
			t.Errorf("update %d: %+v, want it unchanged", n, b)
		}
		before := served.Load()
		eventually(t, "requests go on", func() bool { return served.Load() > before+2 })
	}
	stop()
	wg.Wait()
	s.idle()
	eventually(t, "nobody leaves any more", func() bool { return len(s.Status().Leaving) == 0 })
	t.Logf("%d requests beside 200 updates, by server: %d %d %d %d", served.Load(),
		s.sims[0].Stats().Received, s.sims[1].Stats().Received, s.sims[2].Stats().Received, s.sims[3].Stats().Received)
	for i, server := range s.sims {
		if server.Stats().Received == 0 {
			t.Errorf("server %d got no work", i)
		}
	}
}

func TestUpdate_KeepsWhatIsKnownOfUnchangedBackends(t *testing.T) {
	connections := make(map[string]bool) // by the pool's port
	var mu sync.Mutex
	s := newStandBefore(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		mu.Unlock()
		_, _ = w.Write([]byte(wholeAnswer))
	}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	ask := func() error {
		_, err := s.do(t.Context(), chat(false), &collector{})
		return err
	}
	for s.backend("b1").Breaker == "closed" { // tried again where it works
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Cordon("b1"); err != nil {
		t.Fatal(err)
	}
	before := s.backend("b1")
	s.update(func(c *backends.Config) {
		c.Backends[0].MaxInFlight = 5
		c.Backends[0].URL += "/"
		c.ProbeInterval = time.Hour // so that no probe brings back what an update forgot
	})
	if err := ask(); err != nil {
		t.Errorf("at once after the update: %v", err)
	}
	if b := s.backend("b0"); b.State != "up" || b.MaxInFlight != 5 {
		t.Errorf("%+v, want it up with 5 slots", b)
	}
	after := s.backend("b1")
	if !after.Cordoned || after.State != "up" || after.Breaker == "closed" || after.Breaker != before.Breaker && before.Breaker != "open" {
		t.Errorf("%+v, was %+v", after, before)
	}
	if len(connections) != 1 {
		t.Errorf("%d connections, want the one from before the update", len(connections))
	}
}

func TestUpdate_LetsWhatRunsOnARemovedBackendFinish(t *testing.T) {
	for _, change := range []string{"removed", "another address", "another key"} {
		s := newStand(t, 2, nil)
		if err := s.Cordon("b1"); err != nil {
			t.Fatal(err)
		}
		s.fault(0, sim.Faults{MidStream: "hang", AfterEvents: 3})
		sink := &collector{}
		ended := make(chan error, 1)
		var receipt backends.Receipt
		go func() {
			var err error
			receipt, err = s.do(context.Background(), chat(true), sink)
			ended <- err
		}()
		eventually(t, "it runs on b0", func() bool { return sink.count() == 3 })
		if err := s.Uncordon("b1"); err != nil {
			t.Fatal(err)
		}
		probes := s.sims[0].Stats()
		s.update(func(c *backends.Config) {
			switch change {
			case "removed":
				c.Backends = c.Backends[1:]
			case "another address":
				c.Backends[0].URL = c.Backends[1].URL
			case "another key":
				c.Backends[0].APIKey = "wrong"
			}
		})
		if l := s.Status().Leaving; len(l) != 1 || l[0].Name != "b0" || l[0].InFlight != 1 || l[0].State != "up" {
			t.Errorf("%s: leaving %+v, want b0 with one request", change, l)
		}
		if n := s.sum("ocrmux_backend_in_flight", "b0"); n != 1 {
			t.Errorf("%s: %v in flight on b0, want 1", change, n)
		}
		if change == "another address" {
			again := make(chan error, 1)
			both := func() bool { return s.sum("ocrmux_backend_in_flight", "b0") == 2 }
			release := make(chan struct{})
			_ = s.Cordon("b1")
			eventually(t, "the new b0 is up", s.isUp("b0"))
			go func() {
				_, err := s.do(context.Background(), chat(false), &collector{onTake: func() { <-release }})
				again <- err
			}()
			eventually(t, "one request runs on each b0", both)
			close(release)
			if err := <-again; err != nil {
				t.Errorf("the request on the new b0: %v", err)
			}
			_ = s.Uncordon("b1")
		}
		if change == "another key" { // which opens nothing
			_ = s.Cordon("b0")
		}
		for range 4 {
			if r, err := s.do(t.Context(), chat(false), &collector{}); err != nil || change == "removed" && r.Backend != "b1" {
				t.Errorf("%s: %v from %s, want an answer", change, err, r.Backend)
			}
		}
		if n := s.sims[0].Stats().Received; n != probes.Received {
			t.Errorf("%s: %d requests came to the removed backend afterwards", change, n-probes.Received)
		}
		s.fault(0, sim.Faults{})
		if err := <-ended; err != nil || !sink.done || receipt.Attempts != 1 || receipt.Backend != "b0" {
			t.Errorf("%s: %v after %d attempts, want its whole answer from where it was", change, err, receipt.Attempts)
		}
		eventually(t, change+": it is gone", func() bool { return len(s.Status().Leaving) == 0 })
		if change == "removed" {
			eventually(t, "its series are gone", func() bool { return s.series("b0") == 0 })
			continue
		}
		for range 3 { // what was counted under the name stays
			time.Sleep(s.cfg.Tick)
			if n := s.sum("ocrmux_backend_attempts_total", "b0", "success"); n < 1 {
				t.Errorf("%s: %v successes of b0 counted", change, n)
			}
		}
	}
}

// A backend that has left and comes again before the pool has cleared it away
// is a new one all the same.
func TestUpdate_BringsBackNothingThatHasLeft(t *testing.T) {
	s := newStand(t, 2, nil)
	s.update(func(c *backends.Config) { c.Tick = time.Hour })
	_ = s.Cordon("b0")
	s.fault(1, sim.Faults{MidStream: "hang", AfterEvents: 1})
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(context.Background(), chat(true), &collector{})
		ended <- err
	}()
	eventually(t, "it runs", func() bool { return s.received() == 1 })
	both := s.cfg.Backends
	s.update(func(c *backends.Config) { c.Backends = both[:1]; c.ProbeInterval = time.Hour })
	s.fault(1, sim.Faults{})
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.update(func(c *backends.Config) { c.Backends = both; c.ProbeInterval = time.Millisecond })
	eventually(t, "it is up", s.isUp("b1"))
	if receipt, err := s.do(t.Context(), chat(false), &collector{}); err != nil || receipt.Backend != "b1" {
		t.Errorf("%v from %s, want b1", err, receipt.Backend)
	}
	r := chat(false)
	r.Model = "not served"
	if _, err := s.do(t.Context(), r, &collector{}); err != backends.ErrUnavailable {
		t.Errorf("a model that it does not list: %v, want %v", err, backends.ErrUnavailable)
	}
}

func TestUpdate_TakesWhatHangsOffARemovedBackend(t *testing.T) {
	s := newStand(t, 2, nil)
	_ = s.Cordon("b1")
	s.fault(0, sim.Faults{Hang: true, Health: "hang"})
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(context.Background(), chat(true), &collector{})
		ended <- err
	}()
	eventually(t, "it hangs", func() bool { return s.received() == 1 })
	_ = s.Uncordon("b1")
	s.update(func(c *backends.Config) { c.Backends = c.Backends[1:] })
	if err := <-ended; err != nil {
		t.Errorf("%v, want it moved", err)
	}
	eventually(t, "it is gone", func() bool { return len(s.Status().Leaving) == 0 })
}

// counting is a server that counts its probes and its connections.
type counting struct {
	probes, open atomic.Int64
}

func (c *counting) start(t *testing.T) (url string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) { c.probes.Add(1) })
	mux.HandleFunc("POST /v1/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(wholeAnswer)) })
	return "http://" + serve(t, &http.Server{Handler: mux, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			c.open.Add(1)
		case http.StateClosed:
			c.open.Add(-1)
		}
	}})
}

func TestUpdate_LeavesNothingOfARemovedBackend(t *testing.T) {
	servers := []*counting{{}, {}}
	s := &stand{t: t}
	var cfg backends.Config
	for i, server := range servers {
		cfg.Backends = append(cfg.Backends, backends.Backend{Name: fmt.Sprintf("b%d", i), URL: server.start(t)})
	}
	s.run(cfg)
	_ = s.Cordon("b0")
	for range 4 {
		if _, err := s.do(t.Context(), chat(false), &collector{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Uncordon("b0")
	if s.series("b1") == 0 {
		t.Fatal("there are no series of b1")
	}
	s.update(func(c *backends.Config) { c.Backends = c.Backends[:1] })
	began := time.Now()
	eventually(t, "no connection is left", func() bool { return servers[1].open.Load() == 0 })
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("its connections were closed after %v, want at once", took)
	}
	if n := s.series("b1"); n != 0 {
		t.Errorf("%d series of b1 are left", n)
	}
	probes := servers[1].probes.Load()
	before := servers[0].probes.Load()
	eventually(t, "the other is probed", func() bool { return servers[0].probes.Load() > before+5 })
	if n := servers[1].probes.Load(); n != probes {
		t.Errorf("%d probes came afterwards", n-probes)
	}

	s.update(func(c *backends.Config) { c.Backends = cfg.Backends }) // from the beginning
	if b := s.backend("b1"); b.State != "unknown" {
		t.Errorf("%+v, want it as new", b)
	}
	eventually(t, "it is up", s.isUp("b1"))
	if s.series("b1") == 0 || s.sum("ocrmux_backend_attempts_total", "b1") != 0 {
		t.Errorf("%d series of b1 with %v attempts, want fresh ones", s.series("b1"), s.sum("ocrmux_backend_attempts_total", "b1"))
	}
}

// series counts those that have the label's value.
func (s *stand) series(value string) (n int) {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetValue() == value {
					n++
				}
			}
		}
	}
	return n
}

func TestUpdate_RefusesAWholeConfigurationForOneMistake(t *testing.T) {
	s := newStand(t, 2, nil)
	bad := s.cfg
	bad.Backends = append([]backends.Backend{{Name: "new", URL: "nonsense", APIKey: "canary"}}, s.cfg.Backends[1])
	for _, edit := range []func(*backends.Config){
		func(c *backends.Config) {},
		func(c *backends.Config) { c.Backends = nil },
		func(c *backends.Config) { c.Backends = s.cfg.Backends[:1]; c.Name = "another" },
		func(c *backends.Config) { c.Backends = s.cfg.Backends[:1]; c.Policy = "fastest" },
	} {
		cfg := bad
		edit(&cfg)
		if err := s.Update(cfg); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%+v: error %v, want one without secrets", cfg, err)
		}
	}
	if st := s.Status(); len(st.Backends) != 2 || len(st.Leaving) != 0 || st.Backends[0].State != "up" {
		t.Errorf("%+v, want it as it was", st)
	}
}

func TestUpdate_ChangesIntervalsOfProbesThatRun(t *testing.T) {
	server := &counting{}
	s := &stand{t: t}
	s.run(backends.Config{Backends: []backends.Backend{{Name: "b0", URL: server.start(t)}}})
	s.update(func(c *backends.Config) { c.ProbeInterval = time.Hour; c.Tick = time.Hour })
	probes := server.probes.Load() + 3 // as many may be under way
	s.update(func(c *backends.Config) { c.ProbeInterval = time.Millisecond; c.Tick = time.Millisecond })
	eventually(t, "it is probed often", func() bool { return server.probes.Load() > probes+20 })
}

func TestUpdate_SaysWhichOfTheNewModelsIsMissing(t *testing.T) {
	s := newStand(t, 1, nil)
	s.update(func(c *backends.Config) { c.Models = []string{model, "more"} })
	if !strings.Contains(s.log.String(), "backend=b0 missing=more") {
		t.Errorf("not said:\n%s", s.log)
	}
}

func TestUpdate_ForgetsTheContextLengthOfWhatIsRemoved(t *testing.T) {
	s := newStand(t, 1, nil)
	short := sim.New(sim.Config{Timing: &sim.Timing{}, MaxModelLen: 2048})
	s.update(func(c *backends.Config) {
		c.Backends = append(c.Backends, backends.Backend{Name: "short", URL: "http://" + serve(t, short)})
	})
	eventually(t, "it is up", s.isUp("short"))
	if n := s.MaxModelLen(model); n != 2048 {
		t.Errorf("max_model_len %d, want the smaller", n)
	}
	s.update(func(c *backends.Config) { c.Backends = c.Backends[:1] })
	if n := s.MaxModelLen(model); n != 8192 {
		t.Errorf("max_model_len %d, want that of the one that is left", n)
	}
}

func TestUpdate_BeforeRunHoldsFromItsBeginning(t *testing.T) {
	server := &counting{}
	good := backends.Backend{Name: "good", URL: server.start(t)}
	cfg := backends.Config{Name: "test", Backends: []backends.Backend{{Name: "bad", URL: "http://127.0.0.1:1"}}}
	p, err := backends.New(cfg, backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Backends = []backends.Backend{good}
	if err := p.Update(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	eventually(t, "it is up", func() bool { return p.Status().Backends[0].State == "up" })
	if st := p.Status(); len(st.Backends) != 1 || st.Backends[0].Name != "good" {
		t.Errorf("%+v, want the good one alone", st)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestClose_LetsAnotherPoolHaveTheName(t *testing.T) {
	s := newStand(t, 1, nil)
	deps := backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: s.registry}
	if _, err := backends.New(s.cfg, deps); err == nil {
		t.Fatal("two pools of one name")
	}
	s.fault(0, sim.Faults{MidStream: "hang", AfterEvents: 1})
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(context.Background(), chat(true), &collector{})
		ended <- err
	}()
	eventually(t, "a request runs", func() bool { return s.received() == 1 })
	gone := errors.New("no more patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if err := s.Wait(ctx); err != gone {
		t.Errorf("waiting for a pool that works: %v, want the context's cause", err)
	}
	s.Close()
	if n := s.series("test"); n != 0 {
		t.Errorf("%d series are left", n)
	}
	second, err := backends.New(s.cfg, deps) // while the first still works
	if err != nil {
		t.Fatal(err)
	}
	s.fault(0, sim.Faults{})
	if err := <-ended; err != nil {
		t.Errorf("the request of the closed pool: %v", err)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.series("test"); n == 0 {
		t.Error("no series of the second pool")
	}
	second.Close()
	if n := s.series("test"); n != 0 {
		t.Errorf("%d series are left of the second", n)
	}
}
