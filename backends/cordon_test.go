package backends_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/balancer"
)

func TestCordon_KeepsNewWorkFromABackend(t *testing.T) {
	s := newStand(t, 2, nil)
	if err := s.Cordon("b0"); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if receipt, err := s.do(t.Context(), chat(false), &collector{}); err != nil || receipt.Backend != "b1" {
			t.Errorf("%v from %s, want b1", err, receipt.Backend)
		}
	}
	if b := s.backend("b0"); !b.Cordoned || b.State != "up" {
		t.Errorf("%+v, want it cordoned and up", b)
	}
	if s.sum("ocrmux_backend_cordoned", "b0") != 1 || s.sum("ocrmux_backend_cordoned") != 1 {
		t.Error("the metric does not say that b0 is cordoned, and b0 alone")
	}
	if err := s.Cordon("b1"); err != nil {
		t.Fatal(err)
	}
	if s.Usable(model) {
		t.Error("usable though all are cordoned")
	}
	if _, err := s.do(t.Context(), chat(false), &collector{}); err != backends.ErrUnavailable {
		t.Errorf("%v, want %v", err, backends.ErrUnavailable)
	}
	if err := s.Uncordon("b0"); err != nil {
		t.Fatal(err)
	}
	if receipt, err := s.do(t.Context(), chat(false), &collector{}); err != nil || receipt.Backend != "b0" {
		t.Errorf("%v from %s, want b0", err, receipt.Backend)
	}
}

func TestCordon_NamesWhatItDoesNotKnow(t *testing.T) {
	s := newStand(t, 1, nil)
	for _, err := range []error{s.Cordon("b9"), s.Uncordon("b9"), s.Drain(t.Context(), "b9")} {
		if !errors.Is(err, backends.ErrUnknownBackend) {
			t.Errorf("%v, want %v", err, backends.ErrUnknownBackend)
		}
	}
}

func TestDrain_ReturnsWhenNothingRunsOnTheBackend(t *testing.T) {
	s := newStand(t, 2, nil)
	_ = s.Cordon("b1")
	s.fault(0, sim.Faults{MidStream: "hang", AfterEvents: 2})
	sink := &collector{}
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(context.Background(), chat(true), sink)
		ended <- err
	}()
	eventually(t, "it runs", func() bool { return sink.count() == 2 })
	_ = s.Uncordon("b1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx, "b0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v with a request on it, want the context's cause", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context(), "b0") }()
	if receipt, err := s.do(t.Context(), chat(false), &collector{}); err != nil || receipt.Backend != "b1" {
		t.Errorf("%v from %s, want b1", err, receipt.Backend)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained (%v) with a request on it", err)
	default:
	}
	s.fault(0, sim.Faults{})
	if err := <-ended; err != nil {
		t.Errorf("the request that ran: %v", err)
	}
	if err := <-drained; err != nil || s.backend("b0").InFlight != 0 || !s.backend("b0").Cordoned {
		t.Errorf("%v, %+v: want it cordoned and empty", err, s.backend("b0"))
	}
}

func TestUrgent_BringsAWaitingRequestBeforeThoseThatAreNot(t *testing.T) {
	for _, when := range []string{"before", "while it waits"} {
		s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight = 1 })
		release := s.hold()
		first := make(chan string, 3)
		ask := func(name string, r *backends.Request) {
			r.Class, r.Tenant = balancer.Batch, "t"
			queued := s.Status().Queued
			go func() {
				sink := &collector{}
				if _, err := s.do(context.Background(), r, sink); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				first <- name
			}()
			eventually(t, "it waits", func() bool { return s.Status().Queued == queued+1 })
		}
		ask("usual", chat(false))
		ask("usual", chat(false))
		urgent := make(chan struct{})
		if when == "before" {
			close(urgent)
		}
		r := chat(false)
		r.Urgent = urgent
		ask("urgent", r)
		if when != "before" {
			close(urgent)
		}
		eventually(t, "it is raised", func() bool { return s.sum("ocrmux_queue_length", "interactive") == 1 })
		release()
		if name := <-first; name != "urgent" {
			t.Errorf("%s: the %s one came first", when, name)
		}
		<-first
		<-first
	}
}
