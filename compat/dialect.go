package compat

// Dialect is one of the three ways in which an OpenAI client asks a model.
// It decides the backend's path, how the end of an answer is known, and how an
// error inside a stream is written.
type Dialect uint8

const (
	Chat        Dialect = iota // POST /v1/chat/completions
	Completions                // POST /v1/completions
	Responses                  // POST /v1/responses
)

// Path is the route of the dialect, the same on the gateway and on a backend.
func (d Dialect) Path() string {
	switch d {
	case Completions:
		return "/v1/completions"
	case Responses:
		return "/v1/responses"
	default:
		return "/v1/chat/completions"
	}
}
