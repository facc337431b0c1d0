package completions

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// ErrQuiet is returned by Next when nothing came for as long as the reader
// wanted to wait. The answer goes on.
var ErrQuiet = errors.New("no event yet")

// errReaderGone is the cause of a flight that was ended because its last reader
// left, without saying why.
var errReaderGone = errors.New("the reader left")

// Stream is a reader of a flight: of one that it has for itself, or of one that
// equal questions share. It hands out the answer's events from the first one on,
// or a remembered answer in the form of events.
//
// The reader must call Close, which ends the work where nobody else needs it.
// Its methods are for one goroutine.
type Stream struct {
	flight    *flight
	flights   *flights // nil for a flight of one's own
	ctx       context.Context
	asked     time.Time
	patience  time.Duration // for a slot, at a time
	announced time.Duration // Request.Announced
	model     string        // as the client calls it; "" for a page
	usage     bool          // the client asked for the usage chunk itself
	waits     bool          // for the end: events do not wake it
	opened    bool          // it opened the flight, which is for it to pay
	accounted bool          // there is a Request.Account
	cache     CacheState

	wake chan struct{}   // holds a token when there may be something new
	done <-chan struct{} // of ctx; nil where ending the flight itself is enough
	bell *time.Timer     // rings when the wait for a slot is over; nil where the pool sees to it

	served bool   // a remembered answer was handed out
	spare  []byte // of a flight of one's own: the memory handed out last

	// Under flight.mu:
	next *Stream
	at   int // place in the record
	told int // flight.counted, when something was last taken

	// From Close on:
	left    bool
	ongoing bool // the flight goes on without its opener
	receipt backends.Receipt
	finish  string
}

// init fills in what is the reader's own. The request itself is left to the
// pump, so that its image is not held by readers who come late and stay long.
func (st *Stream) init(ctx context.Context, r *Request) {
	st.ctx, st.asked = ctx, time.Now()
	st.patience, st.announced, st.accounted = max(r.QueueFor, leastPatience), r.Announced, r.Account != nil
	st.wake = make(chan struct{}, 1)
	if r.Client != nil {
		st.model, st.usage = r.Client.Model, r.Client.IncludeUsage || r.Dialect == compat.Responses
	}
}

func (st *Stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// Next returns the events that came since the last call, waiting for them at
// most until quiet delivers. The bytes are valid until the next call. After the
// last event it returns io.EOF for a complete answer, or what went wrong.
func (st *Stream) Next(quiet <-chan time.Time) ([]byte, error) {
	for {
		p, err := st.take()
		if len(p) > 0 || err != nil {
			return p, err
		}
		if err := st.sleep(quiet); err != nil {
			return nil, err
		}
	}
}

// take returns what there is now, or why there will be nothing more.
func (st *Stream) take() ([]byte, error) {
	f := st.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.record.events) > st.at && f.commit() {
		st.told = f.counted
		if f.shared == nil { // the memory goes back and forth between the pump and the reader
			p := f.record.events
			f.record.events, st.spare = st.spare[:0], p
			return p, nil
		}
		var p []byte
		if p, st.at = f.record.from(st.at, st.usage); len(p) > 0 {
			return p, nil
		}
	}
	if f.hit() && !st.served {
		st.served = true
		return compat.AppendChatEvents(nil, st.rendered(f.answer), st.usage), nil
	}
	return nil, st.verdict()
}

// Await waits until there is something to read, the answer has ended or quiet
// delivers. Unlike Next it takes nothing, so the answer can still be begun anew elsewhere.
func (st *Stream) Await(quiet <-chan time.Time) error {
	for {
		some, err := st.look()
		if some || err != nil {
			return err
		}
		if err := st.sleep(quiet); err != nil {
			return err
		}
	}
}

func (st *Stream) look() (some bool, err error) {
	f := st.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.record.events) > st.at || f.hit() && !st.served {
		return true, nil
	}
	return false, st.verdict()
}

// verdict is why the reader need not wait any longer; nil where it must.
// flight.mu is held.
func (st *Stream) verdict() error {
	f := st.flight
	if f.ended {
		return f.err
	}
	if f.waiting.IsZero() {
		return nil
	}
	since := st.asked
	if f.waiting.After(since) {
		since = f.waiting
	}
	left := st.patience - time.Since(since)
	switch {
	case left <= 0:
		return backends.ErrBusy
	case st.bell == nil:
		st.bell = time.AfterFunc(left, st.signal)
	default:
		st.bell.Reset(left)
	}
	return nil
}

// sleep waits for a reason to look again.
func (st *Stream) sleep(quiet <-chan time.Time) error {
	select {
	case <-st.wake:
		return nil
	case <-st.done:
		return context.Cause(st.ctx)
	case <-quiet:
		return ErrQuiet
	}
}

// whole waits for the end and closes the stream.
func (st *Stream) whole() (*Answer, error) {
	err := st.landed()
	st.Close(err)
	f := st.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &Answer{Cache: st.cache}
	if f.ended && f.answer != nil { // which it may have just when the reader left
		*a, err = *f.answer, nil
		if a.Cache != Hit {
			a.Cache = st.cache
		}
	}
	a.Receipt, a.Ongoing = st.receipt, st.ongoing
	a.Away = time.Since(st.asked)
	if st.opened {
		a.Away = a.Receipt.Queue + a.Receipt.Busy
	}
	if err == nil && st.model != "" {
		a.JSON = compat.AppendChat(make([]byte, 0, len(a.Text)+len(a.Text)/8+512), st.rendered(a))
	}
	return a, err
}

// landed waits until the answer has ended, or the reader may wait no longer.
func (st *Stream) landed() error {
	f := st.flight
	for {
		f.mu.Lock()
		err := st.verdict()
		f.mu.Unlock()
		if err == nil {
			err = st.sleep(nil)
		}
		if err != nil {
			return err
		}
	}
}

// rendered is a as it is written for the reader's client: under the name that
// all readers of a flight know it by, or a new one for what is remembered.
// flight.mu is held.
func (st *Stream) rendered(a *Answer) compat.Answer {
	out := compat.Answer{
		ID: st.flight.id, Created: st.flight.created, Model: st.model,
		Text: a.Text, Finish: a.Finish, Usage: a.Usage,
	}
	if a.Cache == Hit {
		out.Usage.CachedTokens = a.Usage.PromptTokens
	}
	if out.ID == "" {
		out.ID, out.Created = "chatcmpl-"+rand.Text(), st.asked.Unix()
	}
	return out
}

// expectedBack reports whether a client that leaves now has lost patience, and
// may be about to ask again.
func (st *Stream) expectedBack(now time.Time) bool {
	over := now.Sub(st.asked) - st.announced
	return st.announced > 0 && over.Abs() <= nearby
}

// Start says which backend the answer comes from; zero until there is one.
func (st *Stream) Start() backends.Start {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	return st.flight.start
}

// Number is the sequence_number, in a stream of responses, of an event that
// follows those which Next has returned.
func (st *Stream) Number() int {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	return st.told
}

// Awaited is the time from the asking to the first event, the queue included;
// zero until there is one.
func (st *Stream) Awaited() time.Duration {
	f := st.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.came.IsZero() {
		return 0
	}
	return max(0, f.came.Sub(st.asked))
}

// Cache says what the cache had to do with the answer. It is asked when Await
// or Next has returned something.
func (st *Stream) Cache() CacheState {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	if st.flight.hit() {
		return Hit
	}
	return st.cache
}

// Age is that of a remembered answer.
func (st *Stream) Age() time.Duration {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	if st.flight.hit() {
		return st.flight.answer.Age
	}
	return 0
}

// Usage is what the answer took, whoever paid for it, as far as it is known.
func (st *Stream) Usage() compat.Usage {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	if st.flight.answer != nil {
		return st.flight.answer.Usage
	}
	return st.flight.usage
}

// Close takes the reader away and returns the receipt and the finish_reason, as
// far as they are known to it. Where nobody else needs the work, it is ended
// because of cause, and its slot is free when Close returns.
func (st *Stream) Close(cause error) (backends.Receipt, string) {
	if st.left {
		return st.receipt, st.finish
	}
	st.left = true
	if cause == nil {
		cause = errReaderGone
	}
	if st.bell != nil {
		st.bell.Stop()
	}
	if st.flights != nil {
		st.flights.leave(st, cause)
	} else {
		st.flight.cancel(cause)
		<-st.flight.over
	}
	st.flight.remove(st)
	return st.receipt, st.finish
}

// Ongoing reports, after Close, whether the reader opened a flight that goes on
// without it. Then Request.Account is still to be called.
func (st *Stream) Ongoing() bool { return st.ongoing }

// Quality is what is to be said of the answer, as far as it came. It is asked
// after Close.
func (st *Stream) Quality() Quality {
	st.flight.mu.Lock()
	defer st.flight.mu.Unlock()
	return st.flight.quality
}

// settle is what the flight costs its reader. The opener pays for all of it,
// once: in its receipt where the flight has ended, else by Request.Account. Who
// has joined learns where the answer came from and how long it was. flight.mu
// is held.
func (st *Stream) settle() backends.Receipt {
	f := st.flight
	switch {
	case st.opened && f.ended:
		return f.receipt
	case st.opened:
		return backends.Receipt{Start: f.start}
	}
	receipt := backends.Receipt{Start: f.start}
	if f.ended {
		receipt.Start, receipt.Usage = f.receipt.Start, f.receipt.Usage
	}
	receipt.Queue = min(receipt.Queue, max(0, f.sent.Sub(st.asked)))
	return receipt
}
