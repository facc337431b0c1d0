package compat

// maxChoices bounds the choices of one answer: prompts times n.
const maxChoices = 1024

// Ending follows an answer to its end. The zero value with a Dialect is ready
// to use for a stream; for an answer that is one JSON value set Whole too.
type Ending struct {
	Dialect Dialect
	Whole   bool

	done     bool
	failed   bool
	seen     indexSet
	finished indexSet
}

// Add takes the next chunk.
func (e *Ending) Add(c *Chunk) {
	e.failed = e.failed || c.Error != nil
	if e.Dialect == Responses {
		e.done = e.done || endsResponse(c.Type)
		return
	}
	e.done = e.done || c.Done || e.Whole
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index >= maxChoices {
			e.failed = true
			return
		}
		e.seen.add(choice.Index)
		if choice.Finish != "" {
			e.finished.add(choice.Index)
		}
	}
}

// Complete reports whether the answer has ended as a whole. For chat and
// completions: every index seen, at least one, has a finish_reason, and [DONE]
// came if it is a stream. For responses: one of the events response.completed,
// .incomplete or .failed came, or the whole answer has one of these statuses.
// An answer in which an error came is never complete, and neither is a stream
// that only says [DONE]: vLLM says that after an error too.
func (e *Ending) Complete() bool {
	if !e.done || e.failed {
		return false
	}
	return e.Dialect == Responses || e.seen.count > 0 && e.seen.count == e.finished.count
}

// indexSet is a set of the numbers below maxChoices.
type indexSet struct {
	bits  [maxChoices / 64]uint64
	count int
}

func (s *indexSet) add(i int) {
	if word, bit := &s.bits[i/64], uint64(1)<<(i%64); *word&bit == 0 {
		*word |= bit
		s.count++
	}
}
