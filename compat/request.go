package compat

// Rules are the bounds that Parse holds a body to. The zero value of a field
// is the strictest reading.
type Rules struct {
	MaxImages  int  // images in one request at most
	MaxN       int  // highest "n"
	Privileged bool // the tenant may use the keys that are otherwise refused
}

// Member is one top-level member of a JSON object: its name and its value as
// raw JSON.
type Member struct {
	Name  string
	Value []byte
}

// Image is one data URL of a request: its base64 text as it stands in the
// body, and what its header says. Width and Height are pixels.
type Image struct {
	MIME          string // "image/png", as sniffed, not as claimed
	Base64        []byte // a span of the body
	Width, Height int
}

// Request is a client's body after one scan. It keeps the bytes that came;
// the body must not be changed while the Request is in use.
type Request struct {
	Dialect      Dialect
	Model        string
	Stream       bool
	IncludeUsage bool // stream_options.include_usage
	N            int  // 1 where absent
	MaxTokens    int  // max_tokens or max_completion_tokens; 0 where absent
	Images       []Image
	Members      []Member // top level, in the client's order, values as raw JSON
}

// Parse scans body once. Errors are *Error with status 400.
func Parse(d Dialect, body []byte, rules Rules) (*Request, error) { panic("skeleton") }

// Member returns the raw value of a top-level member, nil where absent.
func (r *Request) Member(name string) []byte { panic("skeleton") }

// Rewrite returns the body for a backend: the client's bytes with the members
// of set replaced (or added where absent) and those of absent added where the
// client gave none. Everything else keeps its bytes and its order.
func (r *Request) Rewrite(set, absent []Member) *Body { panic("skeleton") }
