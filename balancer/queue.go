package balancer

import "time"

// queue holds the waiting tickets in the order in which they start: first what
// was taken back from a backend, first come first served, then class by class
// what is new, as the class's schedule shares it out.
type queue struct {
	front     line
	schedules [classes]schedule
	tenants   tenants
	count     [classes]int // the front included
}

func newQueue() queue {
	return queue{tenants: tenants{byName: make(map[string]*tenant)}}
}

func (q *queue) len() int {
	n := 0
	for _, c := range q.count {
		n += c
	}
	return n
}

// add takes in a new ticket.
func (q *queue) add(now time.Time, t *Ticket) {
	q.put(now, t)
	q.enter(t)
	t.flow.line.push(t)
}

// addBack puts a ticket that was started before ahead of all new ones.
func (q *queue) addBack(now time.Time, t *Ticket) {
	q.put(now, t)
	q.front.push(t)
}

func (q *queue) put(now time.Time, t *Ticket) {
	t.phase = queued
	t.since = now
	q.count[t.Class]++
}

// enter finds the flow of a ticket that is to join its line.
func (q *queue) enter(t *Ticket) {
	tn := q.tenants.named(t.Tenant)
	tn.weight = t.weight()
	t.flow = &tn.flows[t.Class]
	q.schedules[t.Class].enter(t.flow)
}

// remove takes out a ticket wherever it stands.
func (q *queue) remove(t *Ticket) {
	q.count[t.Class]--
	if t.flow == nil {
		q.front.remove(t)
		return
	}
	t.flow.line.remove(t)
	q.schedules[t.Class].leave(t.flow)
	t.flow = nil
}

// raise moves a ticket to a more urgent class.
func (q *queue) raise(t *Ticket, c Class) {
	inFront := t.flow == nil
	q.remove(t)
	t.Class = c
	q.count[c]++
	if inFront {
		q.front.insertByAge(t)
		return
	}
	q.enter(t)
	t.flow.line.insertByAge(t)
}

// serve takes out a ticket of the flow at index i of its class to be started.
func (q *queue) serve(i int, t *Ticket) {
	q.schedules[t.Class].serve(i, t.charge())
	q.remove(t)
}

// displaced is the ticket that gives its place in a full queue to t; nil where
// t finds none. It is the newest one, in the least urgent class, of the tenant
// that takes most of the queue for its weight, where that is more than t's
// tenant would take then. So one tenant can fill the queue and keeps nobody out
// by it. A tenant always has one place; and within one tenant what is urgent
// takes the place of what is not.
func (q *queue) displaced(t *Ticket) *Ticket {
	var most *tenant
	for c := range q.schedules {
		for _, f := range q.schedules[c].flows {
			if tn := f.tenant; tn.waiting() > 1 && (most == nil || tn.load() > most.load()) {
				most = tn
			}
		}
	}
	own, has := q.tenants.byName[t.Tenant], 0
	if own != nil {
		has = own.waiting()
	}
	switch {
	case most == nil:
		return nil
	case most == own && most.newest().Class > t.Class,
		most != own && (has == 0 || float64(has+1)/t.weight() < most.load()):
		return most.newest()
	}
	return nil
}

// each calls visit for all tickets; it may remove the one it is given.
func (q *queue) each(visit func(*Ticket)) {
	q.front.each(visit)
	for c := range q.schedules {
		s := &q.schedules[c]
		for i := len(s.flows) - 1; i >= 0; i = min(i, len(s.flows)) - 1 { // from behind: flows may go with their last ticket
			s.flows[i].line.each(visit)
		}
	}
}

// oldestWait is how long the ticket that waits longest has waited.
func (q *queue) oldestWait(now time.Time) time.Duration {
	oldest := q.front.age(now)
	for c := range q.schedules {
		for _, f := range q.schedules[c].flows {
			oldest = max(oldest, f.line.age(now))
		}
	}
	return oldest
}
