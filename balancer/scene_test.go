package balancer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ocrmux/balancer"
)

// scene is a balancer with a clock that the test turns.
type scene struct {
	*testing.T
	b       *balancer.Balancer
	now     time.Time
	silent  map[string]bool // backends that answer no probe
	probed  time.Duration   // since the last round of probes
	effects []balancer.Effect
}

// newScene has backends a, b, c ... that are up.
func newScene(t *testing.T, cfg balancer.Config, n, maxInFlight int) *scene {
	t.Helper()
	s := newDarkScene(t, cfg, n, maxInFlight)
	for i := range n {
		s.b.Probe(s.now, name(i), balancer.ProbeStarted)
		s.do(s.b.Probe(s.now, name(i), balancer.ProbeSucceeded))
	}
	return s
}

// newDarkScene has backends that were not probed yet.
func newDarkScene(t *testing.T, cfg balancer.Config, n, maxInFlight int) *scene {
	t.Helper()
	for i := range n {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: maxInFlight})
	}
	s := &scene{T: t, b: balancer.New(cfg, 1), now: time.Unix(1000, 0), silent: make(map[string]bool)}
	s.b.Tick(s.now)
	return s
}

func name(i int) string { return string(rune('a' + i)) }

// do keeps the effects of an event.
func (s *scene) do(effects []balancer.Effect) { s.effects = append(s.effects, effects...) }

// pass lets time pass in ticks of 100 ms, with a round of probes each second:
// answered at once, or failed after 2 s where the backend is silent.
func (s *scene) pass(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		s.now = s.now.Add(100 * time.Millisecond)
		if s.probed += 100 * time.Millisecond; s.probed == time.Second {
			s.probed = 0
			s.probeAll()
		}
		s.do(s.b.Tick(s.now))
	}
}

func (s *scene) probeAll() {
	for _, be := range s.b.Status(s.now).Backends {
		s.do(s.b.Probe(s.now, be.Name, balancer.ProbeStarted))
		if !s.silent[be.Name] {
			s.do(s.b.Probe(s.now, be.Name, balancer.ProbeSucceeded))
		}
	}
}

func (s *scene) probe(backend string, e balancer.ProbeEvent) {
	s.b.Probe(s.now, backend, balancer.ProbeStarted)
	s.do(s.b.Probe(s.now, backend, e))
}

// ticket waits for its first start at most 10 s.
func (s *scene) ticket() *balancer.Ticket {
	return &balancer.Ticket{Deadline: s.now.Add(10 * time.Second)}
}

func (s *scene) arrive() *balancer.Ticket {
	t := s.ticket()
	s.do(s.b.Arrive(s.now, t))
	return t
}

// fill lets tickets arrive until each of n backends holds so many.
func (s *scene) fill(n int) []*balancer.Ticket {
	var tickets []*balancer.Ticket
	for range n {
		tickets = append(tickets, s.arrive())
	}
	return tickets
}

func (s *scene) done(t *balancer.Ticket, o balancer.Outcome, again bool) {
	s.do(s.b.Done(s.now, t, o, again))
}

// wants compares the effects since the last call, as "start a", "move a" or
// the error of a refusal.
func (s *scene) wants(want ...string) {
	s.Helper()
	var got []string
	for _, e := range s.effects {
		switch e.Kind {
		case balancer.Start:
			got = append(got, "start "+e.Backend)
		case balancer.Move:
			got = append(got, "move "+e.Backend)
		case balancer.Refuse:
			got = append(got, e.Err.Error())
		}
	}
	s.effects = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Fatalf("effects are %q, want %q", got, want)
	}
}

// started returns where the last Start sent the ticket, and forgets the effects.
func (s *scene) started(t *balancer.Ticket) string {
	s.Helper()
	defer func() { s.effects = nil }()
	for i := len(s.effects) - 1; i >= 0; i-- {
		if e := s.effects[i]; e.Kind == balancer.Start && e.Ticket == t {
			return e.Backend
		}
	}
	s.Fatal("the ticket was not started")
	return ""
}

// refused wants the ticket to have been refused with err.
func (s *scene) refused(t *balancer.Ticket, err error) {
	s.Helper()
	for _, e := range s.effects {
		if e.Kind == balancer.Refuse && e.Ticket == t {
			if !errors.Is(e.Err, err) {
				s.Fatalf("refused with %v, want %v", e.Err, err)
			}
			s.effects = nil
			return
		}
	}
	s.Fatalf("not refused, want %v; effects %v", err, s.effects)
}

func (s *scene) backend(name string) balancer.BackendStatus {
	for _, be := range s.b.Status(s.now).Backends {
		if be.Name == name {
			return be
		}
	}
	s.Fatalf("no backend %q", name)
	return balancer.BackendStatus{}
}
