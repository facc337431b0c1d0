package sim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
)

// call is one completion request on its way.
type call struct {
	req     *request
	dialect dialect
	fault   Faults
	changed <-chan struct{}
	work    *work
	id      uint64 // what its modelled times depend on
	pages   []Page // one for every prompt
	choices []choice
	limit   int // tokens that the context leaves for an answer
	times   times

	answerID string
	created  int64 // Unix seconds
	model    string
}

// times are the moments that the metrics tell of.
type times struct{ arrived, queued, running, first, done time.Time }

// complete answers POST /v1/chat/completions, /v1/completions and /v1/responses.
func (s *Server) complete(d dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{dialect: d, work: s.stats.begin(r.Context(), &s.records)}
		c.times.arrived = time.Now()
		defer s.finish(c)
		err := s.answer(w, r, c)
		c.work.left = errors.Is(err, errClientLeft)
		if err == nil || c.work.left || r.Context().Err() != nil || errors.Is(err, errCutShort) {
			return
		}
		var e *apiError
		if errors.As(err, &e) && (e.status < 500 || e.status == http.StatusNotImplemented) {
			c.work.refuse()
		} else {
			c.work.close()
		}
		writeError(w, err)
	}
}

// finish closes the books of c, whatever its end was, a panic included.
func (s *Server) finish(c *call) {
	c.times.done = time.Now()
	c.work.close()
	s.metrics.observe(c)
}

// answer is a request's way from its first byte to its last.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, c *call) error {
	ctx := r.Context()
	body, err := readBody(w, r)
	if err != nil {
		return bodyError(err)
	}
	c.work.record = s.records.add(r, body)
	c.fault, c.changed = s.faults.take()
	if c.fault.ErrorRate > 0 {
		c.work.close()
		writeFault(w, c.fault)
		return nil
	}
	if c.req, err = parse(r, body); err != nil {
		return err
	}
	if err := s.prepare(ctx, c); err != nil {
		return err
	}
	c.answerID, c.created, c.model = c.dialect.idPrefix()+requestID(r), time.Now().Unix(), s.cfg.Model
	if c.fault.Hang {
		if err := s.hang(ctx, c); err != nil {
			return err
		}
	}
	if c.req.Stream {
		return s.stream(ctx, w, c)
	}
	return s.whole(ctx, w, c)
}

// hang plays an engine that has the request running and makes no token.
func (s *Server) hang(ctx context.Context, c *call) error {
	s.running.Add(1)
	defer s.running.Add(-1)
	hang(ctx.Done(), c.changed)
	return ctx.Err()
}

// bodyError tells a client that left while sending from one that sent too much.
func bodyError(err error) error {
	var e *apiError
	if errors.As(err, &e) {
		return err
	}
	return errClientLeft
}

func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" {
		return id
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// stream answers event by event. The status goes out as soon as the request is
// accepted, the first event with the first token.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, c *call) error {
	es := newEventStream(ctx, w, c)
	t := c.dialect.tell(c, es)
	err := t.begin()
	if err == nil {
		err = s.generate(ctx, c, t.token)
	}
	if err == nil {
		return t.end()
	}
	if e := (*apiError)(nil); errors.As(err, &e) {
		c.work.close()
		es.fail(e)
		return errCutShort
	}
	return err
}

// whole answers in one JSON object.
func (s *Server) whole(ctx context.Context, w http.ResponseWriter, c *call) error {
	silent := func(int, int) error { return nil }
	if err := s.generate(ctx, c, silent); err != nil {
		return err
	}
	body, err := json.Marshal(c.dialect.whole(c))
	if err != nil {
		return err
	}
	return c.writeWhole(ctx, w, body)
}

func (c *call) usage() *usage {
	t := c.work.tokens
	return &usage{t.Prompt, t.Prompt + t.Generated, t.Generated}
}

// slowed applies the fault that multiplies times.
func (c *call) slowed(d time.Duration) time.Duration {
	if c.fault.Slow > 0 {
		return time.Duration(float64(d) * c.fault.Slow)
	}
	return d
}
