package compat

import "time"

// Error is an OpenAI error: what is shown to the client, nothing more.
type Error struct {
	Status     int // HTTP status
	Message    string
	Type       string        // "invalid_request_error", "server_error", ...
	Param      string        // "" is written as null
	Code       string        // "" is written as null
	RetryAfter time.Duration // 0: no retry-after
	NoRetry    bool          // x-should-retry: false
}

func (e *Error) Error() string { return e.Message }

// AppendJSON appends {"error":{message,type,param,code}} with error as the
// first key and all four keys always present.
func (e *Error) AppendJSON(b []byte) []byte { panic("skeleton") }

// Event returns the bytes of the error as an event of a stream of the dialect
// (chat and completions: data with the error, then [DONE]).
func (e *Error) Event(d Dialect) []byte { panic("skeleton") }

// Normalise turns any error body that a backend is known to send (vLLM's
// object with an integer code, its old flat one, {"error":"text"}, FastAPI's
// detail, HTML, nothing) into an OpenAI error. 4xx keep their status; what
// says that the context is exceeded gets code context_length_exceeded.
func Normalise(status int, body []byte) *Error { panic("skeleton") }
