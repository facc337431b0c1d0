package balancer_test

import (
	"testing"
	"time"

	"ocrmux/balancer"
)

func TestArrive_StartsOnTheLeastLoadedBackend(t *testing.T) {
	s := newScene(t, balancer.Config{}, 4, 8)
	s.fill(11)
	for i := range 4 {
		if n := s.backend(name(i)).InFlight; n < 2 || n > 3 {
			t.Errorf("backend %s holds %d of 11 tickets", name(i), n)
		}
	}
}

func TestArrive_GoesRoundWhereThePolicySaysSo(t *testing.T) {
	s := newScene(t, balancer.Config{Policy: balancer.RoundRobin}, 3, 8)
	first := s.arrive()
	s.done(first, balancer.Success, false)
	s.fill(3)
	s.wants("start a", "start b", "start c", "start a")
}

func TestQueue_HoldsWhatFindsNoRoomAndNoMore(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 1}, 1, 1)
	running := s.arrive()
	waiting := s.arrive()
	s.wants("start a")
	s.arrive()
	s.wants("the queue is full")
	s.done(running, balancer.Success, false)
	if s.started(waiting) != "a" {
		t.Error("the waiting ticket did not get the free slot")
	}
}

func TestQueue_EndsAWaitAtItsDeadline(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	s.arrive()
	s.effects = nil
	waiting := s.arrive()
	s.pass(9900 * time.Millisecond)
	s.wants()
	s.pass(100 * time.Millisecond)
	s.refused(waiting, balancer.ErrQueueTimeout)
}

func TestQueue_TakesNobodyWhoseDeadlineIsPast(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	first, late := s.ticket(), s.ticket()
	first.Deadline, late.Deadline = s.now, s.now
	s.do(s.b.Arrive(s.now, first))
	s.wants("start a") // it does not wait, so it may start
	s.do(s.b.Arrive(s.now, late))
	s.refused(late, balancer.ErrQueueTimeout)
}

func TestQueue_StartsInteractiveBeforeBatchAndElseInOrder(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	running := s.arrive()
	var want []*balancer.Ticket
	for _, class := range []balancer.Class{balancer.Batch, balancer.Interactive, balancer.Batch, balancer.Interactive} {
		ticket := s.ticket()
		ticket.Class = class
		s.do(s.b.Arrive(s.now, ticket))
		want = append(want, ticket)
	}
	for _, i := range []int{1, 3, 0, 2} {
		s.effects = nil
		s.done(running, balancer.Success, false)
		running = want[i]
		if s.started(running) != "a" {
			t.Fatalf("ticket %d did not come next", i)
		}
	}
}

func TestCancel_EndsATicketInEveryPhaseOnce(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 1, 1)
	running, next, leaving := s.arrive(), s.arrive(), s.arrive()
	s.effects = nil
	s.do(s.b.Cancel(s.now, leaving))
	s.do(s.b.Cancel(s.now, leaving))
	s.wants()
	if q := s.b.Status(s.now).Queued; q[balancer.Interactive] != 1 {
		t.Errorf("queued %v after a cancel, want 1", q)
	}
	s.do(s.b.Cancel(s.now, running))
	s.wants("start a")
	s.do(s.b.Cancel(s.now, next))
	s.done(next, balancer.Success, false)
	s.wants()
	if st := s.b.Status(s.now); st.InProgress != 0 || st.Backends[0].InFlight != 0 {
		t.Errorf("%d in progress, %d in flight at the end", st.InProgress, st.Backends[0].InFlight)
	}
}

func TestArrive_RefusesAtOnceWhereAllBackendsAreDown(t *testing.T) {
	s := newDarkScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	waiting := s.arrive()
	s.wants() // not probed yet: worth a wait
	s.probe("a", balancer.ProbeFailed)
	s.wants()
	s.probe("b", balancer.ProbeFailed)
	s.refused(waiting, balancer.ErrNoBackend)
	s.arrive()
	s.wants("no backend is usable")
}

func TestServes_KeepsAModelToTheBackendsThatListIt(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 9}, 2, 1)
	s.do(s.b.Serves(s.now, "a", []string{"ocr"}))
	s.do(s.b.Serves(s.now, "b", []string{"ocr", "ocr-2"}))
	ask := func(model string) *balancer.Ticket {
		ticket := s.ticket()
		ticket.Model = model
		s.do(s.b.Arrive(s.now, ticket))
		return ticket
	}
	if s.started(ask("ocr-2")) != "b" {
		t.Error("started where the model is not listed")
	}
	waiting := ask("ocr-2")
	s.wants()
	if s.started(ask("ocr")) != "a" {
		t.Error("a ticket that waits for another model is in the way")
	}
	s.refused(ask("other"), balancer.ErrNoBackend)
	s.do(s.b.Serves(s.now, "b", nil))
	s.refused(waiting, balancer.ErrNoBackend)
}
