package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

func (s *scene) state(backend string, want balancer.State) {
	s.Helper()
	if got := s.backend(backend).State; got != want {
		s.Fatalf("backend %s is %v, want %v", backend, got, want)
	}
}

// holding returns the tickets that were started on the backend, from those given.
func (s *scene) holding(backend string, tickets []*balancer.Ticket) (held []*balancer.Ticket) {
	at := make(map[*balancer.Ticket]string)
	for _, e := range s.effects {
		if e.Kind == balancer.Start {
			at[e.Ticket] = e.Backend
		}
	}
	for _, t := range tickets {
		if at[t] == backend {
			held = append(held, t)
		}
	}
	s.effects = nil
	return held
}

func TestProbe_OneSuccessBringsUpWhatWasNeverSeen(t *testing.T) {
	s := newDarkScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	s.state("a", balancer.Unknown)
	s.arrive()
	s.wants()
	s.probe("a", balancer.ProbeSucceeded)
	s.wants("start a")
}

func TestProbe_ThreeFailuresTakeDownAndTwoSuccessesBringBack(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1)
	s.now = s.now.Add(5 * time.Second)
	for _, step := range []struct {
		event balancer.ProbeEvent
		want  balancer.State
	}{
		{balancer.ProbeFailed, balancer.Up},
		{balancer.ProbeFailed, balancer.Up},
		{balancer.ProbeSucceeded, balancer.Up}, // the count begins again
		{balancer.ProbeFailed, balancer.Up},
		{balancer.ProbeFailed, balancer.Up},
		{balancer.ProbeFailed, balancer.Down},
		{balancer.ProbeSucceeded, balancer.Down},
		{balancer.ProbeFailed, balancer.Down},
		{balancer.ProbeSucceeded, balancer.Down},
		{balancer.ProbeSucceeded, balancer.Up},
	} {
		s.probe("a", step.event)
		s.state("a", step.want)
	}
}

func TestProbe_AFlowingAnswerOutweighsFailedProbes(t *testing.T) {
	s := newScene(t, balancer.Config{}, 1, 1)
	ticket := s.arrive()
	for range 10 {
		s.now = s.now.Add(time.Second)
		s.do(s.b.Progress(s.now, ticket))
		s.probe("a", balancer.ProbeFailed)
	}
	s.state("a", balancer.Up)
	for range 5 {
		s.now = s.now.Add(time.Second)
		s.probe("a", balancer.ProbeFailed)
	}
	s.state("a", balancer.Down)
}

func TestProbe_ErrorsDoNotOutweighFailedProbes(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 9)
	for range 3 {
		s.now = s.now.Add(time.Second)
		for _, ticket := range s.holding("a", s.fill(2)) {
			s.done(ticket, balancer.Refused, false)
		}
		s.probe("a", balancer.ProbeFailed)
	}
	s.state("a", balancer.Down)
}

func TestLost_TakesABackendOutUntilOneProbeSucceeds(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 4)
	ticket := s.arrive()
	victim := s.started(ticket)
	s.done(ticket, balancer.Lost, true)
	other := s.started(ticket)
	if other == victim {
		t.Fatal("tried again where it was lost")
	}
	s.state(victim, balancer.Out)
	s.arrive()
	s.wants("start " + other)
	s.probe(victim, balancer.ProbeSucceeded)
	s.arrive()
	s.wants("start " + victim)

	s.do(s.b.Cancel(s.now, ticket))
}

func TestLost_WithAFailedProbeIsDownAndNeedsOneSuccess(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 4)
	ticket := s.arrive()
	victim := s.started(ticket)
	s.do(s.b.Progress(s.now, ticket))
	s.now = s.now.Add(time.Millisecond)
	s.done(ticket, balancer.Lost, false)
	s.probe(victim, balancer.ProbeFailed) // the byte came before the loss
	s.state(victim, balancer.Down)
	s.probe(victim, balancer.ProbeSucceeded)
	s.state(victim, balancer.Up)
}

func TestLost_NeverTakesOutTheLastBackend(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 4)
	for range 2 {
		ticket := s.arrive()
		s.done(ticket, balancer.Lost, false)
	}
	up := 0
	for i := range 2 {
		if s.backend(name(i)).State == balancer.Up {
			up++
		}
	}
	if up != 1 {
		t.Errorf("%d backends are up after both lost work, want 1", up)
	}
}

func TestSilent_BackendIsSuspectedAndItsTicketsMoveInTime(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 64}, 4, 16)
	s.pass(700 * time.Millisecond)
	tickets := s.fill(40)
	held := s.holding("a", tickets)
	s.silent["a"] = true
	s.pass(2700 * time.Millisecond)
	moves, starts := 0, 0
	for _, e := range s.effects {
		switch {
		case e.Kind == balancer.Move && e.Backend == "a":
			moves++
		case e.Kind == balancer.Start && e.Backend != "a" && e.Attempt == 2:
			starts++
		default:
			t.Fatalf("unexpected effect %v on %s", e.Kind, e.Backend)
		}
	}
	if len(held) < 8 || moves != len(held) || starts != len(held) {
		t.Fatalf("of %d tickets on the silent backend %d moved and %d started elsewhere", len(held), moves, starts)
	}
	s.state("a", balancer.Suspect)
	s.effects = nil
	s.silent["a"] = false
	s.probe("a", balancer.ProbeSucceeded)
	s.arrive()
	s.wants("start a")
}

func TestSilent_CommittedTicketsStayAndTheirByteLiftsSuspicion(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	s.pass(900 * time.Millisecond)
	ticket := s.arrive()
	victim := s.started(ticket)
	s.do(s.b.Progress(s.now, ticket))
	if !s.b.Commit(ticket) {
		t.Fatal("a running ticket cannot be committed")
	}
	s.silent[victim] = true
	s.pass(3 * time.Second)
	s.wants()
	s.state(victim, balancer.Suspect)
	s.do(s.b.Progress(s.now, ticket))
	s.state(victim, balancer.Up)
}

func TestSilent_ProgressWithoutCommitDoesNotKeepATicket(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	ticket := s.arrive()
	victim := s.started(ticket)
	s.do(s.b.Progress(s.now, ticket))
	s.silent[victim] = true
	s.pass(4 * time.Second)
	if s.started(ticket) == victim {
		t.Error("still there")
	}
}

func TestSilent_SlowAnswersWithGoodProbesAreNoReason(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	s.fill(16)
	s.effects = nil
	s.pass(time.Minute)
	s.wants()
}

func TestSilent_MissedProbesWithBytesAreNoReason(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	ticket := s.arrive()
	victim := s.started(ticket)
	s.silent[victim] = true
	for range 20 {
		s.pass(time.Second)
		s.do(s.b.Progress(s.now, ticket))
	}
	s.wants()
	s.state(victim, balancer.Up)
}

func TestSilent_AtMostHalfAndNeverTheLast(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 5: 2} {
		s := newScene(t, balancer.Config{}, n, 16)
		s.fill(4 * n)
		for i := range n {
			s.silent[name(i)] = true
		}
		s.pass(4 * time.Second)
		suspects := 0
		for i := range n {
			if s.backend(name(i)).State == balancer.Suspect {
				suspects++
			}
		}
		if suspects != want {
			t.Errorf("of %d silent backends %d are suspect, want %d", n, suspects, want)
		}
	}
}

func TestSilent_IsNoReasonWhereTheOthersAreDown(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 16)
	s.fill(2)
	s.effects = nil
	s.now = s.now.Add(5 * time.Second)
	for range 3 {
		s.probe("b", balancer.ProbeFailed)
	}
	s.silent["a"], s.silent["b"] = true, true
	s.pass(10 * time.Second)
	s.state("a", balancer.Up)
}

func TestSilent_TheRoutersOwnPauseIsNoReason(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	s.fill(16)
	s.effects = nil
	for _, be := range []string{"a", "b", "c", "d"} {
		s.b.Probe(s.now, be, balancer.ProbeStarted)
	}
	s.now = s.now.Add(10 * time.Second)
	s.do(s.b.Tick(s.now))
	for range 10 {
		s.now = s.now.Add(100 * time.Millisecond)
		s.do(s.b.Tick(s.now))
	}
	s.wants()
}

func TestDown_TakesBackWhatCanRunElsewhere(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 16)
	free, bound := s.arrive(), s.arrive()
	atFree, atBound := "", ""
	for _, e := range s.effects {
		if e.Ticket == free {
			atFree = e.Backend
		} else {
			atBound = e.Backend
		}
	}
	s.effects = nil
	s.b.Commit(bound)
	s.now = s.now.Add(5 * time.Second)
	for range 3 {
		s.probe(atBound, balancer.ProbeFailed)
	}
	s.wants()
	s.probe(atBound, balancer.ProbeSucceeded)
	s.probe(atBound, balancer.ProbeSucceeded)
	for range 3 {
		s.probe(atFree, balancer.ProbeFailed)
	}
	s.wants("move "+atFree, "start "+atBound)
}

func TestDown_LeavesWorkWhereItIsUntilItCanRunElsewhere(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 16)
	tickets := s.fill(2)
	held := s.holding("a", tickets)
	s.silent["a"], s.silent["b"] = true, true
	for _, ticket := range tickets {
		if ticket != held[0] {
			s.b.Commit(ticket)
		}
	}
	s.now = s.now.Add(5 * time.Second)
	for range 3 {
		s.probe("b", balancer.ProbeFailed)
	}
	for range 3 {
		s.probe("a", balancer.ProbeFailed)
	}
	s.pass(time.Second)
	s.wants() // both are down: it may yet answer where it is
	s.probe("b", balancer.ProbeSucceeded)
	s.probe("b", balancer.ProbeSucceeded)
	s.pass(3 * time.Second)
	s.wants("move a", "start b")
}
