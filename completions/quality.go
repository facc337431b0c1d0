package completions

import (
	"errors"

	"ocrmux/compat"
)

// Quality is what is to be said of an answer beside its text. Its String is
// what callers see in x-ocrmux-quality. What is not Sound is not remembered.
type Quality uint8

const (
	Sound     Quality = iota
	Truncated         // it was ended by its length
	Looping           // a pattern in it repeats beyond the model's guard
)

func (q Quality) String() string { return [...]string{"", "truncated", "looping"}[q] }

// Guard says when an answer counts as looping, and what becomes of it then.
type Guard struct {
	Repeats int  // times in a row that a pattern may stand; 0 looks for none
	Cut     bool // a stream that loops is ended, as if by its length
}

// errCut ends an exchange whose answer was cut: what came of it is the answer.
var errCut = errors.New("the answer repeats itself and is cut")

// guard follows the first choice of an answer, event by event.
type guard struct {
	Guard
	repeats repeats
	text    []byte // of the last event
	quality Quality
}

// guard is the one that r's answer needs. Of several choices one cannot be cut
// alone.
func (r *Request) guard() guard {
	g := guard{Guard: r.Model.Guard}
	g.Cut = g.Cut && (r.Client == nil || r.Client.N <= 1)
	g.restart()
	return g
}

// restart forgets what an attempt gave that is void.
func (g *guard) restart() {
	*g = guard{Guard: g.Guard, repeats: repeats{limit: g.Repeats, text: g.repeats.text[:0]}, text: g.text[:0]}
}

// watch takes an event, or a whole answer, and reports whether the stream is to
// be cut behind it.
func (g *guard) watch(c *compat.Chunk) (cut bool) {
	if c.Type == "response.incomplete" {
		g.quality = Truncated
	}
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		if g.Repeats > 0 && g.quality != Looping && len(choice.Text) > 0 {
			g.text = compat.AppendText(g.text[:0], choice.Text)
			if g.repeats.add(g.text) {
				g.quality, cut = Looping, g.Cut
			}
		}
		switch choice.Finish {
		case "":
			continue
		case "length":
			g.quality = max(g.quality, Truncated)
		case "repetition": // vLLM has found out itself, by repetition_detection
			g.quality = Looping
		}
		cut = false // it has ended anyway
	}
	return cut
}
