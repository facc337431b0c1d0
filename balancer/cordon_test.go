package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

func (s *scene) cordon(name string, on bool) { s.do(s.b.Cordon(s.now, name, on)) }

func TestCordon_KeepsNewWorkAwayAndLetsRunWhatRuns(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 4)
	tickets := s.fill(4)
	held := s.holding("a", tickets)
	s.cordon("a", true)
	s.wants()
	if be := s.backend("a"); !be.Cordoned || be.Usable || be.State != balancer.Up || be.InFlight != len(held) {
		t.Errorf("%+v, want it cordoned, up and with what it had", be)
	}
	s.fill(2)
	s.wants("start b", "start b")
	for _, ticket := range held {
		s.do(s.b.Progress(s.now, ticket))
		s.done(ticket, balancer.Success, false)
	}
	if n := s.backend("a").InFlight; n != 0 {
		t.Errorf("%d in flight, want 0", n)
	}
	s.cordon("a", false)
	s.fill(2)
	s.wants("start a", "start a")
}

func TestCordon_StartsWhatWaitsWhenItIsLifted(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	s.cordon("a", true)
	s.fill(2)
	s.wants("start b")
	s.cordon("a", false)
	s.wants("start a")
}

func TestCordon_OfTheLastUsableRefusesWhatWaitsForIt(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	s.fill(2)
	s.effects = nil
	waiting := s.arrive()
	s.cordon("a", true)
	s.wants() // b will have room
	s.cordon("b", true)
	s.refused(waiting, balancer.ErrNoBackend)
	s.arrive()
	s.wants("no backend is usable")
}

func TestCordon_IsIndependentOfTheState(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1)
	s.cordon("a", true)
	s.now = s.now.Add(5 * time.Second)
	for range 3 {
		s.probe("a", balancer.ProbeFailed)
	}
	s.state("a", balancer.Down)
	for range 2 {
		s.probe("a", balancer.ProbeSucceeded)
	}
	s.state("a", balancer.Up)
	if be := s.backend("a"); !be.Cordoned || be.Usable {
		t.Errorf("%+v: a probe lifted the cordon", be)
	}
	s.cordon("nobody", true)
	s.wants()
}

func TestCordon_MovesNothingToWhatIsCordoned(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 4)
	ticket := s.arrive()
	victim, other := s.started(ticket), "a"
	if victim == "a" {
		other = "b"
	}
	s.cordon(other, true)
	s.silent[victim] = true
	s.pass(3 * time.Second)
	s.wants() // the last usable one is not suspected
	s.done(ticket, balancer.Lost, true)
	s.refused(ticket, balancer.ErrNoRetry)
}

// With all that may get work tripped, the trial comes early (openTrials): that
// of a cordoned backend would be nobody's.
func TestCordon_LeavesTheEarlyTrialToOthers(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	s.tripA()
	s.pass(2 * time.Second)
	s.breaker("a", balancer.Trial)
	s.done(s.onA(), balancer.Failed, false) // open for 4 s now
	s.cordon("a", true)
	s.pass(time.Second)
	for s.backend("b").Breaker == balancer.Closed {
		s.done(s.arrive(), balancer.Failed, false)
	}
	s.pass(time.Second)
	s.breaker("a", balancer.Open)
	s.pass(time.Second)
	s.breaker("b", balancer.Trial)
	s.breaker("a", balancer.Open)
}

func TestRaise_PutsATicketWhereItWouldBeHadItComeMoreUrgent(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	running := s.arrive()
	var tickets []*balancer.Ticket
	for _, class := range []balancer.Class{balancer.Interactive, balancer.Batch, balancer.Batch, balancer.Interactive} {
		ticket := s.ticket()
		ticket.Class = class
		s.do(s.b.Arrive(s.now, ticket))
		tickets = append(tickets, ticket)
		s.now = s.now.Add(time.Millisecond)
	}
	s.effects = nil
	s.do(s.b.Raise(s.now, tickets[2], balancer.Interactive))
	s.do(s.b.Raise(s.now, tickets[3], balancer.Batch)) // never less urgent
	s.wants()
	if q := s.b.Status(s.now).Queued; q != [2]int{3, 1} {
		t.Errorf("queued %v, want 3 and 1", q)
	}
	for _, i := range []int{0, 2, 3, 1} {
		s.effects = nil
		s.done(running, balancer.Success, false)
		running = tickets[i]
		if s.started(running) != "a" {
			t.Fatalf("ticket %d did not come next", i)
		}
	}
}

func TestRaise_CountsForLaterWaitsToo(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	ticket := s.ticket()
	ticket.Class = balancer.Batch
	s.do(s.b.Raise(s.now, ticket, balancer.Interactive)) // not there yet
	s.do(s.b.Arrive(s.now, ticket))
	s.arrive()
	s.effects = nil
	s.do(s.b.Raise(s.now, ticket, balancer.Interactive))
	s.done(ticket, balancer.Lost, true)
	if q := s.b.Status(s.now).Queued; q != [2]int{1, 0} {
		t.Errorf("queued %v, want one interactive", q)
	}
	ticket2 := s.ticket()
	ticket2.Class = balancer.Batch
	s.do(s.b.Arrive(s.now, ticket2))
	s.do(s.b.Raise(s.now, ticket2, balancer.Interactive))
	s.do(s.b.Cancel(s.now, ticket))
	s.do(s.b.Cancel(s.now, ticket2))
	if q := s.b.Status(s.now).Queued; q != [2]int{} {
		t.Errorf("queued %v, want none", q)
	}
}

func TestRaise_KeepsATicketThatWasTakenBackInFront(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 3, 1)
	first := s.ticket()
	first.Class = balancer.Batch
	s.do(s.b.Arrive(s.now, first))
	others := s.fill(3)
	s.effects = nil
	s.done(first, balancer.Lost, true)
	s.do(s.b.Raise(s.now, first, balancer.Interactive))
	if q := s.b.Status(s.now).Queued; q != [2]int{2, 0} {
		t.Errorf("queued %v, want interactive ones alone", q)
	}
	s.effects = nil
	s.done(others[0], balancer.Success, false)
	s.started(first)
}
