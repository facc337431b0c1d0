package balancer_test

import (
	"testing"

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
	first := s.effects[0].Backend
	other := s.effects[1].Backend
	s.arrive()
	s.effects = nil
	s.done(failing, balancer.Failed, true)
	s.wants("start " + first) // the one that waited; the retry may not go there
	s.arrive()
	s.done(running, balancer.Success, false)
	if s.started(failing) != other {
		t.Error("the retry did not come first")
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
