package backends

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"ocrmux/balancer"
	"ocrmux/compat"
)

const (
	maxRefusal = 64 << 10 // bytes read of an answer other than 200
	maxWhole   = 64 << 20 // bytes of an answer that is no stream
	// maxTail is how long a stream may take to end its connection's exchange
	// after its last event; then the connection is not worth keeping.
	maxTail = time.Second
)

// scratch is the memory in which an answer is read.
type scratch struct {
	buf   []byte
	chunk compat.Chunk
}

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, 16<<10)} }}

func (s *scratch) free() {
	if cap(s.buf) <= 1<<20 {
		s.buf = s.buf[:cap(s.buf)]
		scratches.Put(s)
	}
}

// readStream pumps events into the sink until the answer has ended as a whole.
func (a *attempt) readStream(resp *answer) (balancer.Outcome, error) {
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "text/event-stream" {
		return balancer.Failed, fmt.Errorf("%w: not an event stream", ErrMalformed)
	}
	if !a.progress() {
		return balancer.Aborted, errMoved
	}
	a.begin()
	s := scratches.Get().(*scratch)
	defer s.free()
	p := pump{attempt: a, chunk: &s.chunk, ending: compat.Ending{Dialect: a.request.Dialect}}
	for {
		n, err := resp.read(s.buf)
		if n > 0 && !p.ending.Complete() {
			if outcome, err := p.feed(s.buf[:n]); err != nil {
				return outcome, err
			}
			if p.ending.Complete() {
				timer := time.AfterFunc(maxTail, func() { a.interrupt(errOver) })
				defer timer.Stop()
			}
		}
		switch {
		case err == nil:
		case p.ending.Complete():
			return balancer.Success, nil
		case err == io.EOF:
			return balancer.Failed, fmt.Errorf("%w: it ended short", ErrMalformed)
		default:
			return a.broken(err)
		}
	}
}

// pump is the state of one stream.
type pump struct {
	*attempt
	splitter compat.Splitter
	ending   compat.Ending
	chunk    *compat.Chunk
	taken    bool
}

// feed hands the events that p completes to the sink.
func (p *pump) feed(input []byte) (balancer.Outcome, error) {
	if !p.progress() {
		return balancer.Aborted, errMoved
	}
	if err := p.splitter.Feed(input); err != nil {
		return balancer.Failed, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	for {
		raw, data, ok := p.splitter.Next()
		if !ok || p.ending.Complete() {
			return balancer.Success, nil
		}
		if len(data) == 0 { // a comment
			continue
		}
		if outcome, err := p.event(raw, data); err != nil {
			return outcome, err
		}
	}
}

func (p *pump) event(raw, data []byte) (balancer.Outcome, error) {
	if err := compat.ParseChunk(p.request.Dialect, data, p.chunk); err != nil {
		return balancer.Failed, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if p.chunk.Error != nil {
		return balancer.Failed, &StatusError{Status: p.chunk.Error.Status, Err: p.chunk.Error}
	}
	p.ending.Add(p.chunk)
	if p.chunk.Done && !p.ending.Complete() {
		return balancer.Failed, fmt.Errorf("%w: [DONE] before the answer's end", ErrMalformed)
	}
	if !p.taken {
		p.taken = true
		p.firstByte()
	}
	return p.give(raw, p.chunk)
}

// begin tells the sink that an answer comes.
func (a *attempt) begin() {
	start := a.receipt.Start
	start.attempt = a
	a.sink.Begin(start)
}

// give hands one event or one whole answer to the sink.
func (a *attempt) give(raw []byte, c *compat.Chunk) (balancer.Outcome, error) {
	if c.Usage != nil {
		a.receipt.Usage = *c.Usage
	}
	if err := a.sink.Take(raw, c); err != nil {
		if a.isVoid() {
			err = errMoved
		}
		return balancer.Aborted, err
	}
	return balancer.Success, nil
}

// readWhole hands a whole JSON answer to the sink.
func (a *attempt) readWhole(resp *answer) (balancer.Outcome, error) {
	s := scratches.Get().(*scratch)
	defer s.free()
	body, err := a.readBody(resp, s, maxWhole)
	if err != nil {
		return a.broken(err)
	}
	if len(body) > maxWhole {
		return balancer.Failed, fmt.Errorf("%w: it is longer than %d MiB", ErrMalformed, maxWhole>>20)
	}
	if err := compat.ParseChunk(a.request.Dialect, body, &s.chunk); err != nil {
		return balancer.Failed, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.chunk.Error != nil {
		return balancer.Failed, &StatusError{Status: s.chunk.Error.Status, Err: s.chunk.Error}
	}
	ending := compat.Ending{Dialect: a.request.Dialect, Whole: true}
	if ending.Add(&s.chunk); !ending.Complete() {
		return balancer.Failed, fmt.Errorf("%w: it has no end", ErrMalformed)
	}
	a.firstByte()
	a.begin()
	return a.give(body, &s.chunk)
}

// readBody reads an answer as far as limit and one byte more.
func (a *attempt) readBody(resp *answer, s *scratch, limit int) ([]byte, error) {
	n := 0
	for n <= limit {
		if !a.progress() {
			return nil, errMoved
		}
		if n == len(s.buf) {
			s.buf = append(s.buf, make([]byte, len(s.buf))...)
		}
		m, err := resp.read(s.buf[n:min(len(s.buf), limit+1)])
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.buf[:n], err
		}
	}
	return s.buf[:n], nil
}

// readRefusal turns an answer other than 200 into an error.
func (a *attempt) readRefusal(resp *answer) (balancer.Outcome, error) {
	if resp.StatusCode < 400 {
		return balancer.Failed, fmt.Errorf("%w: status %d", ErrMalformed, resp.StatusCode)
	}
	s := scratches.Get().(*scratch)
	defer s.free()
	// The status has said the most: what does not come soon is not waited for.
	timer := time.AfterFunc(maxTail, func() { a.interrupt(errOver) })
	defer timer.Stop()
	body, _ := a.readBody(resp, s, maxRefusal)
	if cause := a.interrupted(); cause != nil && cause != errOver {
		return balancer.Aborted, cause
	}
	err := &StatusError{Status: resp.StatusCode, Err: compat.Normalise(resp.StatusCode, body)}
	if err.Err.Status != resp.StatusCode || resp.StatusCode >= 500 {
		// The operator's matter. What the backend says is left out: it may quote
		// the request.
		a.pool.log.Warn("a backend failed a request", "backend", a.backend.Name, "status", resp.StatusCode)
	}
	if resp.StatusCode < 500 || resp.StatusCode == http.StatusNotImplemented {
		return balancer.Refused, err // it would be refused elsewhere too
	}
	return balancer.Failed, err
}
