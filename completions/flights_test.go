package completions_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends"
	"ocrmux/balancer"
	"ocrmux/completions"
)

func TestFlight_EndsWithItsLastReader(t *testing.T) {
	p := slow(6, 0)
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		why := errors.New("why")
		a, b := s.Stream(t.Context(), accounted(stream(t, s, false), nil)), s.Stream(t.Context(), stream(t, s, false))
		time.Sleep(2500 * time.Millisecond)
		a.Close(nil)
		time.Sleep(time.Second)
		if p.running() != 1 || s.InProgress() != 1 {
			t.Fatal("it has ended with its opener")
		}
		b.Close(why)
		if p.running() != 0 || s.InProgress() != 0 || m.puts != 0 {
			t.Errorf("%d runs, %d flights, %d answers remembered after its last reader", p.running(), s.InProgress(), m.puts)
		}
		if p.cause() != why {
			t.Errorf("it was ended because of %v", p.cause())
		}
	})
}

// accounted is r with an account.
func accounted(r *completions.Request, account func(backends.Receipt)) *completions.Request {
	r.Account = account
	if account == nil {
		r.Account = func(backends.Receipt) {}
	}
	return r
}

func TestFlight_IsPaidOnceByItsOpener(t *testing.T) {
	for _, c := range []struct {
		name    string
		leaves  time.Duration // the opener
		ongoing bool
	}{{"to the end", time.Hour, false}, {"before the end", 2500 * time.Millisecond, true}} {
		within(t, slow(6, 0), func(t *testing.T, s *completions.Service, _ *memory) {
			var told []backends.Receipt
			ctx, cancel := context.WithTimeout(t.Context(), c.leaves)
			defer cancel()
			var opener *completions.Answer
			var err error
			var both sync.WaitGroup
			both.Go(func() {
				opener, err = s.Whole(ctx, accounted(page(s), func(r backends.Receipt) { told = append(told, r) }))
			})
			synctest.Wait()
			both.Go(func() {
				if a, err := s.Whole(t.Context(), body(t, s)); err != nil || a.Receipt.Busy != 0 || a.Receipt.Usage.TotalTokens != 10 || a.Receipt.Backend != "gpu0" || a.Cache != completions.Joined || a.Away != 9*time.Second {
					t.Errorf("%s: one who joined: %+v, %v", c.name, a, err)
				}
			})
			both.Wait()
			synctest.Wait()
			if opener.Ongoing != c.ongoing || (err != nil) != c.ongoing || len(told) != map[bool]int{true: 1}[c.ongoing] {
				t.Fatalf("%s: %+v, %v, told %+v", c.name, opener, err, told)
			}
			paid := opener.Receipt
			if c.ongoing {
				if paid.Busy != 0 || paid.Usage.TotalTokens != 0 || paid.Backend != "gpu0" {
					t.Errorf("%s: %+v, too early", c.name, paid)
				}
				paid = told[0]
			}
			if paid.Busy != 9*time.Second || paid.Usage.TotalTokens != 10 {
				t.Errorf("%s: %+v", c.name, paid)
			}
		})
	}
}

func TestFlight_KeepsAnOpenerThatHasNoAccountToItsEnd(t *testing.T) {
	within(t, slow(6, 0), func(t *testing.T, s *completions.Service, _ *memory) {
		opener := s.Stream(t.Context(), stream(t, s, false))
		joined := s.Stream(t.Context(), stream(t, s, false))
		began := time.Now()
		if receipt, _ := opener.Close(nil); receipt.Busy != 9*time.Second || time.Since(began) != 9*time.Second || opener.Ongoing() {
			t.Errorf("%+v after %v", receipt, time.Since(began))
		}
		joined.Close(nil)
	})
}

func TestFlight_OfATenantThatWantsItFinishedGoesOnOnceItHasASlot(t *testing.T) {
	for _, c := range []struct {
		leaves time.Duration
		want   int // answers remembered
	}{{time.Second, 0}, {4 * time.Second, 1}} {
		p := slow(6, 2*time.Second)
		within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
			var told []backends.Receipt
			r := accounted(stream(t, s, false), func(r backends.Receipt) { told = append(told, r) })
			r.Finish, r.QueueFor = true, time.Minute
			st := s.Stream(t.Context(), r)
			time.Sleep(c.leaves)
			st.Close(nil)
			if p.running() != c.want || st.Ongoing() != (c.want == 1) {
				t.Errorf("left after %v: %d runs", c.leaves, p.running())
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if m.puts != c.want || len(told) != c.want {
				t.Errorf("left after %v: %d remembered, told %+v", c.leaves, m.puts, told)
			}
		})
	}
}

func TestFlight_ThatIsFinishedForNobodyIsBounded(t *testing.T) {
	p := slow(10_000, 0)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		r := accounted(page(s), nil)
		r.Finish = true
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, _ = s.Whole(ctx, r)
		time.Sleep(10*time.Minute - time.Second)
		if p.running() != 1 {
			t.Error("it has ended already")
		}
		time.Sleep(2 * time.Second)
		if p.running() != 0 {
			t.Error("it goes on")
		}
	})
}

func TestFlight_LingersForAClientThatIsExpectedBack(t *testing.T) {
	for _, c := range []struct {
		leaves, back time.Duration // back is counted from the leaving
		want         int           // runs
	}{
		{5 * time.Second, 9 * time.Second, 1},
		{4 * time.Second, 9 * time.Second, 1},
		{6 * time.Second, 9 * time.Second, 1},
		{5 * time.Second, 11 * time.Second, 2},
		{3900 * time.Millisecond, time.Millisecond, 2},
		{6100 * time.Millisecond, time.Millisecond, 2},
	} {
		p := slow(30, 0)
		within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
			r := accounted(page(s), nil)
			r.Announced = 5 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), c.leaves)
			defer cancel()
			if _, err := s.Whole(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			time.Sleep(c.back)
			a, err := s.Whole(t.Context(), page(s))
			if state := []completions.CacheState{completions.Joined, completions.Miss}[c.want-1]; err != nil || a.Cache != state || p.times() != c.want {
				t.Errorf("gone after %v, back after %v: %v, %v, %d runs", c.leaves, c.back, a.Cache, err, p.times())
			}
		})
	}
}

// The timer that ends a lingering flight rings just when a client is back, and
// perhaps gone again: whoever comes first, what was joined goes on.
func TestFlight_IsNotEndedByATimerThatCameTooLate(t *testing.T) {
	joined := 0
	for range 200 {
		p := slow(30, 0)
		within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
			leave := func() completions.CacheState {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				r := accounted(page(s), nil)
				r.Announced = time.Millisecond // it is expected back
				a, _ := s.Whole(ctx, r)
				return a.Cache
			}
			leave()
			time.Sleep(10 * time.Second)
			if leave() != completions.Joined {
				time.Sleep(time.Minute)
				return // the timer came first
			}
			joined++
			time.Sleep(5 * time.Second)
			if a, err := s.Whole(t.Context(), page(s)); err != nil || a.Cache != completions.Joined || p.times() != 1 {
				t.Errorf("%+v, %v, %d runs", a, err, p.times())
			}
		})
	}
	t.Log(joined, "joined")
}

func TestFlight_WaitsForASlotAsLongAsItsReadersMay(t *testing.T) {
	p := slow(2, 10*time.Second)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		var all sync.WaitGroup
		for _, may := range []time.Duration{3 * time.Second, 12 * time.Second, 0, 9 * time.Second} {
			all.Go(func() {
				r := accounted(page(s), nil)
				r.QueueFor = may
				began := time.Now()
				a, err := s.Whole(t.Context(), r)
				switch took := time.Since(began); {
				case may > 10*time.Second:
					if err != nil || took != 15*time.Second {
						t.Errorf("%v: %+v, %v", took, a, err)
					}
				case !errors.Is(err, backends.ErrBusy) || took != max(may, 50*time.Millisecond):
					t.Errorf("may wait for %v: %v after %v", may, err, took)
				}
			})
		}
		all.Wait()
		if p.times() != 1 {
			t.Errorf("%d runs", p.times())
		}
	})
}

func TestFlight_BecomesUrgentWithItsFirstInteractiveReader(t *testing.T) {
	p := slow(2, 5*time.Second)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		var all sync.WaitGroup
		for i, batch := range []bool{true, true, false, false} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				r := page(s)
				r.Batch, r.QueueFor = batch, time.Minute
				if _, err := s.Whole(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		for _, want := range []bool{false, true} {
			time.Sleep(1500 * time.Millisecond)
			synctest.Wait()
			if p.asked[0].Class != balancer.Batch {
				t.Error("it is not of the class of its opener")
			}
			select {
			case <-p.asked[0].Urgent:
				if !want {
					t.Error("a batch has made it urgent")
				}
			default:
				if want {
					t.Error("it is not urgent")
				}
			}
		}
		all.Wait()
	})
}

func TestFlight_CountsTheWaitAnewWhenItIsInTheQueueAgain(t *testing.T) {
	p := &pool{maxLen: 8192}
	p.script = func(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		_ = play(ctx, s, backends.Start{Backend: "gpu0", Attempts: 1}, []string{event("void")})
		time.Sleep(time.Minute)
		s.Restart()
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
		}
		return backends.Receipt{}, context.Cause(ctx)
	}
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		r := page(s)
		r.QueueFor = 5 * time.Second
		began := time.Now()
		if _, err := s.Whole(t.Context(), r); !errors.Is(err, backends.ErrBusy) || time.Since(began) != 66*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestFlight_IsNotSharedByStrangers(t *testing.T) {
	p := slow(2, 0)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		var all sync.WaitGroup
		for _, who := range []struct{ tenant, share string }{{"a", ""}, {"b", ""}, {"b", "a"}, {"c", "a"}, {"d", "d"}} {
			all.Go(func() {
				r := page(s)
				r.Tenant, r.Share = who.tenant, who.share
				if _, err := s.Whole(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if p.times() != 4 { // b and c of group a share
			t.Errorf("%d runs, want 4", p.times())
		}
	})
}

func TestControl_OfAFreshRunJoinsNobodyAndMayBeJoined(t *testing.T) {
	p := slow(2, 0)
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		var all sync.WaitGroup
		for i, c := range []struct {
			control completions.Control
			want    completions.CacheState
		}{
			{completions.UseCache, completions.Miss},
			{completions.NoCache, completions.Miss},
			{completions.NoStore, completions.Bypass},
			{completions.UseCache, completions.Joined},
		} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				r := page(s)
				r.Control = c.control
				began := time.Now()
				a, err := s.Whole(t.Context(), r)
				if err != nil || a.Cache != c.want {
					t.Errorf("%d: %v, %v", i, a.Cache, err)
				}
				if took := time.Since(began); i == 3 && took != 3*time.Second {
					t.Errorf("it has not joined the newest run: %v", took)
				}
			})
		}
		all.Wait()
		if p.times() != 3 || m.puts != 1 {
			t.Errorf("%d runs, %d remembered; want 3 and only the newest", p.times(), m.puts)
		}
	})
}

// An asker finds the flight or its remembered answer, however slow the cache is.
func TestFlight_AndItsRememberedAnswerLeaveNoGap(t *testing.T) {
	p := slow(2, 0)
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		m.slow = 300 * time.Millisecond
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				if a, err := s.Whole(t.Context(), page(s)); err != nil || a.Text != "word word" {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
		all.Wait()
		if p.times() != 1 {
			t.Errorf("%d runs", p.times())
		}
	})
}

func TestFlight_WhoseAnswerIsCompleteIsNotLostWithItsLastReader(t *testing.T) {
	p := slow(2, 0) // from the first second to the sixth
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		m.slow = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 6500*time.Millisecond)
		defer cancel()
		if _, err := s.Whole(ctx, accounted(page(s), nil)); err == nil {
			t.Error("the answer was there before it was remembered")
		}
		if a, err := s.Whole(t.Context(), page(s)); err != nil || a.Text != "word word" || p.times() != 1 {
			t.Errorf("%+v, %v after %d runs", a, err, p.times())
		}
	})
}

func TestClose_EndsWhatIsInProgressAndWaitsForIt(t *testing.T) {
	p := slow(100, 0)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		why := errors.New("the router stops")
		r := accounted(page(s), nil)
		r.Finish = true
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, _ = s.Whole(ctx, r) // goes on for the cache
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := s.Whole(t.Context(), page(s)); err != why {
				t.Error(err)
			}
		})
		synctest.Wait()
		if s.Close(why); p.running() != 0 {
			t.Error("it still runs")
		}
		waiting.Wait()
		if _, err := s.Whole(t.Context(), page(s)); err != why || p.times() != 1 {
			t.Errorf("asked afterwards: %v, %d runs", err, p.times())
		}
	})
}
