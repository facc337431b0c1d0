package balancer

import "time"

// State is what health knows of a backend.
type State uint8

const (
	Unknown State = iota // not probed yet: no work; one success makes it up, one failure down
	Up
	Suspect // silent with work in flight: no new work, its tickets are moved
	Out     // lost work: no new work until the next probe says whether it is there
	Down    // failed its probes
)

func (s State) String() string {
	return [...]string{"unknown", "up", "suspect", "out", "down"}[s]
}

// ProbeEvent is what became of a health probe.
type ProbeEvent uint8

const (
	ProbeStarted ProbeEvent = iota
	ProbeSucceeded
	ProbeFailed // refused, not 200, or no answer within the probe's timeout
)

// maxProbes bounds the probes of a backend that are remembered as unanswered.
const maxProbes = 8

// ownSleep is a time between ticks that only a router makes which got no CPU.
const ownSleep = time.Second

// health is what probes, bytes and lost connections say of a backend.
type health struct {
	state     State
	probes    []time.Time // starts of those without an end, oldest first
	failures  int         // probes failed in a row
	successes int         // probes succeeded in a row
	needed    int         // successes that bring it back from Down
	lost      bool        // lost work since the last good probe
	lostAt    time.Time
	lastByte  time.Time // of an answer to a ticket
	lastSign  time.Time // of an answer to a ticket or a probe
}

// Probe reports the start or the end of a health probe. Probes may overlap;
// each start has exactly one end.
func (b *Balancer) Probe(now time.Time, name string, e ProbeEvent) []Effect {
	b.begin()
	be := b.byName[name]
	switch {
	case be == nil:
	case e == ProbeStarted:
		if len(be.probes) < maxProbes {
			be.probes = append(be.probes, now)
		}
	default:
		if len(be.probes) > 0 {
			be.probes = append(be.probes[:0], be.probes[1:]...)
		}
		if e == ProbeSucceeded {
			be.lastSign = now
		}
		if e == ProbeSucceeded || b.spokeRecently(now, be) {
			b.probeGood(be)
		} else {
			b.probeBad(now, be)
		}
	}
	return b.settle(now)
}

// spokeRecently says that an answer flows whatever the probe says: a busy vLLM
// misses probes. What came before work was lost does not count.
func (b *Balancer) spokeRecently(now time.Time, be *backend) bool {
	return now.Sub(be.lastByte) < b.cfg.ByteWindow && !(be.lost && be.lastByte.Before(be.lostAt))
}

func (b *Balancer) probeGood(be *backend) {
	be.failures = 0
	be.successes++
	be.lost = false
	if be.state == Down && be.successes < be.needed {
		return
	}
	if be.state == Down {
		be.breaker.halfOpen()
	}
	b.rise(be)
}

func (b *Balancer) probeBad(now time.Time, be *backend) {
	be.successes = 0
	be.failures++
	switch be.state {
	case Unknown, Out:
		b.fall(now, be, 1)
	case Up, Suspect:
		if be.failures >= b.cfg.DownAfter {
			b.fall(now, be, b.cfg.UpAfter)
		}
	}
}

func (b *Balancer) rise(be *backend) {
	if be.state != Up {
		be.state = Up
		b.freed = true
	}
}

// fall takes a backend down until that many probes in a row succeed.
func (b *Balancer) fall(now time.Time, be *backend, needed int) {
	be.state = Down
	be.needed = needed
	b.worse = true
	b.evacuate(now, be)
}

// heard notes a byte of a good answer.
func (b *Balancer) heard(now time.Time, be *backend) {
	be.lastByte = now
	b.lives(now, be)
}

// lives notes any other answer. An error proves that something listens, not
// that it works, so it does not outweigh a failed probe as heard does.
func (b *Balancer) lives(now time.Time, be *backend) {
	be.lastSign = now
	if be.state == Suspect {
		b.rise(be)
	}
}

// lose takes a backend out because work on it was lost, unless nothing else is
// left: then its connections are the better judge. Losses that follow before
// the next good probe are the same event and count once for the breaker.
func (b *Balancer) lose(now time.Time, be *backend) (first bool) {
	first = !be.lost
	be.lost, be.lostAt = true, now
	if (be.state == Up || be.state == Suspect) && b.othersUsable(be) {
		be.state = Out
	}
	return first
}

// noticeOwnSleep keeps the balancer from taking its own pause (a stopped
// process, a starved machine) for the silence of all backends.
func (b *Balancer) noticeOwnSleep(now time.Time) {
	if now.Sub(b.lastTick) >= ownSleep {
		b.awakeFrom = now
	}
	b.lastTick = now
}

// findSilent suspects backends that hold work and say nothing, and tries again
// to move what is left on those that it found before.
func (b *Balancer) findSilent(now time.Time) {
	for _, be := range b.backends {
		if be.running.n == 0 || !b.silent(now, be) {
			continue
		}
		if be.state == Up && b.mayStall(now, be) {
			be.state = Suspect
		}
		if be.state == Suspect || be.state == Down {
			b.evacuate(now, be)
		}
	}
}

func (b *Balancer) silent(now time.Time, be *backend) bool {
	return now.Sub(later(be.lastSign, b.awakeFrom)) >= b.cfg.StallSilence
}

// mayStall says that a probe is overdue too, and that enough backends are left.
func (b *Balancer) mayStall(now time.Time, be *backend) bool {
	if len(be.probes) == 0 || now.Sub(later(be.probes[0], b.awakeFrom)) < b.cfg.StallProbe {
		return false
	}
	suspects, of := 1, 0
	for _, other := range b.backends {
		if other.leaving {
			continue
		}
		of++
		if other.state == Suspect {
			suspects++
		}
	}
	return (be.leaving || 2*suspects <= of) && b.othersUsable(be)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// evacuate takes back what can run elsewhere.
func (b *Balancer) evacuate(now time.Time, be *backend) {
	for t := be.running.head; t != nil; {
		next := t.next
		if !t.committed && b.elsewhere(t) && b.grantAttempt(t, true) {
			b.release(t)
			t.until = now.Add(t.patience)
			b.requeue(now, t)
			b.effects = append(b.effects, Effect{Kind: Move, Ticket: t, Backend: be.Name, Attempt: t.attempts})
		}
		t = next
	}
}

// elsewhere says that a usable backend is left for the ticket, so that it is
// not taken from one that may yet answer to wait for one that may yet come.
func (b *Balancer) elsewhere(t *Ticket) bool {
	for _, be := range b.backends {
		if be.usable() && be.serves(t) && !t.hasTried(be) {
			return true
		}
	}
	return false
}
