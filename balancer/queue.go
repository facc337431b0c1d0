package balancer

import "time"

// queue holds the waiting tickets in the order in which they start: first what
// was taken back from a backend, then class by class, each first come first
// served. A walk by first and after may remove the ticket it stands on once it
// has asked for the next one.
type queue struct {
	lines [1 + classes]line
	count [classes]int
}

func (q *queue) len() int {
	n := 0
	for _, c := range q.count {
		n += c
	}
	return n
}

// add appends a new ticket to its class.
func (q *queue) add(now time.Time, t *Ticket) { q.put(now, t, &q.lines[1+t.Class]) }

// addBack puts a ticket that was started before ahead of all new ones.
func (q *queue) addBack(now time.Time, t *Ticket) { q.put(now, t, &q.lines[0]) }

func (q *queue) put(now time.Time, t *Ticket, l *line) {
	t.phase = queued
	t.since = now
	l.push(t)
	q.count[t.Class]++
}

func (q *queue) remove(t *Ticket) {
	t.line.remove(t)
	q.count[t.Class]--
}

func (q *queue) first() *Ticket { return q.firstFrom(0) }

func (q *queue) firstFrom(i int) *Ticket {
	for ; i < len(q.lines); i++ {
		if q.lines[i].head != nil {
			return q.lines[i].head
		}
	}
	return nil
}

func (q *queue) after(t *Ticket) *Ticket {
	if t.next != nil {
		return t.next
	}
	for i := range q.lines {
		if t.line == &q.lines[i] {
			return q.firstFrom(i + 1)
		}
	}
	return nil
}

// oldestWait is how long the ticket that waits longest has waited.
func (q *queue) oldestWait(now time.Time) time.Duration {
	var oldest time.Duration
	for i := range q.lines {
		if t := q.lines[i].head; t != nil {
			oldest = max(oldest, now.Sub(t.since))
		}
	}
	return oldest
}

// line is a linked list through the tickets themselves, so that nothing is
// allocated. A ticket is in at most one.
type line struct {
	head, tail *Ticket
	n          int
}

func (l *line) push(t *Ticket) {
	t.line, t.prev, t.next = l, l.tail, nil
	if l.tail == nil {
		l.head = t
	} else {
		l.tail.next = t
	}
	l.tail = t
	l.n++
}

func (l *line) remove(t *Ticket) {
	if t.prev == nil {
		l.head = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.tail = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.line, t.prev, t.next = nil, nil, nil
	l.n--
}
