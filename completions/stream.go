package completions

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// ErrQuiet is returned by Next when nothing came for as long as the reader
// wanted to wait. The answer goes on.
var ErrQuiet = errors.New("no event yet")

// ErrBehind ends a stream whose reader takes so little of it that what waits
// would exceed maxBehind.
var ErrBehind = errors.New("the reader is too far behind the answer")

// maxBehind bounds what one stream holds for its reader: the whole of every
// usual answer, and not all log probabilities of eight answers at once.
const maxBehind = 16 << 20

// Stream is an answer in progress: a record that one goroutine, the pump, writes
// at the backend's pace, and that its reader follows at its own. A reader that is
// slow or stalled therefore never holds a backend's slot.
//
// The reader must call Close, which ends the work if it still goes on.
type Stream struct {
	cancel context.CancelCauseFunc
	pumped chan struct{} // closed when the pump has ended
	wake   chan struct{} // holds a token when there may be something new

	keepUsage bool // the client asked for the usage chunk itself
	asked     time.Time

	mu      sync.Mutex
	start   backends.Start
	came    time.Time // of the first event
	events  []byte    // what the reader has not yet taken
	spare   []byte    // the buffer the reader gave back
	taken   bool      // the reader has seen an event: no way back
	counted int       // events of responses that came: the next one's sequence_number
	told    int       // counted, when the reader last took what came
	err     error     // with ended: io.EOF for a complete answer
	ended   bool
	receipt backends.Receipt
	finish  string

	dialect compat.Dialect
	guard   guard // the pump's; after that, the reader's
}

// errReaderGone is the cause of a stream whose reader closed it early.
var errReaderGone = errors.New("the reader left")

// Stream begins an answer whose events are read while they come. It returns at
// once; errors are told by Next.
func (s *Service) Stream(ctx context.Context, r *Request) *Stream {
	ctx, cancel := context.WithCancelCause(ctx)
	st := &Stream{
		cancel:    cancel,
		pumped:    make(chan struct{}),
		wake:      make(chan struct{}, 1),
		asked:     time.Now(),
		keepUsage: r.Client.IncludeUsage || r.Dialect == compat.Responses,
		dialect:   r.Dialect,
		guard:     r.guard(),
	}
	go func() {
		defer close(st.pumped)
		receipt, err := s.pump(ctx, r, st)
		st.end(receipt, err)
	}()
	return st
}

// pump turns a panic into an error: it runs in a goroutine of its own, where a
// panic would end the process and everybody's work.
func (s *Service) pump(ctx context.Context, r *Request, st *Stream) (receipt backends.Receipt, err error) {
	defer func() {
		if p := recover(); p != nil {
			LogPanic(s.deps.Log, "panic while an answer was read", p)
			err = errPanicked
		}
	}()
	if receipt, err = s.do(ctx, r, true, st); errors.Is(err, errCut) {
		err = nil
	}
	return receipt, err
}

var errPanicked = errors.New("panic while an answer was read")

func (st *Stream) end(receipt backends.Receipt, err error) {
	st.mu.Lock()
	st.receipt, st.err, st.ended = receipt, err, true
	if err == nil {
		st.err = io.EOF
	}
	st.mu.Unlock()
	st.signal()
}

func (st *Stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// Begin, Take and Restart make Stream the sink of its pump.

func (st *Stream) Begin(start backends.Start) {
	st.guard.restart()
	st.mu.Lock()
	st.start = start
	st.forget()
	st.mu.Unlock()
}

func (st *Stream) Take(raw []byte, c *compat.Chunk) error {
	if c.Empty && c.Usage != nil && !st.keepUsage {
		return nil
	}
	cut := st.guard.watch(c)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.events)+len(raw) > maxBehind {
		return ErrBehind
	}
	if len(c.Choices) > 0 && c.Choices[0].Finish != "" {
		st.finish = c.Choices[0].Finish
	}
	if st.came.IsZero() {
		st.came = time.Now()
	}
	st.counted = c.Number + 1
	st.events = append(st.events, raw...)
	st.signal()
	if cut {
		st.events, st.finish = append(st.events, compat.Cut(st.dialect, raw)...), "length"
		return errCut
	}
	return nil
}

func (st *Stream) Restart() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.taken {
		return false
	}
	st.forget()
	return true
}

// forget drops what an attempt gave that is void. st.mu is held.
func (st *Stream) forget() {
	st.events, st.came, st.finish, st.counted = st.events[:0], time.Time{}, "", 0
}

// Next returns the events that came since the last call, waiting for them at
// most until quiet delivers. The bytes are valid until the next call. After the
// last event it returns io.EOF for a complete answer, or what went wrong.
func (st *Stream) Next(quiet <-chan time.Time) ([]byte, error) {
	for {
		st.mu.Lock()
		if len(st.events) > 0 && st.commit() {
			p := st.events
			st.events, st.spare = st.spare[:0], p
			st.told = st.counted
			st.mu.Unlock()
			return p, nil
		}
		ended, err := st.ended, st.err
		st.mu.Unlock()
		if ended {
			return nil, err
		}
		select {
		case <-st.wake:
		case <-quiet:
			return nil, ErrQuiet
		}
	}
}

// commit is asked before the reader sees anything of an attempt. Where the
// answer has just been taken off its backend, what came of it is void.
func (st *Stream) commit() bool {
	if !st.taken {
		st.taken = st.start.Commit()
	}
	if !st.taken {
		st.forget()
	}
	return st.taken
}

// Await waits until there is something to read, the answer has ended or quiet
// delivers. Unlike Next it takes nothing, so the answer can still be begun anew elsewhere.
func (st *Stream) Await(quiet <-chan time.Time) error {
	for {
		st.mu.Lock()
		some, ended, err := len(st.events) > 0, st.ended, st.err
		st.mu.Unlock()
		switch {
		case some:
			st.signal() // for Next
			return nil
		case ended:
			return err
		}
		select {
		case <-st.wake:
		case <-quiet:
			return ErrQuiet
		}
	}
}

// Start says which backend the answer comes from; zero until there is one.
func (st *Stream) Start() backends.Start {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.start
}

// Number is the sequence_number, in a stream of responses, of an event that
// follows those which Next has returned.
func (st *Stream) Number() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.told
}

// Awaited is the time from the asking to the first event, the queue included;
// zero until there is one.
func (st *Stream) Awaited() time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.came.IsZero() {
		return 0
	}
	return st.came.Sub(st.asked)
}

// Close ends the work if it still goes on, waits until its slot is free, and
// returns the receipt and the finish_reason, as far as the answer came. cause
// is what the pump is told where it still runs.
func (st *Stream) Close(cause error) (backends.Receipt, string) {
	if cause == nil {
		cause = errReaderGone
	}
	st.cancel(cause)
	<-st.pumped
	return st.receipt, st.finish
}

// Quality is what is to be said of the answer, as far as it came. It is asked
// after Close.
func (st *Stream) Quality() Quality { return st.guard.quality }
