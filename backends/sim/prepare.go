package sim

import (
	"context"
	"encoding/binary"
	"strings"

	"ocrmux/vision"
)

// prepare is vLLM's front end: it checks the request, decodes the image, and
// counts the prompt's tokens. Only one request is prepared at a time.
func (s *Server) prepare(ctx context.Context, c *call) error {
	q := c.req
	prompts, urls, refusal := c.dialect.prompts(q)
	q.Messages, q.Input = nil, nil // an image may be many megabytes
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
		s.records.image(c.work.record, page.SHA256)
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
			image = vision.Of(s.cfg.Model).Tokens(p.Size.X, p.Size.Y)
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
