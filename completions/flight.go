package completions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// ErrBehind ends a stream whose reader takes so little of it that what waits
// would exceed maxRecord.
var ErrBehind = errors.New("the reader is too far behind the answer")

var errTooLong = errors.New("the answer is longer than 16 MiB")

// maxRecord bounds what one flight holds for its readers: the whole of every
// usual answer, and not all log probabilities of eight answers at once.
const maxRecord = 16 << 20

// flight is one upstream answer in progress: a record of its events that one
// goroutine, the pump, writes at the backend's pace, and that any number of
// readers follow at theirs. A reader that is slow, stalled or gone holds up
// neither the pump nor another reader.
//
// A flight of one's own has one reader for ever, and what that one has taken is
// forgotten. A shared one keeps all of its record for those who come late, and
// the text for those who wait for the end. It is among flights, which say who
// may join it and when it is ended for want of readers.
//
// It is the sink of its pump: Begin, Take and Restart are called one at a time.
type flight struct {
	dialect compat.Dialect
	cancel  context.CancelCauseFunc
	over    chan struct{} // closed at the end: the slot is free, what is below is final
	first   Stream        // the reader that opened it
	shared  *sharing      // nil for a flight of one's own

	// The pump's:
	guard guard
	text  []byte // of the first choice; of what is shared only

	mu      sync.Mutex
	readers *Stream // linked by Stream.next
	start   backends.Start
	came    time.Time // of the first event
	record  record
	taken   bool // a reader has seen an event: no way back
	counted int  // events of responses that came: the next one's sequence_number
	finish  string
	quality Quality

	// Of what is shared only:
	sent    time.Time // when the last attempt began
	waiting time.Time // since when it waits for a slot; zero where it has one
	usage   compat.Usage
	id      string // by which the backend calls the answer
	created int64

	// With ended:
	ended   bool
	err     error // io.EOF for a complete answer
	receipt backends.Receipt
	answer  *Answer // of what is shared and complete, or was remembered
}

func newFlight(r *Request) *flight {
	f := &flight{dialect: r.Dialect, over: make(chan struct{}), guard: r.guard()}
	f.first.opened = true
	return f
}

// Begin tells the flight that a backend answers.
func (f *flight) Begin(start backends.Start) {
	f.guard.restart()
	f.text = f.text[:0]
	f.mu.Lock()
	f.start, f.waiting = start, time.Time{}
	f.forget()
	f.mu.Unlock()
}

// Take appends an event to the record.
func (f *flight) Take(raw []byte, c *compat.Chunk) error {
	usage := c.Empty && c.Usage != nil
	if usage && f.shared == nil && !f.first.usage {
		return nil
	}
	cut := f.guard.watch(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.record.events)+len(raw) > maxRecord {
		if f.shared == nil {
			return ErrBehind
		}
		return errTooLong
	}
	if f.came.IsZero() {
		f.came = time.Now()
	}
	if f.shared != nil {
		f.collect(raw, c)
	}
	if len(c.Choices) > 0 && c.Choices[0].Finish != "" {
		f.finish = c.Choices[0].Finish
	}
	f.counted = c.Number + 1
	f.quality = f.guard.quality
	f.record.add(raw, usage)
	f.signal(false)
	if cut {
		f.record.add(compat.Cut(f.dialect, raw), false)
		f.finish = "length"
		return errCut
	}
	return nil
}

// collect keeps what those get who wait for the end, and who ask later.
func (f *flight) collect(raw []byte, c *compat.Chunk) {
	if len(f.record.events) == 0 {
		f.record.take()
		f.id, f.created = identity(raw)
	}
	if c.Usage != nil {
		f.usage = *c.Usage
	}
	for i := range c.Choices {
		if choice := &c.Choices[i]; choice.Index == 0 {
			f.text = compat.AppendText(f.text, choice.Text)
		}
	}
}

// identity is what the backend calls the answer, which its readers may speak of
// whether they have seen the event or not.
func identity(event []byte) (id string, created int64) {
	var head struct {
		ID      string `json:"id"`
		Created int64  `json:"created"`
	}
	_ = json.Unmarshal(bytes.TrimPrefix(event, []byte("data:")), &head) // it was read before
	return head.ID, head.Created
}

// Restart is refused once a reader has seen an event.
func (f *flight) Restart() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken {
		return false
	}
	f.forget()
	if f.shared != nil {
		f.wait()
	}
	return true
}

// wait begins the wait for a slot: readers count how long it lasts. f.mu is held.
func (f *flight) wait() {
	f.waiting = time.Now()
	f.signal(true)
}

// forget drops what an attempt gave that is void. f.mu is held.
func (f *flight) forget() {
	f.record.forget()
	f.came, f.finish, f.counted, f.quality, f.usage = time.Time{}, "", 0, Sound, compat.Usage{}
}

// commit is asked before any reader sees anything of an attempt. Where the
// answer has just been taken off its backend, what came of it is void. f.mu is held.
func (f *flight) commit() bool {
	if !f.taken {
		f.taken = f.start.Commit()
	}
	if !f.taken {
		f.forget()
	}
	return f.taken
}

// queued tells a shared flight that it is in the pool's queue.
func (f *flight) queued() {
	f.mu.Lock()
	f.wait()
	f.mu.Unlock()
}

// sending tells a shared flight that it has a slot and an attempt begins.
func (f *flight) sending() {
	f.mu.Lock()
	f.sent, f.waiting = time.Now(), time.Time{}
	f.mu.Unlock()
}

// underway reports whether it has a slot.
func (f *flight) underway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting.IsZero()
}

// signal wakes the readers that follow the events, or all. f.mu is held.
func (f *flight) signal(all bool) {
	for st := f.readers; st != nil; st = st.next {
		if all || !st.waits {
			st.signal()
		}
	}
}

// collected is the answer, once it is complete, as those get it who waited for
// the end. It is the pump's to ask.
func (f *flight) collected() *Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Answer{Text: string(f.text), Finish: f.finish, Usage: f.usage, Quality: f.quality}
}

// end tells the readers how it ended; answer is for those of a shared flight.
// owed: the reader that opened it has left before, and is still to be told what
// it cost.
func (f *flight) end(receipt backends.Receipt, err error, answer *Answer) (owed bool) {
	if err == nil {
		err = io.EOF
	}
	f.mu.Lock()
	f.receipt, f.err, f.answer, f.ended = receipt, err, answer, true
	if answer != nil {
		f.finish, f.quality = answer.Finish, answer.Quality
	}
	owed = f.first.ongoing
	f.signal(true)
	f.tidy()
	f.mu.Unlock()
	close(f.over)
	return owed
}

// hit reports whether the answer was a remembered one. f.mu is held.
func (f *flight) hit() bool { return f.answer != nil && f.answer.Cache == Hit }

// add makes st one of the readers.
func (f *flight) add(st *Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st.flight = f
	st.next, f.readers = f.readers, st
}

// remove takes st out of the readers and settles what it is told.
func (f *flight) remove(st *Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := &f.readers; *at != nil; at = &(*at).next {
		if *at == st {
			*at, st.next = st.next, nil
			break
		}
	}
	st.ongoing = st.opened && !f.ended
	st.receipt, st.finish = st.settle(), f.finish
	f.tidy()
}

// tidy gives the record back when nobody writes or reads it any more. f.mu is held.
func (f *flight) tidy() {
	if f.shared != nil && f.ended && f.readers == nil {
		f.record.give()
	}
}
