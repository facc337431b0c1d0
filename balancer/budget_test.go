package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

func TestRetry_GoesOnceToAnotherBackend(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	ticket := s.arrive()
	first := s.started(ticket)
	s.done(ticket, balancer.Failed, true)
	if s.started(ticket) == first {
		t.Fatal("tried again where it failed")
	}
	s.done(ticket, balancer.Failed, true)
	s.refused(ticket, balancer.ErrNoRetry)
}

func TestRetry_NeverVisitsMoreThanThreeBackends(t *testing.T) {
	for _, outcomes := range [][]balancer.Outcome{
		{balancer.Lost, balancer.Lost, balancer.Lost},
		{balancer.Lost, balancer.Failed, balancer.Lost},
		{balancer.Failed, balancer.Lost, balancer.Lost},
	} {
		s := newScene(t, balancer.Config{}, 8, 16)
		ticket := s.arrive()
		visited := map[string]bool{s.started(ticket): true}
		for i, o := range outcomes {
			s.done(ticket, o, true)
			if i < len(outcomes)-1 {
				visited[s.started(ticket)] = true
			}
		}
		s.refused(ticket, balancer.ErrNoRetry)
		if len(visited) != 3 {
			t.Errorf("%v: visited %v", outcomes, visited)
		}
	}
}

func TestRetry_AfterACommitIsRefused(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 16)
	ticket := s.arrive()
	s.b.Commit(ticket)
	s.done(ticket, balancer.Lost, true)
	s.refused(ticket, balancer.ErrNoRetry)
}

func TestRetry_WithoutAnotherBackendIsRefused(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 16)
	ticket := s.arrive()
	s.done(ticket, balancer.Lost, true)
	s.refused(ticket, balancer.ErrNoRetry)
}

func TestRetry_WaitsForABackendThatIsFullAheadOfAllOthers(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	failing, running := s.arrive(), s.arrive()
	first, other := s.effects[0].Backend, s.effects[1].Backend
	s.fill(2)
	s.effects = nil
	s.done(failing, balancer.Failed, true)
	s.wants("start " + first) // the first that waited; the retry may not go there
	s.done(running, balancer.Success, false)
	if s.started(failing) != other {
		t.Error("the retry did not come first")
	}
}

func TestRetry_WaitsAsLongAgainAsItsTicketCouldAtFirst(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	failing := s.arrive()
	s.arrive()
	s.pass(time.Minute)
	s.effects = nil
	s.done(failing, balancer.Lost, true)
	s.pass(9900 * time.Millisecond)
	s.wants()
	s.pass(100 * time.Millisecond)
	s.refused(failing, balancer.ErrNoRetry) // not a timeout: the caller knows better what failed
}

func TestMove_WaitsAsLongAgainAsItsTicketCouldAtFirst(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	moving, running := s.arrive(), s.arrive()
	victim, other := s.effects[0].Backend, s.effects[1].Backend
	s.pass(time.Minute)
	s.effects = nil
	s.silent[victim] = true
	s.pass(4 * time.Second)
	s.wants("move " + victim)
	s.pass(5 * time.Second)
	s.done(running, balancer.Success, false)
	if s.started(moving) != other {
		t.Error("the moved ticket did not start elsewhere")
	}
}

func TestRetry_BudgetBoundsFailuresButNotLosses(t *testing.T) {
	const n = 60 // in progress: at most 12 on their retry
	s := newScene(t, balancer.Config{MaxQueue: 99}, 60, 1)
	tickets := s.fill(n)
	s.effects = nil
	for _, ticket := range tickets {
		s.done(ticket, balancer.Failed, true)
	}
	granted := 0
	for _, e := range s.effects {
		if e.Kind == balancer.Start {
			granted++
		}
	}
	if st := s.b.Status(s.now); granted != 12 || st.Retrying != 12 {
		t.Errorf("%d retries granted (status says %d), want 12 of %d", granted, st.Retrying, n)
	}

	s = newScene(t, balancer.Config{MaxQueue: 99}, 60, 2)
	tickets = s.fill(n)
	s.effects = nil
	for _, ticket := range tickets[:n/2] {
		s.done(ticket, balancer.Lost, true)
	}
	for _, e := range s.effects {
		if e.Kind == balancer.Refuse {
			t.Fatal("a loss was charged to the budget")
		}
	}
}

func TestRetry_AtLeastThreeAtOnce(t *testing.T) {
	s := newScene(t, balancer.Config{}, 8, 16)
	for i, ticket := range s.fill(4) {
		s.effects = nil
		s.done(ticket, balancer.Failed, true)
		if i < 3 {
			s.started(ticket)
		} else {
			s.refused(ticket, balancer.ErrNoRetry)
		}
	}
}
