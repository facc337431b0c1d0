package sim

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
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
	head    envelope
	times   times
}

// times are the moments that the metrics tell of.
type times struct{ arrived, queued, running, first, done time.Time }

// complete answers POST /v1/chat/completions and /v1/completions.
func (s *Server) complete(d dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{dialect: d, work: s.stats.begin(r.Context())}
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
	record := s.records.add(r, body)
	c.fault, c.changed = s.faults.take()
	if c.fault.ErrorRate > 0 {
		c.work.close()
		writeFault(w, c.fault)
		return nil
	}
	if c.req, err = parse(r, body); err != nil {
		return err
	}
	if err := s.prepare(ctx, c, record); err != nil {
		return err
	}
	c.head = envelope{ID: c.dialect.names().idPrefix + requestID(r), Created: time.Now().Unix(), Model: s.cfg.Model}
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

// prepare is vLLM's front end: it checks the request, decodes the image, and
// counts the prompt's tokens. Only one request is prepared at a time.
func (s *Server) prepare(ctx context.Context, c *call, record *Recorded) error {
	q := c.req
	prompts, urls, refusal := c.dialect.prompts(q)
	for _, u := range urls {
		if !strings.HasPrefix(u, "data:") {
			s.stats.remoteImage()
		}
	}
	if q.Model != "" && q.Model != s.cfg.Model {
		return unknownModel(q.Model)
	}
	if err := q.check(); err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}

	select {
	case s.preprocessor <- struct{}{}:
		defer func() { <-s.preprocessor }()
	case <-ctx.Done():
		return ctx.Err()
	}
	page := Page{}
	if len(urls) == 1 {
		raw, err := fetchImage(urls[0])
		if err != nil {
			return err
		}
		if err := page.inspect(raw); err != nil {
			return err
		}
		s.records.image(record, page.SHA256)
	}
	for _, prompt := range prompts {
		p := page
		p.Prompt = prompt
		p.Grounding = strings.Contains(prompt, "<|grounding|>")
		c.pages = append(c.pages, p)
	}
	if err := s.measure(c); err != nil {
		return err
	}
	c.id = callID(c.pages[0])
	return sleep(ctx, c.slowed(s.pace.preprocess(c.id)))
}

// callID makes modelled times depend on the page, so that runs repeat.
func callID(p Page) uint64 {
	return binary.LittleEndian.Uint64(p.SHA256[8:16])
}

// measure counts the prompt's tokens and refuses what leaves no room.
func (s *Server) measure(c *call) error {
	longest := 0
	for _, p := range c.pages {
		image := 0
		if p.Image != nil {
			image = visionOf(s.cfg.Model).imageTokens(p.Size)
		}
		tokens := 1 + image + countTokens(strings.ReplaceAll(p.Prompt, placeholder, ""))
		c.work.tokens.Prompt += int64(tokens)
		c.work.tokens.Image += int64(image)
		longest = max(longest, tokens)
	}
	wanted := 0
	if m := c.req.maxTokens(); m != nil {
		wanted = *m
	}
	if wanted > s.cfg.MaxModelLen {
		return badRequest("max_tokens", "max_tokens=%d cannot be greater than max_model_len=%d. Please request fewer output tokens. (parameter=max_tokens, value=%d)",
			wanted, s.cfg.MaxModelLen, wanted)
	}
	if room := s.cfg.MaxModelLen - wanted; longest > room {
		return badRequest("input_tokens", "You passed %d input tokens and requested %d output tokens. However, the model's context length is only %d tokens, resulting in a maximum input length of %d tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=%d)",
			longest, wanted, s.cfg.MaxModelLen, room, longest)
	}
	c.limit = s.cfg.MaxModelLen - longest
	if wanted > 0 {
		c.limit = wanted
	}
	if c.limit < 1 {
		return badRequest("max_tokens", "max_tokens must be at least 1, got %d. (parameter=max_tokens, value=%d)", c.limit, c.limit)
	}
	return nil
}

// stream answers event by event. The status goes out as soon as the request is
// accepted, the first event with the first token.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, c *call) error {
	es := newEventStream(ctx, w, c.fault, c.changed)
	chunk := c.head
	chunk.Object = c.dialect.names().chunk
	send := func(choice any) error {
		chunk.Choices = []any{choice}
		if c.req.continuousUsage() {
			chunk.Usage = c.usage()
		}
		return es.send(chunk)
	}
	err := s.generate(ctx, c, func(index, step int) error {
		ch := c.choices[index]
		if o := c.dialect.opening(index); step == 0 && o != nil {
			if err := send(o); err != nil {
				return err
			}
		}
		if step < len(ch.tokens) {
			piece := ch.tokens[step]
			if err := send(c.dialect.delta(index, piece, c.logprobs(piece))); err != nil {
				return err
			}
		}
		if step < len(ch.tokens)-1 {
			return nil
		}
		return send(c.dialect.last(index, ch))
	})
	if err != nil {
		if e := (*apiError)(nil); errors.As(err, &e) {
			c.work.close()
			es.fail(e)
			return errCutShort
		}
		return err
	}
	if c.req.includeUsage() {
		chunk.Choices, chunk.Usage = []any{}, c.usage()
		if err := es.send(chunk); err != nil {
			return err
		}
	}
	if es.fault.MidStream == "" || es.events != es.fault.AfterEvents {
		c.work.complete()
	}
	return es.done()
}

// whole answers in one JSON object.
func (s *Server) whole(ctx context.Context, w http.ResponseWriter, c *call) error {
	silent := func(int, int) error { return nil }
	if err := s.generate(ctx, c, silent); err != nil {
		return err
	}
	answer := c.head
	answer.Object = c.dialect.names().whole
	for i, ch := range c.choices {
		answer.Choices = append(answer.Choices, c.dialect.whole(i, ch, c.logprobs(ch.tokens...)))
	}
	answer.Usage = c.usage()
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if c.fault.MidStream == "" {
		c.work.complete()
	}
	return writeWhole(ctx, w, body, c.fault, c.changed)
}

func (c *call) usage() *usage {
	t := c.work.tokens
	return &usage{t.Prompt, t.Prompt + t.Generated, t.Generated}
}

func (c *call) logprobs(tokens ...string) any {
	if !c.req.wantsLogprobs() {
		return nil
	}
	return c.dialect.logprobs(tokens)
}

// slowed applies the fault that multiplies times.
func (c *call) slowed(d time.Duration) time.Duration {
	if c.fault.Slow > 0 {
		return time.Duration(float64(d) * c.fault.Slow)
	}
	return d
}

// sampling returns what the request's settings do to a page's text; every
// choice has its own luck.
func (c *call) sampling(text Text, index int) sampling {
	seed := mathrand.Uint64()
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
		rng:         mathrand.New(mathrand.NewPCG(seed, uint64(index))),
	}
}
