package completions

import (
	"context"
	"sync"
	"time"
)

const (
	// nearby is how near to the time its client announced a reader must leave
	// to be one whose client has lost patience and asks again, as SDKs do.
	nearby = time.Second
	// linger is how long a flight waits for such a client to come back.
	linger = 10 * time.Second
	// abandoned is how long a flight may still take that goes on for the cache alone.
	abandoned = 10 * time.Minute
	// unbounded is what the pool is told of a shared flight's wait for a slot: it
	// ends when no reader is left that may wait.
	unbounded = time.Hour
	// leastPatience is what it takes at most to take up a slot that is free.
	leastPatience = 50 * time.Millisecond
)

// flights are the shared flights in progress, by the key of their question.
//
// An asker finds either the flight or its remembered answer: a flight is here
// before the cache is asked for it, and until its answer is in there.
type flights struct {
	ctx   context.Context // of every flight's work
	stop  context.CancelCauseFunc
	pumps sync.WaitGroup

	mu     sync.Mutex
	byKey  map[[32]byte]*flight
	closed bool
}

// sharing is what a shared flight has beside its record. flights.mu, which is
// taken before flight.mu, guards what is not constant.
type sharing struct {
	key    [32]byte
	finish bool          // Request.Finish of its opener
	urgent chan struct{} // closed when a reader of the higher class joins; nil where none is higher

	aboard    int         // readers
	hurried   bool        // urgent is closed
	displaced bool        // a fresh run has taken its place: its answer is not the newest
	arrived   bool        // its answer is complete and on its way into the cache
	landed    bool        // nobody can join it any more
	expected  time.Time   // until when a client is expected back
	ends      time.Time   // when it is ended, where it has no reader till then
	timer     *time.Timer // which does that
}

func newFlights() *flights {
	t := &flights{byKey: make(map[[32]byte]*flight)}
	t.ctx, t.stop = context.WithCancelCause(context.Background())
	return t
}

// board makes a reader of the flight for key: of one in progress, or else of a
// new one, which the reader has then opened. A fresh run joins nobody, but may
// be joined.
func (t *flights) board(ctx context.Context, key [32]byte, r *Request, waits bool) *Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.byKey[key]
	st := &Stream{cache: Joined}
	if f == nil || r.Control == NoCache {
		if f != nil {
			f.shared.displaced = true
		}
		f = newFlight(r)
		f.shared = &sharing{key: key, finish: r.Finish}
		if r.Batch {
			f.shared.urgent = make(chan struct{})
		}
		t.byKey[key] = f
		st = &f.first
		st.cache = Miss
	}
	st.init(ctx, r)
	st.flights, st.waits, st.done = t, waits, ctx.Done()
	t.join(f, st, r.Batch)
	return st
}

// join adds a reader. t.mu is held.
func (t *flights) join(f *flight, st *Stream, batch bool) {
	s := f.shared
	s.aboard++
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.urgent != nil && !batch && !s.hurried {
		s.hurried = true
		close(s.urgent)
	}
	f.add(st)
}

// leave takes a reader away. Where it was the last, and there is no reason to
// go on, the flight is ended, and the slot is free when leave returns. An opener
// whom nobody could tell later what it cost stays to the end.
func (t *flights) leave(st *Stream, cause error) {
	f, s := st.flight, st.flight.shared
	t.mu.Lock()
	now := time.Now()
	if st.expectedBack(now) {
		s.expected = now.Add(linger)
	}
	s.aboard--
	last := s.aboard == 0 && !s.arrived && !s.landed
	if last {
		if wait := t.remaining(f, now); wait > 0 {
			last, s.ends = false, now.Add(wait)
			s.timer = time.AfterFunc(wait, func() { t.expire(f) })
		} else {
			t.drop(f)
			f.cancel(cause)
		}
	}
	t.mu.Unlock()
	if last || st.opened && !st.accounted {
		<-f.over
	}
}

// remaining is how long f may go on without a reader: for a client that is
// expected back, or for the cache, which is worth no slot that it has not got yet.
func (t *flights) remaining(f *flight, now time.Time) time.Duration {
	wait := f.shared.expected.Sub(now)
	if f.shared.finish && f.underway() {
		wait = max(wait, abandoned)
	}
	return wait
}

// expire ends a flight that nobody came back to.
func (t *flights) expire(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := f.shared; s.aboard > 0 || s.arrived || s.landed || time.Now().Before(s.ends) {
		return
	}
	t.drop(f)
	f.cancel(errReaderGone)
}

// depart gives f the context of its work, which begins with waiting for a slot,
// unless the service is closed.
func (t *flights) depart(f *flight) (context.Context, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, context.Cause(t.ctx)
	}
	t.pumps.Add(1)
	f.queued()
	var ctx context.Context
	ctx, f.cancel = context.WithCancelCause(t.ctx)
	return ctx, nil
}

// land takes f out: nobody joins it any more.
func (t *flights) land(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(f)
}

// drop is land. t.mu is held.
func (t *flights) drop(f *flight) {
	s := f.shared
	s.landed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	if t.byKey[s.key] == f {
		delete(t.byKey, s.key)
	}
}

// arrive says that f's answer is complete: from here on nobody's leaving ends
// it. It reports whether no fresh run has taken its place.
func (t *flights) arrive(f *flight) (newest bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.shared.arrived = true
	return !f.shared.displaced
}

// close ends all flights because of cause and waits for them.
func (t *flights) close(cause error) {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.stop(cause)
	t.pumps.Wait()
}
