package balancer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ocrmux/balancer"
)

// shadow keeps its own account of what the balancer says, from effects alone,
// and fails the test at the first that does not fit.
type shadow struct {
	*testing.T
	b       *balancer.Balancer
	cfg     balancer.Config
	now     time.Time
	random  *rand.Rand
	tickets map[*balancer.Ticket]*fate
	order   []*balancer.Ticket         // those in progress, for a random pick
	serves  map[string]map[string]bool // nil: everything
	probes  map[string]int             // started and not ended
	arrived int
	ends    int
	fulls   int // tickets displaced from a full queue
	moves   int
	retries int
	drains  int // backends that left with work on them

	cordoned map[string]bool

	// At the last check:
	fresh    int // tickets that waited for their first start
	inFlight map[string]int
	leaving  map[string]bool
	suspects int
}

// fate is what became of a ticket so far.
type fate struct {
	place     int    // in order
	number    int    // of arrival
	at        string // "" while it waits
	visited   []string
	committed bool
}

func TestBalancer_KeepsItsBooksUnderRandomEvents(t *testing.T) {
	moves, retries, fulls, drains := 0, 0, 0, 0
	for seed := range uint64(40) {
		policy := []balancer.Policy{balancer.LeastLoaded, balancer.RoundRobin}[seed%2]
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newShadow(t, seed, policy)
			s.run(3000)
			moves += s.moves
			retries += s.retries
			fulls += s.fulls
			drains += s.drains
		})
	}
	if moves < 50 || retries < 1000 || fulls < 100 || drains < 100 {
		t.Errorf("the schedules are too tame: %d moves, %d retries asked for, %d displaced, %d drained", moves, retries, fulls, drains)
	}
}

// names is how many names of backends there are.
const names = 6

func newShadow(t *testing.T, seed uint64, policy balancer.Policy) *shadow {
	s := &shadow{
		T: t, now: time.Unix(1000, 0), random: rand.New(rand.NewPCG(seed, 1)),
		cfg:      balancer.Config{Policy: policy, MaxQueue: 12},
		tickets:  make(map[*balancer.Ticket]*fate),
		serves:   make(map[string]map[string]bool),
		probes:   make(map[string]int),
		cordoned: make(map[string]bool),
	}
	for i := range 1 + s.random.IntN(names) {
		s.cfg.Backends = append(s.cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: 1 + s.random.IntN(5)})
	}
	s.b = balancer.New(s.cfg, seed)
	return s
}

func (s *shadow) run(steps int) {
	for range steps {
		s.step()
		s.check()
	}
	for len(s.order) > 0 {
		s.finish(s.order[0])
		s.check()
	}
	st := s.b.Status(s.now)
	if st.InProgress != 0 || st.Retrying != 0 || st.Queued != [2]int{} || s.b.Remembered() != 0 || len(st.Backends) != len(s.cfg.Backends) {
		s.Fatalf("not empty at the end: %+v", st)
	}
	if s.ends < steps/10 {
		s.Fatalf("only %d tickets ended in %d steps", s.ends, steps)
	}
}

func (s *shadow) step() {
	s.now = s.now.Add(time.Duration(s.random.IntN(50)) * time.Millisecond)
	t := s.any()
	switch p := s.random.IntN(100); {
	case p < 30:
		s.arrive()
	case p < 45 && t != nil && s.tickets[t].at != "":
		s.apply(s.b.Progress(s.now, t))
	case p < 50 && t != nil:
		s.tickets[t].committed = s.b.Commit(t) || s.tickets[t].committed
	case p < 70 && t != nil && s.tickets[t].at != "":
		o := []balancer.Outcome{balancer.Success, balancer.Success, balancer.Success, balancer.Refused, balancer.Failed, balancer.Lost}
		s.done(t, o[s.random.IntN(len(o))], s.random.IntN(3) > 0)
	case p < 74 && t != nil:
		s.forget(t)
		s.apply(s.b.Cancel(s.now, t))
	case p < 90:
		s.probe()
	case p < 91:
		s.list()
	case p < 92:
		be := name(s.random.IntN(names))
		s.cordoned[be] = s.random.IntN(3) == 0 && s.known(be)
		s.apply(s.b.Cordon(s.now, be, s.cordoned[be]))
	case p < 93:
		s.update()
	case p < 94 && t != nil:
		s.apply(s.b.Raise(s.now, t, balancer.Interactive))
	default:
		s.now = s.now.Add(time.Duration(s.random.IntN(400)) * time.Millisecond)
		s.apply(s.b.Tick(s.now))
	}
}

func (s *shadow) any() *balancer.Ticket {
	if len(s.order) == 0 {
		return nil
	}
	return s.order[s.random.IntN(len(s.order))]
}

func (s *shadow) arrive() {
	t := &balancer.Ticket{
		Tenant:   []string{"a", "a", "a", "b", "c"}[s.random.IntN(5)],
		Weight:   float64(s.random.IntN(4)),
		Cost:     float64(s.random.IntN(3) * 500),
		Class:    balancer.Class(s.random.IntN(2)),
		Model:    []string{"x", "y", "z"}[s.random.IntN(3)],
		Deadline: s.now.Add(time.Duration(s.random.IntN(5000)-100) * time.Millisecond),
	}
	s.arrived++
	s.tickets[t] = &fate{place: len(s.order), number: s.arrived}
	s.order = append(s.order, t)
	s.apply(s.b.Arrive(s.now, t))
}

func (s *shadow) done(t *balancer.Ticket, o balancer.Outcome, again bool) {
	s.tickets[t].at = ""
	if !again || o == balancer.Success {
		s.forget(t)
	} else {
		s.retries++
	}
	s.apply(s.b.Done(s.now, t, o, again))
}

func (s *shadow) finish(t *balancer.Ticket) {
	if s.tickets[t].at == "" {
		s.forget(t)
		s.apply(s.b.Cancel(s.now, t))
		return
	}
	s.done(t, balancer.Success, false)
}

// known says that the balancer has the backend, though it may be leaving.
func (s *shadow) known(backend string) bool {
	for _, be := range s.b.Status(s.now).Backends {
		if be.Name == backend {
			return true
		}
	}
	return false
}

// update leaves out some backends, adds others and changes what it can.
func (s *shadow) update() {
	cfg := balancer.Config{MaxQueue: 4 + s.random.IntN(12), Policy: []balancer.Policy{balancer.LeastLoaded, balancer.RoundRobin}[s.random.IntN(2)]}
	for _, i := range s.random.Perm(names)[:1+s.random.IntN(names)] {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: 1 + s.random.IntN(5)})
	}
	s.cfg = cfg
	s.suspects = names // as many as there are may stay
	s.apply(s.b.Update(s.now, cfg))
}

// probe starts or ends one. Backends differ in how often theirs fail.
func (s *shadow) probe() {
	i := s.random.IntN(names)
	be := name(i)
	switch {
	case s.probes[be] == 0 || s.probes[be] < 3 && s.random.IntN(2) == 0:
		s.probes[be]++
		s.apply(s.b.Probe(s.now, be, balancer.ProbeStarted))
	case s.random.IntN(10) < 2*i:
		s.probes[be]--
		s.apply(s.b.Probe(s.now, be, balancer.ProbeFailed))
	default:
		s.probes[be]--
		s.apply(s.b.Probe(s.now, be, balancer.ProbeSucceeded))
	}
}

func (s *shadow) list() {
	be := name(s.random.IntN(names))
	if !s.known(be) {
		return
	}
	s.serves[be] = make(map[string]bool)
	var models []string
	for _, m := range []string{"x", "y", "z"} {
		if s.random.IntN(3) > 0 {
			models = append(models, m)
			s.serves[be][m] = true
		}
	}
	s.apply(s.b.Serves(s.now, be, models))
}

func (s *shadow) forget(t *balancer.Ticket) {
	f := s.tickets[t]
	last := s.order[len(s.order)-1]
	s.order[f.place] = last
	s.tickets[last].place = f.place
	s.order = s.order[:len(s.order)-1]
	delete(s.tickets, t)
	s.ends++
}

func (s *shadow) apply(effects []balancer.Effect) {
	s.Helper()
	status := make(map[string]balancer.BackendStatus)
	for _, be := range s.b.Status(s.now).Backends {
		status[be.Name] = be
	}
	for _, e := range effects {
		f := s.tickets[e.Ticket]
		if f == nil {
			s.Fatalf("effect %v for a ticket that is over", e.Kind)
		}
		switch e.Kind {
		case balancer.Start:
			s.start(e, f, status[e.Backend])
		case balancer.Move:
			if f.at != e.Backend || f.committed {
				s.Fatalf("moved off %q, is on %q, committed %v", e.Backend, f.at, f.committed)
			}
			f.at = ""
			s.moves++
		case balancer.Refuse:
			if f.at != "" || e.Err == nil {
				s.Fatalf("refused with %v while on %q", e.Err, f.at)
			}
			if e.Err == balancer.ErrQueueFull && f.number != s.arrived {
				s.displaced(e.Ticket, f)
			}
			s.forget(e.Ticket)
		}
	}
}

func (s *shadow) start(e balancer.Effect, f *fate, be balancer.BackendStatus) {
	s.Helper()
	if f.at != "" {
		s.Fatalf("started on %s while on %s", e.Backend, f.at)
	}
	if be.State != balancer.Up || be.Breaker == balancer.Open || !be.Usable || s.cordoned[be.Name] || be.Leaving || be.InFlight > be.MaxInFlight {
		s.Fatalf("started on %+v", be)
	}
	if m := s.serves[e.Backend]; m != nil && !m[e.Ticket.Model] {
		s.Fatalf("started on %s, which does not serve the model", e.Backend)
	}
	for _, v := range f.visited {
		if v == e.Backend {
			s.Fatalf("started on %s for the second time", v)
		}
	}
	if len(f.visited) == 0 {
		s.checkTurn(e.Ticket, f)
	}
	f.at = e.Backend
	f.visited = append(f.visited, e.Backend)
	if len(f.visited) != e.Attempt || e.Attempt > 3 {
		s.Fatalf("attempt %d after %d", e.Attempt, len(f.visited))
	}
}

// checkTurn fails where a new ticket starts though one like it comes first: of
// a more urgent class, or of the same tenant and older.
func (s *shadow) checkTurn(t *balancer.Ticket, f *fate) {
	s.Helper()
	for other, o := range s.tickets {
		if o.at != "" || len(o.visited) > 0 || other.Model != t.Model {
			continue
		}
		if other.Class < t.Class || other.Class == t.Class && other.Tenant == t.Tenant && o.number < f.number {
			s.Fatalf("%+v started before %+v", t, other)
		}
	}
}

// displaced fails where a ticket lost its place that had a better right to it
// than the one that arrived.
func (s *shadow) displaced(t *balancer.Ticket, f *fate) {
	s.Helper()
	s.fulls++
	same := 0
	for other, o := range s.tickets {
		if o.at != "" || len(o.visited) > 0 || other.Tenant != t.Tenant || o.number == s.arrived {
			continue
		}
		same++
		if other.Class > t.Class || other.Class == t.Class && o.number > f.number {
			s.Fatalf("displaced %+v and not the newer or less urgent %+v", t, other)
		}
	}
	if len(f.visited) > 0 || same < 2 {
		s.Fatalf("displaced one of %d after %d attempts", same, len(f.visited))
	}
}

// check compares the balancer's counts with the shadow's.
func (s *shadow) check() {
	s.Helper()
	st := s.b.Status(s.now)
	inFlight := make(map[string]int)
	waiting, fresh := 0, 0
	for _, f := range s.tickets {
		switch {
		case f.at != "":
			inFlight[f.at]++
		default:
			waiting++
			if len(f.visited) == 0 {
				fresh++
			}
		}
	}
	if st.InProgress != len(s.order) || st.Queued[0]+st.Queued[1] != waiting || st.Retrying < 0 {
		s.Fatalf("%d in progress with %d waiting, status %+v", len(s.order), waiting, st)
	}
	if fresh > s.cfg.MaxQueue && fresh > s.fresh {
		s.Fatalf("%d new tickets wait, at most %d may", fresh, s.cfg.MaxQueue)
	}
	suspects, leaving := 0, make(map[string]bool)
	for i, be := range st.Backends {
		if be.InFlight != inFlight[be.Name] || be.InFlight > be.MaxInFlight && be.InFlight > s.inFlight[be.Name] {
			s.Fatalf("%d in flight on %+v", inFlight[be.Name], be)
		}
		if be.Cordoned != s.cordoned[be.Name] {
			s.Fatalf("%+v, cordoned %v", be, s.cordoned[be.Name])
		}
		if be.Leaving != (i >= len(s.cfg.Backends)) || be.Leaving && be.InFlight == 0 || !be.Leaving && (balancer.Backend{Name: be.Name, MaxInFlight: be.MaxInFlight}) != s.cfg.Backends[i] {
			s.Fatalf("place %d is %+v with %v configured", i, be, s.cfg.Backends)
		}
		if be.Leaving {
			leaving[be.Name] = true
		} else if be.State == balancer.Suspect {
			suspects++
		}
		delete(inFlight, be.Name)
		s.checkNobodyWaitsFor(be)
	}
	if len(inFlight) > 0 {
		s.Fatalf("work runs on backends that are gone: %v", inFlight)
	}
	if 2*suspects > len(s.cfg.Backends) && suspects > s.suspects {
		s.Fatalf("%d of %d are suspect", suspects, len(s.cfg.Backends))
	}
	s.fresh, s.suspects = fresh, suspects
	s.inFlight = make(map[string]int)
	for _, be := range st.Backends {
		s.inFlight[be.Name] = be.InFlight
	}
	s.forgetGone(leaving)
}

// forgetGone drops what was known of backends that are gone.
func (s *shadow) forgetGone(leaving map[string]bool) {
	for i := range names {
		be := name(i)
		if _, there := s.inFlight[be]; !there {
			delete(s.serves, be)
			delete(s.cordoned, be)
			for _, f := range s.tickets { // what may come under its name is another
				for i, v := range f.visited {
					if v == be {
						f.visited[i] = "gone"
					}
				}
			}
			if s.leaving[be] {
				s.drains++
			}
		}
	}
	s.leaving = leaving
}

// checkNobodyWaitsFor fails where a ticket waits that could start here.
func (s *shadow) checkNobodyWaitsFor(be balancer.BackendStatus) {
	s.Helper()
	if be.State != balancer.Up || be.Breaker != balancer.Closed || be.InFlight >= be.MaxInFlight || be.Cordoned || be.Leaving {
		return
	}
next:
	for t, f := range s.tickets {
		if f.at != "" || s.serves[be.Name] != nil && !s.serves[be.Name][t.Model] {
			continue
		}
		for _, v := range f.visited {
			if v == be.Name {
				continue next
			}
		}
		s.Fatalf("a ticket waits though %+v has room", be)
	}
}

// TestBalancer_SameSeedAndEventsGiveTheSameEffects replays one schedule.
func TestBalancer_SameSeedAndEventsGiveTheSameEffects(t *testing.T) {
	trace := func() string {
		s := newScene(t, balancer.Config{MaxQueue: 50}, 5, 4)
		random := rand.New(rand.NewPCG(7, 7))
		var tickets []*balancer.Ticket
		for range 500 {
			tickets = append(tickets, s.arrive())
			s.done(tickets[random.IntN(len(tickets))], balancer.Outcome(random.IntN(4)), true)
			s.pass(100 * time.Millisecond)
		}
		text := ""
		for _, e := range s.effects {
			text += fmt.Sprint(e.Kind, e.Backend, e.Attempt, e.Err, ";")
		}
		return text
	}
	if first := trace(); first != trace() {
		t.Error("two runs differ")
	}
}
