package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// errClientLeft is the end of a body before its announced length.
var errClientLeft = errors.New("client left")

// streamGrain and wholeGrain are the shortest times that a request sleeps
// between tokens: what nobody sees token by token need not be slept so.
const (
	streamGrain = time.Millisecond
	wholeGrain  = 20 * time.Millisecond
)

// generate waits for a place in the batch, lets the engine read the pages, and
// then makes one token of every choice at a time. It calls token for every step
// of every choice, at least once each.
func (s *Server) generate(ctx context.Context, c *call, token func(index, step int) error) error {
	leave, err := s.takeSeat(ctx, c)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.read(ctx, c); err != nil {
		return err
	}

	beat := metronome{due: time.Now(), grain: streamGrain}
	if !c.req.Stream {
		beat.grain = wholeGrain
	}
	pause := c.slowed(s.pace.firstToken(c.id))
	for step := 0; step == 0 || step < c.longest(); step++ {
		if err := beat.wait(ctx, pause); err != nil {
			return err
		}
		s.count(c, step, pause)
		for i, ch := range c.choices {
			if step > 0 && step >= len(ch.tokens) {
				continue
			}
			if err := token(i, step); err != nil {
				return err
			}
		}
		pause = c.slowed(s.pace.perToken(s.running.Load()))
	}
	return beat.settle(ctx)
}

// count enters the tokens of a step.
func (s *Server) count(c *call, step int, pause time.Duration) {
	tokens := 0
	for _, ch := range c.choices {
		if step < len(ch.tokens) {
			tokens++
		}
	}
	c.work.tokens.Generated += int64(tokens)
	if step == 0 {
		c.times.first = time.Now()
		s.metrics.first(c, tokens)
		return
	}
	s.metrics.step(tokens, pause)
}

// longest is the length of the longest choice in tokens.
func (c *call) longest() int {
	n := 0
	for _, ch := range c.choices {
		n = max(n, len(ch.tokens))
	}
	return n
}

// takeSeat waits in the queue for a place in the running batch.
func (s *Server) takeSeat(ctx context.Context, c *call) (leave func(), err error) {
	c.times.queued = time.Now()
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	select {
	case s.seats <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.times.running = time.Now()
	s.running.Add(1)
	return func() {
		s.running.Add(-1)
		<-s.seats
	}, nil
}

// read gets the texts and samples n answers from each.
func (s *Server) read(ctx context.Context, c *call) error {
	for i, page := range c.pages {
		text, err := s.cfg.Engine.Read(ctx, page)
		c.pages[i].Image = nil
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return internalError(err.Error())
		}
		for range c.req.n() {
			c.choices = append(c.choices, c.sampling(text, len(c.choices)).sample(text.Content))
		}
	}
	return nil
}

// sampling returns what the request's settings do to a page's text; every
// choice has its own luck.
func (c *call) sampling(text Text, index int) sampling {
	seed := rand.Uint64()
	if c.req.Seed != nil {
		seed = uint64(*c.req.Seed)
	}
	_, repeats := repeatedLine(text.Content)
	return sampling{
		temperature: c.req.temperature(),
		skipSpecial: c.req.skipSpecial(),
		loop:        text.Loops || c.fault.Loop || c.req.IgnoreEOS || repeats && !c.req.guarded(),
		limit:       c.limit,
		stop:        c.req.Stop,
		rng:         rand.New(rand.NewPCG(seed, uint64(index))),
	}
}
