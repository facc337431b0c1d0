package balancer

import "time"

// line is a linked list through the tickets themselves, so that nothing is
// allocated. A ticket is in at most one.
type line struct {
	head, tail *Ticket
	n          int
}

func (l *line) push(t *Ticket) { l.insert(t, l.tail) }

// insert puts t behind the one given, nil for the head of the line.
func (l *line) insert(t, behind *Ticket) {
	next := &l.head
	if behind != nil {
		next = &behind.next
	}
	t.prev, t.next = behind, *next
	*next = t
	if t.next == nil {
		l.tail = t
	} else {
		t.next.prev = t
	}
	l.n++
}

// insertByAge puts t where it would be, had it joined when its wait began.
func (l *line) insertByAge(t *Ticket) {
	behind := l.tail
	for behind != nil && behind.since.After(t.since) {
		behind = behind.prev
	}
	l.insert(t, behind)
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
	t.prev, t.next = nil, nil
	l.n--
}

// each calls visit for all tickets; it may remove the one it is given.
func (l *line) each(visit func(*Ticket)) {
	for t := l.head; t != nil; {
		next := t.next
		visit(t)
		t = next
	}
}

// age is how long the first ticket has waited.
func (l *line) age(now time.Time) time.Duration {
	if l.head == nil {
		return 0
	}
	return now.Sub(l.head.since)
}
