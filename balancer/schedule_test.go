package balancer_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ocrmux/balancer"
)

// of makes a ticket of a tenant, which waits for an hour.
func (s *scene) of(tenant string, weight float64) *balancer.Ticket {
	return &balancer.Ticket{Tenant: tenant, Weight: weight, Deadline: s.now.Add(time.Hour)}
}

// queueUp lets n tickets of a tenant arrive.
func (s *scene) queueUp(n int, tenant string, weight, cost float64) {
	for range n {
		t := s.of(tenant, weight)
		t.Cost = cost
		s.do(s.b.Arrive(s.now, t))
	}
}

// serve ends n tickets, the oldest first, and returns whose started in their place.
func (s *scene) serve(running *[]*balancer.Ticket, n int) (tenants []string) {
	s.Helper()
	for range n {
		s.effects = nil
		s.done((*running)[0], balancer.Success, false)
		*running = (*running)[1:]
		for _, e := range s.effects {
			if e.Kind == balancer.Start {
				*running = append(*running, e.Ticket)
				tenants = append(tenants, e.Ticket.Tenant)
			}
		}
	}
	return tenants
}

func count(tenants []string) map[string]int {
	counts := make(map[string]int)
	for _, t := range tenants {
		counts[t]++
	}
	return counts
}

func TestSchedule_SharesStartsByWeight(t *testing.T) {
	for _, slots := range []int{1, 3, 48} {
		s := newScene(t, balancer.Config{MaxQueue: 5000}, 1, slots)
		running := s.fill(slots)
		for tenant, weight := range map[string]float64{"one": 1, "two": 2, "four": 4} {
			s.queueUp(1000, tenant, weight, 0)
		}
		got := count(s.serve(&running, 1400))
		for tenant, want := range map[string]float64{"one": 200, "two": 400, "four": 800} {
			if math.Abs(float64(got[tenant])-want) > 2 {
				t.Errorf("%d slots: %s got %d of 1400 starts, want %v", slots, tenant, got[tenant], want)
			}
		}
	}
}

func TestSchedule_SharesSlotsAndNotStartsWhereTheWorkIsKnown(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 5000}, 1, 1)
	running := s.fill(1)
	s.queueUp(1000, "short", 1, 250)
	s.queueUp(1000, "long", 1, 1000)
	s.queueUp(1000, "unknown", 1, 0) // counts as 700
	got := count(s.serve(&running, 1000))
	for tenant, cost := range map[string]float64{"short": 250, "long": 1000, "unknown": 700} {
		want := 1000 / cost / (1./250 + 1./1000 + 1./700)
		if math.Abs(float64(got[tenant])-want) > 5 {
			t.Errorf("%s got %d of 1000 starts, want %.0f", tenant, got[tenant], want)
		}
	}
}

func TestSchedule_ANewcomerIsNextHoweverLongOthersQueues(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 5000}, 1, 4)
	running := s.fill(4)
	for i := range 5 {
		s.queueUp(200, fmt.Sprint("flood", i), 1, 0)
	}
	s.serve(&running, 333)
	for round := range 20 {
		s.queueUp(1, "guest", 1, 0)
		if place := slices.Index(s.serve(&running, 6), "guest"); place < 0 {
			t.Fatalf("round %d: the guest was not among the next 6 starts, one for each tenant", round)
		}
	}
}

func TestSchedule_NobodySavesUpTurnsByStayingAway(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 5000}, 1, 1)
	running := s.fill(1)
	s.queueUp(1000, "busy", 1, 0)
	s.queueUp(1, "idle", 1, 0)
	s.serve(&running, 500)
	s.queueUp(100, "idle", 1, 0)
	if got := count(s.serve(&running, 40)); got["busy"] < 19 {
		t.Errorf("starts after a long pause of one tenant: %v, want halves", got)
	}
}

func TestSchedule_NobodySavesUpTurnsWhileItsModelHasNoRoom(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 5000}, 2, 1)
	s.do(s.b.Serves(s.now, "a", []string{"x"}))
	s.do(s.b.Serves(s.now, "b", []string{"y"}))
	start := func(tenant, model string) *balancer.Ticket {
		ticket := s.of(tenant, 1)
		ticket.Model = model
		s.do(s.b.Arrive(s.now, ticket))
		return ticket
	}
	onX, onY := []*balancer.Ticket{start("first", "x")}, []*balancer.Ticket{start("first", "y")}
	for range 300 {
		start("stuck", "x")
		start("both", "y")
	}
	for range 50 {
		start("both", "x")
	}
	if got := count(s.serve(&onY, 200)); got["both"] != 200 {
		t.Fatalf("starts of the other model: %v, want 200", got)
	}
	if got := count(s.serve(&onX, 40)); got["both"] < 19 || got["stuck"] < 19 {
		t.Errorf("starts of the model that had no room: %v, want halves", got)
	}
}

// TestSchedule_StarvesNobody lets tenants of all weights come and go, and
// bounds how many starts of others any ticket at the head of its line sees: for
// each other tenant what its weight gives it beside this one, and one more.
func TestSchedule_StarvesNobody(t *testing.T) {
	weights := map[string]float64{"a": 0.1, "b": 0.5, "c": 1, "d": 1, "e": 3, "f": 10}
	for seed := range uint64(20) {
		s := newScene(t, balancer.Config{MaxQueue: 300}, 3, 2)
		random := rand.New(rand.NewPCG(seed, 3))
		running := s.fill(6)
		waiting := make(map[string]int)
		passed := make(map[string]map[string]int) // by whom since the last own start
		for range 5000 {
			for tenant, weight := range weights {
				if random.IntN(8) == 0 && waiting[tenant] < 40 {
					if waiting[tenant]++; waiting[tenant] == 1 {
						passed[tenant] = make(map[string]int)
					}
					s.queueUp(1, tenant, weight, 0)
				}
			}
			for _, started := range s.serve(&running, 1) {
				waiting[started]--
				for tenant := range passed {
					if waiting[tenant] > 0 && tenant != started {
						passed[tenant][started]++
						if n, limit := passed[tenant][started], weights[started]/weights[tenant]+2; float64(n) > limit {
							t.Fatalf("seed %d: %s was passed %d times by %s, want at most %.0f", seed, tenant, n, started, limit)
						}
					}
				}
				passed[started] = make(map[string]int)
			}
			for len(running) < 6 { // the queue had run empty
				running = append(running, s.arrive())
			}
		}
	}
}

func TestSchedule_ForgetsTenantsOfWhichNothingWaits(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 64}, 1, 1)
	running := s.fill(1)
	s.queueUp(10, "stays", 0.01, 1e9)
	most := 0
	for i := range 3 * balancer.MaxFlows {
		s.queueUp(1, fmt.Sprint(i), 0.01, 1e9)
		s.serve(&running, 1)
		most = max(most, s.b.Remembered())
	}
	if limit := balancer.MaxFlows + 64; most > limit {
		t.Errorf("%d tenants remembered, at most %d may be", most, limit)
	}
	for s.b.Status(s.now).Queued[balancer.Interactive] > 0 {
		s.serve(&running, 1)
	}
	if n := s.b.Remembered(); n != 0 {
		t.Errorf("%d tenants remembered though nothing waits", n)
	}
	s.queueUp(1, "stays", 1, 0)
	for i := range 100 {
		leaving := s.of(fmt.Sprint(i), 1)
		s.do(s.b.Arrive(s.now, leaving))
		s.do(s.b.Cancel(s.now, leaving))
	}
	if n := s.b.Remembered(); n != 1 {
		t.Errorf("%d tenants remembered after 100 left, want the one that waits", n)
	}
}

func TestQueue_OneTenantCannotFillItForOthers(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 13}, 1, 1)
	s.fill(1)
	s.effects = nil
	var flood []*balancer.Ticket
	for range 13 {
		flood = append(flood, s.of("flood", 1))
		s.do(s.b.Arrive(s.now, flood[len(flood)-1]))
	}
	s.wants()
	s.queueUp(1, "flood", 1, 0)
	s.wants("the queue is full") // its own
	for i := range 6 {
		s.queueUp(1, "guest", 1, 0)
		s.refused(flood[12-i], balancer.ErrQueueFull) // the newest first
	}
	guest := s.of("guest", 1)
	s.do(s.b.Arrive(s.now, guest))
	s.refused(guest, balancer.ErrQueueFull) // seven to six would only change sides
	s.queueUp(2, "light", 0.01, 0)
	for i := range 3 {
		s.queueUp(1, fmt.Sprint("late", i), 1, 0)
	}
	st := s.b.Status(s.now)
	if st.Queued[balancer.Interactive] != 13 {
		t.Errorf("%d wait, want 13", st.Queued[balancer.Interactive])
	}
	s.effects = nil
	s.b.Probe(s.now, "a", balancer.ProbeStarted)
	for range 3 {
		s.probe("a", balancer.ProbeFailed)
	}
	waited := make(map[string]int)
	for _, e := range s.effects {
		waited[e.Ticket.Tenant]++
	}
	if want := map[string]int{"flood": 4, "guest": 5, "late0": 1, "late1": 1, "late2": 1, "light": 1}; fmt.Sprint(waited) != fmt.Sprint(want) {
		t.Errorf("waited: %v, want %v", waited, want)
	}
}

func TestQueue_GivesPlacesByWeightWhenItIsFull(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 50}, 1, 1)
	s.fill(1)
	for range 200 {
		s.queueUp(1, "one", 1, 0)
		s.queueUp(1, "four", 4, 0)
	}
	running := s.fill(0)
	s.effects = nil
	for range 3 {
		s.probe("a", balancer.ProbeFailed)
	}
	waited := make(map[string]int)
	for _, e := range s.effects {
		waited[e.Ticket.Tenant]++
	}
	if waited["one"] != 10 || waited["four"] != 40 {
		t.Errorf("waited: %v, want 10 and 40", waited)
	}
	_ = running
}

func TestQueue_DisplacesTheLeastUrgentFirst(t *testing.T) {
	s := newScene(t, balancer.Config{MaxQueue: 4}, 1, 1)
	s.fill(1)
	arrive := func(tenant string, class balancer.Class) *balancer.Ticket {
		ticket := s.of(tenant, 1)
		ticket.Class = class
		s.do(s.b.Arrive(s.now, ticket))
		return ticket
	}
	batch := []*balancer.Ticket{arrive("a", balancer.Batch), arrive("a", balancer.Batch)}
	urgent := []*balancer.Ticket{arrive("a", balancer.Interactive), arrive("a", balancer.Interactive)}
	arrive("b", balancer.Batch)
	s.refused(batch[1], balancer.ErrQueueFull)
	arrive("a", balancer.Interactive)
	s.refused(batch[0], balancer.ErrQueueFull) // its own: what is urgent comes first
	last := arrive("a", balancer.Interactive)
	s.refused(last, balancer.ErrQueueFull)
	arrive("b", balancer.Interactive)
	s.wants("the queue is full") // two of each
	_ = urgent
}

// TestSchedule_AFloodTakesNothingFromOthers lets four tenants keep 192 slots
// busy with 48 requests each, then one of them with twenty times as many. What
// the others lose is the wait for the next free slot, as nothing is interrupted:
// the more slots there are, the less.
func TestSchedule_AFloodTakesNothingFromOthers(t *testing.T) {
	served := func(ofTheFourth int) map[string]int {
		cfg := balancer.Config{MaxQueue: 1024}
		for i := range 4 {
			cfg.Backends = append(cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: 48})
		}
		w := newWorld(t, cfg, 1)
		counts := make(map[string]int)
		var again []string
		w.ended = func(j *job, err error) {
			if err == nil {
				counts[j.ticket.Tenant]++
			} else if j.ticket.Tenant != "3" {
				t.Errorf("a request of %s ended with %v", j.ticket.Tenant, err)
			}
			again = append(again, j.ticket.Tenant)
		}
		for i, n := range []int{48, 48, 48, ofTheFourth} {
			for range n {
				again = append(again, fmt.Sprint(i))
			}
		}
		for w.elapsed < 20*time.Second {
			arriving := again
			again = nil
			for _, tenant := range arriving {
				j := &job{arrived: w.elapsed, work: 500 + 1000*w.random.Float64()} // ms
				j.ticket.Tenant, j.ticket.Deadline = tenant, w.now().Add(10*time.Second)
				w.jobs[&j.ticket] = j
				w.apply(w.b.Arrive(w.now(), &j.ticket))
			}
			w.advance(func(int) float64 { return 1 })
		}
		return counts
	}
	without, with := served(48), served(960)
	t.Logf("served without the flood %v, beside it %v", without, with)
	for tenant, n := range without {
		if float64(with[tenant]) < 0.95*float64(n) {
			t.Errorf("tenant %s: %d requests beside the flood, %d without it: want 95 %%", tenant, with[tenant], n)
		}
	}
}
