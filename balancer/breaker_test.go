package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

func (s *scene) breaker(backend string, want balancer.BreakerState) {
	s.Helper()
	if got := s.backend(backend).Breaker; got != want {
		s.Fatalf("breaker of %s is %v, want %v", backend, got, want)
	}
}

// onA brings a ticket to backend a, by keeping all others busy for good.
func (s *scene) onA() *balancer.Ticket {
	s.Helper()
	for range 100 {
		t := s.arrive()
		if s.started(t) == "a" {
			return t
		}
	}
	s.Fatal("backend a gets no work")
	return nil
}

// tripA lets three tickets fail on a.
func (s *scene) tripA() {
	s.Helper()
	for range 3 {
		s.done(s.onA(), balancer.Failed, false)
	}
	s.breaker("a", balancer.Open)
}

func TestBreaker_TripsOnThreeFailuresInARow(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	for _, o := range []balancer.Outcome{balancer.Failed, balancer.Failed, balancer.Success, balancer.Failed, balancer.Failed} {
		s.done(s.onA(), o, false)
		s.breaker("a", balancer.Closed)
	}
	s.done(s.onA(), balancer.Failed, false)
	s.breaker("a", balancer.Open)
}

func TestBreaker_AnAnswerThatBeganBeforeTheFailuresIsNoComfort(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	old := s.onA()
	s.now = s.now.Add(time.Second)
	s.done(s.onA(), balancer.Failed, false)
	s.done(s.onA(), balancer.Failed, false)
	s.do(s.b.Progress(s.now, old))
	s.done(old, balancer.Success, false)
	s.done(s.onA(), balancer.Failed, false)
	s.breaker("a", balancer.Open)
}

func TestBreaker_AFirstByteSinceTheFailuresIsOne(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	for range 3 {
		s.now = s.now.Add(time.Second)
		s.done(s.onA(), balancer.Failed, false)
		s.done(s.onA(), balancer.Failed, false)
		s.do(s.b.Progress(s.now, s.onA()))
	}
	s.breaker("a", balancer.Closed)
}

func TestBreaker_FirstBytesAreNoComfortWhereAnswersBreakOff(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	for range 3 {
		s.breaker("a", balancer.Closed)
		ticket := s.onA()
		s.do(s.b.Progress(s.now, ticket))
		s.now = s.now.Add(time.Second)
		s.done(ticket, balancer.Failed, false)
	}
	s.breaker("a", balancer.Open)
}

func TestBreaker_TripsOnThreeInTenOfAtLeastEight(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	for i, o := range []balancer.Outcome{
		balancer.Failed, balancer.Success, balancer.Failed, balancer.Success,
		balancer.Success, balancer.Success, balancer.Success,
	} {
		s.done(s.onA(), o, false)
		if s.backend("a").Breaker != balancer.Closed {
			t.Fatalf("tripped after %d outcomes", i+1)
		}
	}
	s.done(s.onA(), balancer.Failed, false)
	s.breaker("a", balancer.Open)
}

func TestBreaker_HoldsNothingAgainstABackendForRefusalsAndLeavers(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	for range 20 {
		s.done(s.onA(), balancer.Refused, false)
		s.do(s.b.Cancel(s.now, s.onA()))
	}
	s.breaker("a", balancer.Closed)
	s.state("a", balancer.Up)
}

func TestBreaker_OpensForTwiceAsLongEachTimeAndForgetsAfterAQuietMinute(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	s.tripA()
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		want *= time.Second
		if got := s.backend("a").OpenUntil.Sub(s.now); got != want {
			t.Fatalf("open for %v, want %v", got, want)
		}
		s.pass(want - 100*time.Millisecond)
		s.breaker("a", balancer.Open)
		s.pass(100 * time.Millisecond)
		s.breaker("a", balancer.Trial)
		s.done(s.onA(), balancer.Failed, false)
	}
	s.pass(time.Minute)
	for range 10 {
		s.done(s.onA(), balancer.Success, false)
	}
	s.breaker("a", balancer.Closed)
	s.pass(time.Minute)
	s.tripA()
	if got := s.backend("a").OpenUntil.Sub(s.now); got != 2*time.Second {
		t.Errorf("open for %v after a quiet minute, want 2s", got)
	}
}

func TestBreaker_ProvesABackendByFirstBytesWithFewPending(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 99}, 2, 100)
	s.tripA()
	s.pass(2 * time.Second)
	trial := s.onA()
	s.fill(20)
	if n := s.backend("a").InFlight; n != 1 {
		t.Fatalf("%d on trial, want 1", n)
	}
	proven := []*balancer.Ticket{trial}
	for len(proven) < 10 {
		s.do(s.b.Progress(s.now, proven[len(proven)-1]))
		s.breaker("a", balancer.Probation)
		proven = append(proven, s.onA())
		if len(proven)%2 == 0 {
			extra := s.onA()
			s.fill(5)
			if n := s.backend("a").InFlight; n != len(proven)+1 {
				t.Fatalf("%d in flight after %d proofs, want two pending", n, len(proven)-1)
			}
			s.do(s.b.Cancel(s.now, extra))
		}
	}
	s.do(s.b.Progress(s.now, proven[9]))
	s.breaker("a", balancer.Closed)
}

func TestBreaker_AnyFailureOnProbationReopens(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	s.tripA()
	s.pass(2 * time.Second)
	first := s.onA()
	s.do(s.b.Progress(s.now, first))
	s.done(s.onA(), balancer.Success, false)
	s.breaker("a", balancer.Probation)
	s.done(first, balancer.Failed, false)
	s.breaker("a", balancer.Open)
}

func TestBreaker_WhatStartedBeforeTheTripSaysNothingAboutTheTrial(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	good, bad := s.onA(), s.onA()
	s.tripA()
	s.pass(2 * time.Second)
	s.do(s.b.Progress(s.now, good))
	s.done(good, balancer.Success, false)
	s.breaker("a", balancer.Trial)
	trial := s.onA()
	s.done(bad, balancer.Failed, false)
	s.breaker("a", balancer.Trial)
	s.do(s.b.Progress(s.now, trial))
	s.breaker("a", balancer.Probation)
}

func TestBreaker_ATrialThatSaysNothingIsFollowedByAnother(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	s.tripA()
	s.pass(2 * time.Second)
	s.do(s.b.Cancel(s.now, s.onA()))
	s.breaker("a", balancer.Trial)
	s.done(s.onA(), balancer.Refused, false)
	s.breaker("a", balancer.Trial)
	s.onA()
}

func TestBreaker_ManyLossesAtOnceCountOnce(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	var tickets []*balancer.Ticket
	for range 16 {
		tickets = append(tickets, s.onA())
	}
	for _, ticket := range tickets {
		s.done(ticket, balancer.Lost, false)
	}
	s.breaker("a", balancer.Closed)
	s.probe("a", balancer.ProbeSucceeded)
	s.done(s.onA(), balancer.Lost, false)
	s.probe("a", balancer.ProbeSucceeded)
	s.breaker("a", balancer.Closed)
	s.done(s.onA(), balancer.Lost, false) // it resets connections while its probes lie
	s.breaker("a", balancer.Open)
}

func TestBreaker_ARestartedBackendNeedNotWaitItsTimeOut(t *testing.T) {
	s := newScene(t, balancer.Config{}, 2, 1000)
	s.tripA()
	s.now = s.now.Add(time.Second)
	for range 3 {
		s.probe("a", balancer.ProbeFailed)
	}
	for range 2 {
		s.probe("a", balancer.ProbeSucceeded)
	}
	s.breaker("a", balancer.Trial)
	s.onA()
}

func TestBreaker_WithAllOpenTicketsWaitForTheNextTrial(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 9)
	for range 6 {
		s.done(s.arrive(), balancer.Failed, false)
	}
	s.effects = nil
	s.breaker("a", balancer.Open)
	s.breaker("b", balancer.Open)
	waiting := s.arrive()
	s.wants()
	for range 20 { // however often a trial fails, the next one comes soon
		s.pass(2 * time.Second)
		s.started(waiting)
		s.done(waiting, balancer.Failed, false)
		waiting = s.arrive()
	}
}

func TestBreaker_OpenBeyondTheDeadlineIsNoHope(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1000)
	s.tripA()
	for range 2 {
		s.pass(s.backend("a").OpenUntil.Sub(s.now))
		s.done(s.onA(), balancer.Failed, false)
	}
	s.do(s.b.Serves(s.now, "b", nil)) // open for 8 s, and nobody else serves it
	patient, hurried := s.ticket(), s.ticket()
	hurried.Deadline = s.now.Add(7 * time.Second)
	s.do(s.b.Arrive(s.now, patient))
	s.wants()
	s.do(s.b.Arrive(s.now, hurried))
	s.refused(hurried, balancer.ErrNoBackend)
}
