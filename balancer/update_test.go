package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

// update names the backends that there are from now on, of so many slots each.
func (s *scene) update(maxInFlight int, names ...string) {
	cfg := balancer.Config{MaxQueue: 9}
	for _, n := range names {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: n, MaxInFlight: maxInFlight})
	}
	s.do(s.b.Update(s.now, cfg))
}

func (s *scene) names() (names string) {
	for _, be := range s.b.Status(s.now).Backends {
		names += be.Name
		if be.Leaving {
			names += "!"
		}
	}
	return names
}

func TestUpdate_KeepsWhatIsKnownOfBackendsThatStay(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 3, 4)
	s.fill(3)
	s.cordon("c", true)
	for range 3 {
		s.probe("b", balancer.ProbeFailed)
	}
	before := s.b.Status(s.now)
	s.effects = nil
	s.update(8, "c", "b", "a")
	s.wants()
	for _, was := range before.Backends {
		was.MaxInFlight = 8
		if is := s.backend(was.Name); is != was {
			t.Errorf("%+v after the update, was %+v", is, was)
		}
	}
	if s.names() != "cba" {
		t.Errorf("order %s, want that of the configuration", s.names())
	}
}

func TestUpdate_GivesWorkToNewBackendsOnceTheyAreUp(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	s.fill(2)
	s.effects = nil
	s.update(1, "a", "b")
	s.wants()
	s.state("b", balancer.Unknown)
	s.probe("b", balancer.ProbeSucceeded)
	s.wants("start b")
}

func TestUpdate_LetsWhatRunsOnARemovedBackendFinish(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 2)
	tickets := s.fill(4)
	held := s.holding("b", tickets)
	waiting := s.arrive()
	s.update(2, "a")
	s.wants()
	if s.names() != "ab!" || s.backend("b").Usable {
		t.Errorf("backends %s, want b to be leaving", s.names())
	}
	s.do(s.b.Progress(s.now, held[0]))
	s.done(held[0], balancer.Success, false)
	s.wants() // its slot is nobody's
	s.done(held[1], balancer.Failed, true)
	if s.names() != "a" {
		t.Errorf("backends %s after the last ticket, want a", s.names())
	}
	s.wants() // the retry waits for a
	for _, ticket := range tickets {
		if ticket != held[0] && ticket != held[1] {
			s.done(ticket, balancer.Success, false)
		}
	}
	s.wants("start a", "start a")
	s.done(held[1], balancer.Success, false)
	s.done(waiting, balancer.Success, false)
	if st := s.b.Status(s.now); st.InProgress != 0 {
		t.Errorf("%d in progress at the end", st.InProgress)
	}
}

func TestUpdate_TakesBackWhatHangsOnARemovedBackend(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 2)
	tickets := s.fill(2)
	held := s.holding("b", tickets)
	s.update(2, "a")
	s.silent["b"] = true
	s.pass(4 * time.Second)
	s.wants("move b", "start a")
	if s.names() != "a" {
		t.Errorf("backends %s, want b gone", s.names())
	}
	s.done(held[0], balancer.Success, false)
}

func TestUpdate_RemovedBackendsDoNotCountAmongThoseThatMayBeSuspect(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 5, 4)
	tickets := s.fill(20)
	for _, ticket := range tickets {
		s.b.Commit(ticket)
	}
	s.effects = nil
	s.update(4, "a", "b", "c")
	for _, be := range []string{"a", "b", "d", "e"} {
		s.silent[be] = true
	}
	s.pass(4 * time.Second)
	suspects := map[string]int{}
	for _, be := range s.b.Status(s.now).Backends {
		if be.State == balancer.Suspect {
			suspects[map[bool]string{true: "leaving", false: "staying"}[be.Leaving]]++
		}
	}
	if suspects["leaving"] != 2 || suspects["staying"] != 1 {
		t.Errorf("suspect: %v, want both that leave and one of the three that stay", suspects)
	}
}

func TestUpdate_BringsBackWhatIsNamedAgainBeforeItIsGone(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 2)
	s.fill(2)
	before := s.backend("b")
	s.update(2, "a")
	s.update(2, "b")
	if s.names() != "ba!" || s.backend("b") != before {
		t.Errorf("backends %s with %+v, want b as it was: %+v", s.names(), s.backend("b"), before)
	}
}

func TestUpdate_RefusesWhatWaitsForRemovedBackendsAlone(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	s.do(s.b.Serves(s.now, "a", []string{"x"}))
	s.do(s.b.Serves(s.now, "b", []string{"y"}))
	ask := func() *balancer.Ticket {
		ticket := s.ticket()
		ticket.Model = "y"
		s.do(s.b.Arrive(s.now, ticket))
		return ticket
	}
	running, waiting := ask(), ask()
	s.update(1, "a")
	s.refused(waiting, balancer.ErrNoBackend)
	s.done(running, balancer.Success, false)
	s.update(1, "a", "c") // in b's place, and not with b's models
	s.probe("c", balancer.ProbeSucceeded)
	s.do(s.b.Serves(s.now, "c", []string{"z"}))
	ask()
	s.wants("no backend is usable")
}

func TestUpdate_ShrinksWithoutTouchingWhatRuns(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 4)
	tickets := s.fill(4)
	s.arrive()
	s.effects = nil
	s.update(2, "a")
	s.wants()
	if be := s.backend("a"); be.InFlight != 4 || be.MaxInFlight != 2 {
		t.Errorf("%+v, want 4 of 2", be)
	}
	for _, ticket := range tickets[:2] {
		s.done(ticket, balancer.Success, false)
		s.wants()
	}
	s.done(tickets[2], balancer.Success, false)
	s.wants("start a")
	s.effects = nil
	s.fill(3)
	s.update(4, "a")
	s.wants("start a", "start a")
}

func TestUpdate_ChangesPolicyAndQueueInPlace(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 4}, 1, 1)
	s.fill(5)
	cfg := balancer.Config{MaxQueue: 2, Policy: balancer.RoundRobin, Backends: []balancer.Backend{{Name: "a", MaxInFlight: 1}}}
	s.effects = nil
	s.do(s.b.Update(s.now, cfg))
	s.wants() // who waits already goes on
	s.arrive()
	s.wants("the queue is full")
}
