package completions

import "sync"

// record is the events of an answer as they came, one behind the other. What is
// in it is not overwritten while anybody reads it, so that readers need no copy:
// a piece of it stays what it was even where appending moves on to larger memory.
type record struct {
	events []byte
	usage  []span // where the usage chunks stand, which only those get who asked
}

type span struct{ start, end int }

// Memory of records goes from one flight to the next: some 200 bytes for every
// token that is answered would otherwise be new each time.
var records = sync.Pool{New: func() any { return new([]byte) }}

// keptRecord bounds what a record may leave to the next.
const keptRecord = 1 << 20

// take gives a new record the memory of one that is gone.
func (r *record) take() {
	if r.events == nil {
		r.events = (*records.Get().(*[]byte))[:0]
	}
}

// give gives its memory back, when nobody is left who may read it.
func (r *record) give() {
	if memory := r.events; 0 < cap(memory) && cap(memory) <= keptRecord {
		records.Put(&memory)
	}
	*r = record{}
}

func (r *record) add(event []byte, usage bool) {
	if usage {
		r.usage = append(r.usage, span{len(r.events), len(r.events) + len(event)})
	}
	r.events = append(r.events, event...)
}

// from returns events from a place on, and the place behind them: without the
// usage chunks, unless they are wanted. Where it returns none there are none yet.
func (r *record) from(at int, usage bool) (p []byte, next int) {
	end := len(r.events)
	if !usage {
		for _, s := range r.usage {
			if at < s.start {
				end = s.start
				break
			}
			at = max(at, s.end)
		}
	}
	return r.events[at:end:end], end
}

// forget empties the record. Nobody may have seen any of it.
func (r *record) forget() { r.events, r.usage = r.events[:0], r.usage[:0] }
