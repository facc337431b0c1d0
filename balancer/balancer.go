// Package balancer decides who gets the next slot on which backend.
//
// It is a state machine: events go in (a request arrives, is cancelled, makes
// progress, ends; a probe starts or ends; time passes), effects come out
// (start this request there, refuse it, take it off its backend). A ticket that
// arrives starts at once where the policy finds room, or waits in one bounded
// queue, whose turns and places tenants share by their weights; whatever frees
// room or brings a backend back starts those that wait.
//
// Every backend has two judges. Health (probes, bytes seen, lost connections)
// says whether it is there at all, the breaker says whether its answers are any
// good. Tickets on a backend that falls silent or goes down are taken back and
// started elsewhere. The package does no I/O, starts no goroutine and has no
// clock of its own, so the same code runs in production, in tests and in a
// simulation. It is not safe for concurrent use: the caller holds one lock
// around it, and acts on the effects before the next call.
package balancer

import (
	"math/rand/v2"
	"time"
)

// Balancer is the state of one pool.
type Balancer struct {
	cfg      Config
	choose   chooser
	random   *rand.Rand
	turn     int // where round robin goes on
	backends []*backend
	byName   map[string]*backend
	models   map[string]*model
	unlisted model // stands for all names that nobody listed
	walk     uint  // number of the last look through the queue

	queue      queue
	inProgress int // tickets that arrived and are not over
	retrying   int // of these, on their budgeted retry

	lastTick  time.Time
	awakeFrom time.Time // silence before this was the router's own

	effects []Effect
	emptied bool // a backend that leaves may have nothing left to do
	freed   bool // room may have appeared: look through the queue
	worse   bool // hope may have gone: look through the queue
}

// New returns a balancer whose backends are all unknown until their first
// probe. It panics on a Config that Validate refuses. Equal seeds and equal
// events give equal effects.
func New(cfg Config, seed uint64) *Balancer {
	b := &Balancer{
		random: rand.New(rand.NewPCG(seed, 0)),
		byName: make(map[string]*backend, len(cfg.Backends)),
		models: make(map[string]*model),
		queue:  newQueue(),
	}
	b.configure(cfg)
	return b
}

// All events return the effects to carry out, valid until the next call.

// Arrive brings a new ticket: it starts, waits, or is refused with
// ErrNoBackend, ErrQueueFull or, where its Deadline is not ahead, ErrQueueTimeout.
// A ticket that is over may arrive again.
func (b *Balancer) Arrive(now time.Time, t *Ticket) []Effect {
	b.begin()
	t.arrive(now, b.modelOf(t))
	b.inProgress++
	switch be := b.choose(b, t); {
	case be != nil:
		b.start(now, be, t)
	case !b.hope(t):
		b.refuse(t, ErrNoBackend)
	case !t.until.After(now):
		b.refuse(t, ErrQueueTimeout)
	case b.queue.len() >= b.cfg.MaxQueue:
		b.squeeze(now, t)
	default:
		b.queue.add(now, t)
	}
	return b.settle(now)
}

// squeeze lets a ticket into a full queue in the place of another, or refuses it.
func (b *Balancer) squeeze(now time.Time, t *Ticket) {
	out := b.queue.displaced(t)
	if out == nil {
		b.refuse(t, ErrQueueFull)
		return
	}
	b.queue.remove(out)
	b.refuse(out, ErrQueueFull)
	b.queue.add(now, t)
}

// Cancel ends a ticket whose caller left, waiting or running. A ticket that is
// over is left alone.
func (b *Balancer) Cancel(now time.Time, t *Ticket) []Effect {
	if t.phase == running {
		return b.Done(now, t, Aborted, false)
	}
	b.begin()
	if t.phase == queued {
		b.queue.remove(t)
		b.end(t)
	}
	return b.settle(now)
}

// Progress reports bytes of the answer of a running ticket: the head of a 200,
// then anything that follows. The head of an error need not be reported, its
// Done follows at once.
func (b *Balancer) Progress(now time.Time, t *Ticket) []Effect {
	b.begin()
	if t.phase == running {
		b.firstByte(now, t)
		b.heard(now, t.backend)
	}
	return b.settle(now)
}

// Commit binds a running ticket to its backend, because somebody outside sees
// its answer now: it is neither moved nor tried again any more. It reports
// false where the ticket is not running.
func (b *Balancer) Commit(t *Ticket) bool {
	if t.phase != running {
		return false
	}
	t.committed = true
	return true
}

// Raise makes a ticket more urgent. Where it waits it goes to the place that it
// would have, had it come in that class; running, it keeps the class for later
// waits. A ticket that is over, or as urgent already, is left alone.
func (b *Balancer) Raise(now time.Time, t *Ticket, c Class) []Effect {
	b.begin()
	switch {
	case t.phase == idle || t.Class <= c:
	case t.phase == queued:
		b.queue.raise(t, c)
	default:
		t.Class = c
	}
	return b.settle(now)
}

// Done ends the attempt of a running ticket. With again the caller asks for
// another attempt on another backend after a Refused, Failed or Lost one: the
// ticket starts, waits at the front of the queue, or is refused with
// ErrNoRetry. Otherwise the ticket is over.
func (b *Balancer) Done(now time.Time, t *Ticket, o Outcome, again bool) []Effect {
	b.begin()
	if t.phase != running {
		return b.settle(now)
	}
	b.judge(now, t, o)
	b.release(t)
	t.until = now.Add(t.patience)
	switch {
	case !again || o == Success || o == Aborted:
		b.end(t)
	case t.committed || !b.hope(t) || !b.grantAttempt(t, o == Lost):
		b.refuse(t, ErrNoRetry)
	default:
		t.failed = true
		b.requeue(now, t)
	}
	return b.settle(now)
}

// Tick lets time pass: it ends waiting that took too long, gives tripped
// backends their trial and finds backends that fell silent. Nothing of this
// happens later than one tick: every 100 ms is good, a second apart is taken for
// a pause of the router itself.
func (b *Balancer) Tick(now time.Time) []Effect {
	b.begin()
	b.noticeOwnSleep(now)
	b.openTrials(now)
	b.findSilent(now)
	b.expire(now)
	return b.settle(now)
}

func (b *Balancer) begin() { b.effects = b.effects[:0] }

// settle ends every event: who waits in vain is refused, who can start starts.
// After it no waiting ticket has room anywhere, so an arriving one that finds
// room overtakes nobody.
func (b *Balancer) settle(now time.Time) []Effect {
	if b.emptied {
		b.emptied = false
		b.dropEmpty()
	}
	if b.worse {
		b.worse = false
		b.refuseHopeless()
	}
	if b.freed {
		b.freed = false
		b.dispatch(now)
	}
	return b.effects
}

// dispatch starts waiting tickets while there is room.
func (b *Balancer) dispatch(now time.Time) {
	if b.queue.len() == 0 {
		return
	}
	b.walk++
	room := b.anyRoom()
	b.queue.front.each(func(t *Ticket) {
		if !room {
			return
		}
		if be := b.choose(b, t); be != nil {
			b.queue.remove(t)
			b.start(now, be, t)
			room = b.anyRoom()
		}
	})
	for c := range b.queue.schedules {
		for room && b.startNext(now, &b.queue.schedules[c]) {
			room = b.anyRoom()
		}
	}
}

// startNext starts the ticket of one class whose turn it is, of those that find
// room.
func (b *Balancer) startNext(now time.Time, s *schedule) bool {
	for i, f := range s.flows {
		for t := f.line.head; t != nil; t = t.next {
			if t.model.full == b.walk {
				continue
			}
			if be := b.choose(b, t); be != nil {
				b.queue.serve(i, t)
				b.start(now, be, t)
				return true
			}
			t.model.full = b.walk
		}
	}
	return false
}

func (b *Balancer) start(now time.Time, be *backend, t *Ticket) {
	be.take(now, t)
	b.effects = append(b.effects, Effect{Kind: Start, Ticket: t, Backend: be.Name, Attempt: t.attempts})
}

// release gives the slot of a running ticket back.
func (b *Balancer) release(t *Ticket) {
	b.emptied = b.emptied || t.backend.leaving
	t.backend.give(t)
	b.freed = true
}

func (b *Balancer) requeue(now time.Time, t *Ticket) {
	b.queue.addBack(now, t)
	b.freed = true
}

func (b *Balancer) refuse(t *Ticket, err error) {
	b.end(t)
	b.effects = append(b.effects, Effect{Kind: Refuse, Ticket: t, Attempt: t.attempts, Err: err})
}

// end makes a ticket that is neither queued nor running any more over.
func (b *Balancer) end(t *Ticket) {
	b.inProgress--
	if t.retried {
		b.retrying--
	}
	t.over()
}

// expire refuses what waited until its deadline.
func (b *Balancer) expire(now time.Time) {
	b.queue.each(func(t *Ticket) {
		if !t.until.After(now) {
			b.queue.remove(t)
			b.refuse(t, t.reason(ErrQueueTimeout))
		}
	})
}

// refuseHopeless refuses what waits for backends that will not come.
func (b *Balancer) refuseHopeless() {
	b.queue.each(func(t *Ticket) {
		if !b.hope(t) {
			b.queue.remove(t)
			b.refuse(t, t.reason(ErrNoBackend))
		}
	})
}
