package balancer_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"ocrmux/balancer"
)

const step = 10 * time.Millisecond

// world is a pool of pretended servers, in steps of 10 ms.
type world struct {
	*testing.T
	b       *balancer.Balancer
	start   time.Time
	elapsed time.Duration
	random  *rand.Rand
	servers []*server
	byName  map[string]*server
	jobs    map[*balancer.Ticket]*job

	ended func(*job, error) // error nil: a complete answer

	failures int // attempts that ended Failed or Lost
	moves    int
}

// server works on attempts and answers probes.
type server struct {
	name     string
	attempts []*attempt
	failing  float64 // share of attempts that get a 500 after 30 ms
	stopped  bool    // says nothing, keeps its work (SIGSTOP)
	dead     bool    // refuses connections (kill -9)
	overdue  []time.Duration

	served float64       // tokens that each attempt got which is here since the beginning
	due    float64       // of these, when the next attempt ends
	fresh  time.Duration // until then an attempt is young
}

// job is one request.
type job struct {
	ticket  balancer.Ticket
	arrived time.Duration
	work    float64 // tokens
	at      *attempt
}

type attempt struct {
	job    *job
	server *server
	began  time.Duration
	until  float64 // of the server's served
	shown  bool    // its first byte
	bad    bool
}

func newWorld(t *testing.T, cfg balancer.Config, seed uint64) *world {
	w := &world{
		T: t, start: time.Unix(1000, 0), random: rand.New(rand.NewPCG(seed, 2)),
		byName: make(map[string]*server), jobs: make(map[*balancer.Ticket]*job),
		b: balancer.New(cfg, seed),
	}
	for _, be := range cfg.Backends {
		s := &server{name: be.Name}
		w.servers = append(w.servers, s)
		w.byName[be.Name] = s
		w.b.Probe(w.now(), s.name, balancer.ProbeStarted)
		w.apply(w.b.Probe(w.now(), s.name, balancer.ProbeSucceeded))
	}
	return w
}

func (w *world) now() time.Time { return w.start.Add(w.elapsed) }

func (w *world) arrive(tokens float64) *job {
	j := &job{arrived: w.elapsed, work: tokens}
	j.ticket.Deadline = w.now().Add(10 * time.Second)
	w.jobs[&j.ticket] = j
	w.apply(w.b.Arrive(w.now(), &j.ticket))
	return j
}

func (w *world) apply(effects []balancer.Effect) {
	for _, e := range append([]balancer.Effect(nil), effects...) {
		j := w.jobs[e.Ticket]
		switch e.Kind {
		case balancer.Start:
			w.begin(j, w.byName[e.Backend])
		case balancer.Move:
			w.moves++
			j.at.server.drop(j.at)
			j.at = nil
		case balancer.Refuse:
			w.over(j, e.Err)
		}
	}
}

func (w *world) begin(j *job, s *server) {
	j.at = &attempt{job: j, server: s, began: w.elapsed, until: s.served + j.work, bad: w.random.Float64() < s.failing}
	s.attempts = append(s.attempts, j.at)
	s.due = min(s.due, j.at.until)
	s.fresh = w.elapsed + 100*time.Millisecond
}

func (s *server) drop(a *attempt) {
	for i := range s.attempts {
		if s.attempts[i] == a {
			s.attempts = append(s.attempts[:i:i], s.attempts[i+1:]...)
			return
		}
	}
}

func (w *world) over(j *job, err error) {
	delete(w.jobs, &j.ticket)
	if w.ended != nil {
		w.ended(j, err)
	}
}

// advance lets one step pass. Tokens come at msPerToken of the batch.
func (w *world) advance(msPerToken func(batch int) float64) {
	w.elapsed += step
	for _, s := range w.servers {
		w.work(s, msPerToken)
		w.probe(s)
	}
	if w.elapsed%(100*time.Millisecond) == 0 {
		w.apply(w.b.Tick(w.now()))
	}
}

func (w *world) work(s *server, msPerToken func(int) float64) {
	if s.stopped {
		return
	}
	s.served += float64(step.Milliseconds()) / msPerToken(len(s.attempts))
	if w.elapsed%time.Second == 0 && len(s.attempts) > 0 && s.attempts[0].shown {
		w.apply(w.b.Progress(w.now(), &s.attempts[0].job.ticket))
	}
	if s.dead || s.served >= s.due || w.elapsed <= s.fresh {
		w.look(s)
	}
}

// look finds the attempts to which something happens.
func (w *world) look(s *server) {
	for _, a := range append([]*attempt(nil), s.attempts...) {
		age := w.elapsed - a.began
		switch {
		case a.job.at != a: // moved in this step
		case s.dead:
			w.end(a, balancer.Lost)
		case a.bad && age >= 30*time.Millisecond:
			w.end(a, balancer.Failed)
		case s.served >= a.until:
			w.end(a, balancer.Success)
		case !a.bad && !a.shown && age >= 70*time.Millisecond:
			a.shown = true
			w.apply(w.b.Progress(w.now(), &a.job.ticket))
		}
	}
	s.due = math.Inf(1)
	for _, a := range s.attempts {
		s.due = min(s.due, a.until)
	}
}

func (w *world) end(a *attempt, o balancer.Outcome) {
	a.server.drop(a)
	a.job.at = nil
	if o == balancer.Success {
		w.over(a.job, nil)
	} else {
		w.failures++
	}
	w.apply(w.b.Done(w.now(), &a.job.ticket, o, true))
}

// probe starts one each second and times it out after two.
func (w *world) probe(s *server) {
	if w.elapsed%time.Second == 0 {
		w.apply(w.b.Probe(w.now(), s.name, balancer.ProbeStarted))
		s.overdue = append(s.overdue, w.elapsed)
	}
	for len(s.overdue) > 0 {
		switch {
		case s.dead:
			w.apply(w.b.Probe(w.now(), s.name, balancer.ProbeFailed))
		case !s.stopped:
			w.apply(w.b.Probe(w.now(), s.name, balancer.ProbeSucceeded))
		case w.elapsed-s.overdue[0] >= 2*time.Second:
			w.apply(w.b.Probe(w.now(), s.name, balancer.ProbeFailed))
		default:
			return
		}
		s.overdue = s.overdue[1:]
	}
}

// vllm is the time a token takes on one busy GPU; the figures are assumed.
func vllm(batch int) float64 { return 6 + 0.275*float64(batch) }

// tokens draws an answer's length: mostly a page, sometimes a loop to the limit.
func (w *world) tokens() float64 {
	if w.random.IntN(50) == 0 {
		return 8192
	}
	return min(max(100, 700*math.Exp(0.8*w.random.NormFloat64())), 7200)
}

// blackHole sends 85 % of what sixteen GPUs can do for two minutes, during
// which one of them fails the share of its requests at once.
func blackHole(t *testing.T, seed uint64, share float64) (failures, errors, served int) {
	cfg := balancer.Config{MaxQueue: 1000}
	for i := range 16 {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: 100})
	}
	w := newWorld(t, cfg, seed)
	w.ended = func(_ *job, err error) {
		if err != nil {
			errors++
		} else {
			served++
		}
	}
	for range 16 * 70 { // busy from the start
		w.arrive(w.tokens() * w.random.Float64())
	}
	const perStep = 0.36 // 36 a second
	for w.elapsed < 150*time.Second {
		switch w.elapsed {
		case 10 * time.Second:
			w.servers[0].failing = share
		case 130 * time.Second:
			w.servers[0].failing = 0
		}
		if w.random.Float64() < perStep {
			w.arrive(w.tokens())
		}
		w.advance(vllm)
	}
	return w.failures, errors, served
}

func TestSimulation_ABlackHoleGetsNextToNothing(t *testing.T) {
	for _, c := range []struct {
		share float64
		bar   int
	}{{1, 12}, {0.5, 25}} {
		worst := 0
		for seed := range uint64(4) {
			failures, errors, served := blackHole(t, seed, c.share)
			worst = max(worst, failures)
			if errors > 0 || served < 3000 {
				t.Errorf("seed %d: %d requests failed, %d served", seed, errors, served)
			}
		}
		t.Logf("failing %.0f %%: at most %d failed attempts", 100*c.share, worst)
		if worst > c.bar || worst < 3 {
			t.Errorf("failing %.0f %%: %d failed attempts, want at most %d", 100*c.share, worst, c.bar)
		}
	}
}

// outages keeps 64 clients busy on four servers with answers of 0.5 to 5 s, and
// lets fell and raise act on one after the other, twenty times.
func outages(t *testing.T, maxInFlight int, down time.Duration, fell, raise func(*server)) *world {
	cfg := balancer.Config{MaxQueue: 64}
	for i := range 4 {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: name(i), MaxInFlight: maxInFlight})
	}
	w := newWorld(t, cfg, 1)
	work := func() float64 { return 500 + 4500*w.random.Float64() } // ms, as one token takes one
	var worst time.Duration
	w.ended = func(j *job, err error) {
		took, own := w.elapsed-j.arrived, time.Duration(j.work)*time.Millisecond
		if worst = max(worst, took-2*own); err != nil || took > 2*own+5*time.Second {
			t.Errorf("%v of work took %v: %v", own, took, err)
		}
		w.arrive(work())
	}
	for range 64 {
		w.arrive(work())
	}
	for round := range 20 {
		victim := w.servers[round%4]
		w.until(5*time.Second, func() bool { return false })
		w.until(30*time.Second, func() bool { return len(victim.attempts) >= 8 })
		if len(victim.attempts) < 8 {
			t.Fatalf("round %d: the victim holds %d requests", round, len(victim.attempts))
		}
		fell(victim)
		w.until(down, func() bool { return false })
		raise(victim)
	}
	t.Logf("slots %d: %d moved, %d lost, at worst %v beyond twice the own work", maxInFlight, w.moves, w.failures, worst)
	return w
}

func (w *world) until(limit time.Duration, happens func() bool) {
	for end := w.elapsed + limit; w.elapsed < end && !happens(); {
		w.advance(func(int) float64 { return 1 })
	}
}

func TestSimulation_AStoppedBackendDelaysNobodyForLong(t *testing.T) {
	for _, slots := range []int{16, 24, 64} {
		w := outages(t, slots, 6*time.Second,
			func(s *server) { s.stopped = true },
			func(s *server) { s.stopped = false })
		if w.moves < 160 {
			t.Errorf("only %d moved", w.moves)
		}
	}
}

func TestSimulation_AKilledBackendLosesNothing(t *testing.T) {
	for _, slots := range []int{16, 24, 64} {
		w := outages(t, slots, 3*time.Second,
			func(s *server) { s.dead = true },
			func(s *server) { s.dead = false })
		if w.failures < 160 {
			t.Errorf("only %d lost", w.failures)
		}
	}
}
