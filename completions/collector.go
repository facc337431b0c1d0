package completions

import (
	"bytes"
	"errors"

	"ocrmux/backends"
	"ocrmux/compat"
)

// maxText bounds the text of one answer: far above any context, far below harm.
const maxText = 16 << 20

var errTextTooLong = errors.New("the answer is longer than 16 MiB")

// collector is the sink of an answer that nobody reads before its end: a JSON
// body as it came, or the text of a stream. It can be restarted at any time.
type collector struct {
	dialect compat.Dialect
	text    bool // the text is wanted, not only the body
	json    []byte
	out     []byte
	finish  string
	usage   compat.Usage
}

func (c *collector) Begin(backends.Start) { c.Restart() }

func (c *collector) Take(raw []byte, chunk *compat.Chunk) error {
	if chunk.Done {
		return nil
	}
	if !bytes.HasPrefix(raw, []byte("data:")) {
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
		if c.text {
			c.out = compat.AppendText(c.out, choice.Text)
		}
	}
	if len(c.out) > maxText {
		return errTextTooLong
	}
	return nil
}

func (c *collector) Restart() bool {
	*c = collector{dialect: c.dialect, text: c.text, json: c.json[:0], out: c.out[:0]}
	return true
}

func (c *collector) into(a *Answer) {
	if len(c.json) > 0 {
		a.JSON = c.json
	}
	a.Text, a.Finish, a.Usage = string(c.out), c.finish, c.usage
}
