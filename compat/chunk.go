package compat

// Usage is a backend's count of tokens.
type Usage struct{ PromptTokens, CompletionTokens, TotalTokens int }

// Choice is what one event (or one whole answer) says of one choice.
type Choice struct {
	Index  int
	Text   []byte // raw JSON string contents of delta.content, message.content or text; undecoded, nil where absent or null
	Finish string // finish_reason, "" while there is none
}

// Chunk is one event of a stream or one whole JSON answer, as far as the
// gateway must know it. Its slices alias the parsed data.
type Chunk struct {
	Done    bool   // the data was [DONE]
	Type    string // responses dialect: the event's type
	Error   *Error // the data was an error object
	Choices []Choice
	Usage   *Usage
	Empty   bool // choices was present and empty: a usage chunk
}

// ParseChunk reads one event's data, or a whole answer, into c, reusing its
// memory. An error means that the data is not valid JSON of the dialect.
func ParseChunk(d Dialect, data []byte, c *Chunk) error { panic("skeleton") }

// Ending follows an answer to its end. The zero value with a Dialect is ready to use.
type Ending struct {
	Dialect Dialect
	// ...
}

// Add takes the next chunk.
func (e *Ending) Add(c *Chunk) { panic("skeleton") }

// Complete reports whether the answer has ended as a whole: for chat and completions
// [DONE] and a finish_reason for every index seen; for responses one of the
// events response.completed, .incomplete or .failed.
func (e *Ending) Complete() bool { panic("skeleton") }

// Splitter cuts a byte stream into server-sent events; the feed may be cut anywhere.
type Splitter struct { /* pending bytes, bounded */
}

// Next returns the next whole event: raw is its bytes with the blank line that ends it, data the
// joined data lines (aliasing raw where there is one line). ok is false when
// more input is needed.
func (s *Splitter) Next() (raw, data []byte, ok bool) { panic("skeleton") }

// Feed appends input; an event above max bytes (1 MiB) is an error.
func (s *Splitter) Feed(p []byte) error { panic("skeleton") }
