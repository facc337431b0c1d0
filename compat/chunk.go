package compat

import (
	"errors"
	"strconv"
)

// Usage is a backend's count of tokens.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	// CachedTokens are those of PromptTokens that nothing had to be computed for. 0 is not told.
	CachedTokens int `json:",omitzero"`
}

// Choice is what one event (or one whole answer) says of one choice.
type Choice struct {
	Index  int
	Text   []byte // what stands between the quotes of delta.content, message.content or text: see AppendText; nil where absent or null
	Finish string // finish_reason, "" while there is none
}

// Chunk is one event of a stream or one whole JSON answer, as far as the
// gateway must know it. Its slices alias the parsed data, and all of it is
// valid until the Chunk is parsed into again. It must not be copied.
type Chunk struct {
	Done    bool   // the data was [DONE]
	Type    string // responses: the event's type, or of a whole answer "response." and its status
	Number  int    // responses: the event's sequence_number; 0 where absent
	Error   *Error // the data was an error object; normalised
	Choices []Choice
	Usage   *Usage
	Empty   bool // choices was present and empty: a usage chunk

	usage  Usage        // where Usage points
	reader *chunkReader // kept from one parse to the next
}

var errNotChunk = errors.New("not an event of the dialect")

// ParseChunk reads one event's data, or a whole answer, into c, reusing its
// memory. An error means that the data is not valid JSON of the dialect: it is
// no object, or what it holds is not of the type that it must be.
func ParseChunk(d Dialect, data []byte, c *Chunk) error {
	*c = Chunk{Choices: c.Choices[:0], reader: c.reader}
	if d != Responses && string(data) == "[DONE]" {
		c.Done = true
		return nil
	}
	if c.reader == nil {
		c.reader = new(chunkReader)
	}
	r := c.reader
	r.data, r.pos, r.depth, r.lax = data, 0, 0, true
	r.chunk, r.failed = c, false
	var err error
	if d == Responses {
		err = r.document(r.responsesEvent)
	} else {
		err = r.document(r.event)
	}
	if err == nil && r.failed && !endsResponse(c.Type) {
		c.Error = readStreamError(data)
	}
	return err
}

// readStreamError reads an error that came with status 200: the status is the
// error's own code where vLLM has put one there.
func readStreamError(data []byte) *Error {
	said := readBackendError(data)
	status := said.status
	if status == 0 {
		status = 500
	}
	return Normalise(status, data)
}

// chunkReader reads a chunk with the scanner.
type chunkReader struct {
	scanner
	chunk  *Chunk
	failed bool // there is an error object
}

// event reads an event or a whole answer of chat and completions.
func (r *chunkReader) event() error {
	return r.object(func(name []byte) error {
		switch string(name) {
		case "choices":
			return r.choices()
		case "usage":
			return r.usage()
		case "error":
			r.failed = r.failed || r.peek() != 'n'
			return r.skip()
		case "object": // an old build's {"object":"error","message":…}
			kind, err := r.string()
			r.failed = r.failed || string(kind) == "error"
			return err
		}
		return r.skip()
	})
}

// responsesEvent reads an event of responses, or a whole answer, which has the
// form of the "response" that the last event carries.
func (r *chunkReader) responsesEvent() error {
	return r.object(func(name []byte) error {
		switch string(name) {
		case "type":
			kind, err := r.string()
			r.chunk.Type = eventType(kind)
			r.failed = r.failed || r.chunk.Type == "error"
			return err
		case "status":
			if r.chunk.Type != "" {
				return r.skip()
			}
			status, err := r.string()
			r.chunk.Type = answerType(status)
			return err
		case "sequence_number":
			number, err := r.count()
			r.chunk.Number = number
			return err
		case "response":
			if r.peek() != '{' {
				return r.skip()
			}
			return r.object(func(name []byte) error {
				if string(name) == "usage" {
					return r.usage()
				}
				return r.skip()
			})
		case "usage":
			return r.usage()
		case "error":
			r.failed = r.failed || r.peek() != 'n'
			return r.skip()
		}
		return r.skip()
	})
}

// choices reads the list of choices, or null.
func (r *chunkReader) choices() error {
	if r.peek() == 'n' {
		return r.skip()
	}
	c := r.chunk
	c.Choices = c.Choices[:0]
	err := r.array(func(int) error {
		c.Choices = append(c.Choices, Choice{})
		return r.choice(&c.Choices[len(c.Choices)-1])
	})
	c.Empty = len(c.Choices) == 0
	return err
}

func (r *chunkReader) choice(choice *Choice) error {
	return r.object(func(name []byte) error {
		var err error
		switch string(name) {
		case "index":
			choice.Index, err = r.count()
		case "finish_reason":
			var reason []byte
			reason, err = r.string()
			choice.Finish = finishReason(reason)
		case "text":
			choice.Text, err = r.string()
		case "delta", "message":
			if r.peek() == 'n' {
				return r.skip()
			}
			err = r.object(func(name []byte) error {
				if string(name) != "content" {
					return r.skip()
				}
				choice.Text, err = r.string()
				return err
			})
		default:
			err = r.skip()
		}
		return err
	})
}

func (r *chunkReader) usage() error {
	if r.peek() == 'n' {
		return r.skip()
	}
	r.chunk.Usage = &r.chunk.usage
	return r.object(func(name []byte) error {
		var err error
		switch string(name) {
		case "prompt_tokens", "input_tokens":
			r.chunk.usage.PromptTokens, err = r.count()
		case "completion_tokens", "output_tokens":
			r.chunk.usage.CompletionTokens, err = r.count()
		case "total_tokens":
			r.chunk.usage.TotalTokens, err = r.count()
		default:
			err = r.skip()
		}
		return err
	})
}

// string reads a string, or null as nil.
func (r *chunkReader) string() ([]byte, error) {
	if r.peek() == 'n' {
		return nil, r.skip()
	}
	raw, _, err := r.text()
	return raw, err
}

// count reads a whole number from 0 to 2³¹-1, or null as 0.
func (r *chunkReader) count() (int, error) {
	start := r.pos
	if err := r.skip(); err != nil {
		return 0, err
	}
	raw := r.data[start:r.pos]
	if string(raw) == "null" {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(raw), 10, 31)
	if err != nil {
		return 0, errNotChunk
	}
	return int(n), nil
}

// finishReason is string(raw) without the allocation in the usual cases.
func finishReason(raw []byte) string {
	switch string(raw) {
	case "stop":
		return "stop"
	case "length":
		return "length"
	}
	return string(raw)
}

// The types of events that a Responses answer can end with.
const (
	responseCompleted  = "response.completed"
	responseIncomplete = "response.incomplete"
	responseFailed     = "response.failed"
)

// endsResponse reports whether the type is one of these.
func endsResponse(kind string) bool {
	return kind == responseCompleted || kind == responseIncomplete || kind == responseFailed
}

// eventType is string(raw) without the allocation in the usual case.
func eventType(raw []byte) string {
	if string(raw) == "response.output_text.delta" {
		return "response.output_text.delta"
	}
	return string(raw)
}

// answerType is the event that would have carried an answer of the status.
func answerType(status []byte) string {
	switch string(status) {
	case "completed":
		return responseCompleted
	case "incomplete":
		return responseIncomplete
	case "failed":
		return responseFailed
	}
	return ""
}
