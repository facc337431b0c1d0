package completions

import (
	"ocrmux/backends"
	"ocrmux/compat"
)

// maxText bounds the text of one answer: far above any context, far below harm.
const maxText = 16 << 20

// collector is the sink of an answer that nobody reads before its end: a JSON
// body as it came, or the text of a stream. It can be restarted at any time.
type collector struct {
	stream bool // what comes are events, of which the text is all that is kept
	json   []byte
	out    []byte
	finish string
	usage  compat.Usage
	guard  guard
}

func (c *collector) Begin(backends.Start) { c.Restart() }

func (c *collector) Take(raw []byte, chunk *compat.Chunk) error {
	if chunk.Done {
		return nil
	}
	if !c.stream {
		c.json = append(c.json[:0], raw...)
	}
	if chunk.Usage != nil {
		c.usage = *chunk.Usage
	}
	for i := range chunk.Choices {
		choice := &chunk.Choices[i]
		if choice.Index != 0 {
			continue
		}
		if choice.Finish != "" {
			c.finish = choice.Finish
		}
		if c.stream {
			c.out = compat.AppendText(c.out, choice.Text)
		}
	}
	if len(c.out) > maxText {
		return errTooLong
	}
	if c.guard.watch(chunk) && c.stream {
		c.finish = "length"
		return errCut
	}
	return nil
}

func (c *collector) Restart() bool {
	c.guard.restart()
	*c = collector{stream: c.stream, json: c.json[:0], out: c.out[:0], guard: c.guard}
	return true
}

func (c *collector) into(a *Answer) {
	a.JSON, a.Text, a.Finish, a.Usage, a.Quality = c.json, string(c.out), c.finish, c.usage, c.guard.quality
}
