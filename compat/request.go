package compat

import (
	"fmt"
	"math"
)

// Rules are the bounds that Parse holds a body to. The zero value of a field
// is the strictest reading.
type Rules struct {
	MaxImages    int  // images in one request at most
	MaxN         int  // highest "n" (and "best_of")
	Privileged   bool // the tenant may use the keys that are otherwise refused
	RemoteImages bool // http(s) image URLs may pass: the caller fetches and Embeds them

	// Sum names the image that text, in base64's standard alphabet, stands for,
	// and refuses text that encoding/base64 refuses. It is asked for a request's
	// first image where that is a data URL; nil where nobody needs a name.
	Sum func(text []byte) ([32]byte, error)
}

// Member is one top-level member of a JSON object: its name, unescaped, and
// its value as raw JSON.
type Member struct {
	Name  string
	Value []byte
}

// Request is a client's body after one scan. It keeps the bytes that came;
// the body must not be changed while the Request is in use.
type Request struct {
	Dialect      Dialect
	Model        string
	Stream       bool
	IncludeUsage bool // stream_options.include_usage
	N            int  // 1 where absent
	MaxTokens    int  // max_completion_tokens, max_tokens or max_output_tokens; 0 where absent
	Images       []Image
	Members      []Member // top level, in the client's order, values as raw JSON

	object object
}

// OpenAI's own API has some forty names at the top level. Below it an object
// may have many more, but not so many that comparing them takes seconds.
const (
	maxMembers = 256
	maxNames   = 1 << 16
)

// Parse scans body once. What it lets pass is one JSON object that every
// parser reads alike (see scanner), whose values that the gateway must know
// have the right type, and that holds nothing by which a backend could be
// made to fetch, load or obey anything but text and image bytes (see part).
// Errors are *Error with status 400 (or 413, above 1 GiB); the first one found
// counts.
func Parse(d Dialect, body []byte, rules Rules) (*Request, error) {
	if len(body) > 1<<30 {
		return nil, TooLarge(1 << 30)
	}
	p := &requestReader{scanner: scanner{data: body, most: maxNames}, rules: rules, request: &Request{Dialect: d, N: 1}}
	err := p.document(p.top)
	if err == nil {
		err = p.check()
	}
	switch err := err.(type) {
	case nil:
		return p.request, nil
	case *Error:
		return nil, err
	default:
		return nil, BadJSON(err.Error())
	}
}

// Member returns the raw value of a top-level member, nil where absent.
func (r *Request) Member(name string) []byte {
	for i := range r.Members {
		if r.Members[i].Name == name {
			return r.Members[i].Value
		}
	}
	return nil
}

// requestReader reads a client's body with the scanner.
type requestReader struct {
	scanner
	rules   Rules
	request *Request

	place         place // within messages, input
	prompts       int
	streamOptions bool      // stream_options is there and not null
	sum           *[32]byte // of the image at hand
}

func (p *requestReader) top() error {
	o := &p.request.object
	o.body = p.data
	o.members = make([]Member, 0, 16)
	o.starts = make([]int, 0, 16)
	err := p.object(func(name []byte) error {
		if len(o.members) == maxMembers {
			return Invalid("", "", fmt.Sprintf("Too many top-level parameters: at most %d are accepted.", maxMembers))
		}
		known, start := memberName(name), p.pos
		if err := p.member(known); err != nil {
			return err
		}
		o.add(known, start, p.pos)
		return nil
	})
	o.end = p.pos - 1
	p.request.Members = o.members
	return err
}

// check is for what can only be said at the end.
func (p *requestReader) check() error {
	r := p.request
	if r.Model == "" {
		return Invalid("", "", "you must provide a model parameter")
	}
	if content := contentName(r.Dialect); r.Member(content) == nil {
		return missing(content)
	}
	if p.streamOptions && !r.Stream {
		return Invalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if p.prompts*r.N > maxChoices {
		return Invalid("prompt", "", fmt.Sprintf("Too many prompts: at most %d answers can be asked for in one request.", maxChoices))
	}
	return nil
}

// contentName is the member that holds what is asked.
func contentName(d Dialect) string {
	switch d {
	case Completions:
		return "prompt"
	case Responses:
		return "input"
	default:
		return "messages"
	}
}

// member reads the value of a top-level member.
func (p *requestReader) member(name string) error {
	if name == contentName(p.request.Dialect) {
		return p.content(name)
	}
	if refused(name) && !p.rules.Privileged {
		return unsupported(name)
	}
	r := p.request
	switch name {
	case "model":
		if p.peek() != '"' {
			return p.wrongType(name, "a string")
		}
		raw, err := p.string()
		r.Model = string(raw)
		return err
	case "stream":
		return p.boolAt(name, &r.Stream)
	case "stream_options":
		return p.options()
	case "n":
		err := p.countAt(name, max(p.rules.MaxN, 1), &r.N)
		if err == nil && r.N == 0 {
			err = Invalid(name, "integer_below_min_value", "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.")
		}
		return err
	case "best_of":
		return p.countAt(name, max(p.rules.MaxN, 1), new(int))
	case "max_completion_tokens", "max_output_tokens":
		return p.countAt(name, math.MaxInt32, &r.MaxTokens)
	case "max_tokens":
		var limit int
		err := p.countAt(name, math.MaxInt32, &limit)
		if newer := find(r.object.members, "max_completion_tokens"); newer == nil || newer[0] == 'n' {
			r.MaxTokens = limit
		}
		return err
	case "vllm_xargs", "chat_template_kwargs":
		return p.guarded(name)
	}
	if r.Dialect == Responses {
		return p.stateless(name)
	}
	return p.skip()
}

// refused names what is not for every tenant: it would order work before
// others', share caches between tenants, or make a backend run or load what
// the client says.
func refused(name string) bool {
	switch name {
	case "priority", "request_id", "kv_transfer_params", "ec_transfer_params", "cache_salt",
		"chat_template", "prompt_embeds", "mm_processor_kwargs", "media_io_kwargs":
		return true
	}
	return false
}

// guarded reads an object of keyword arguments through which some of vLLM's
// versions take the refused ones too. ("tokenize" in chat_template_kwargs
// blocks its event loop, CVE-2025-62426.)
func (p *requestReader) guarded(name string) error {
	if p.peek() != '{' {
		return p.skip() // not obeyed in any other form
	}
	return p.object(func(key []byte) error {
		if !p.rules.Privileged && (refused(string(key)) || string(key) == "tokenize") {
			return unsupported(name + "." + string(key))
		}
		return p.skip()
	})
}

// stateless refuses what needs a store of earlier responses, which several
// backends do not share.
func (p *requestReader) stateless(name string) error {
	switch name {
	case "previous_response_id", "previous_input_messages", "conversation", "prompt", "background":
		if c := p.peek(); c != 'n' && c != 'f' {
			return Invalid(name, "unsupported_parameter", fmt.Sprintf("Unsupported parameter: '%s'. Responses are not stored here; send the whole conversation as 'input'.", name))
		}
	case "tools":
		if p.peek() != 'n' {
			return p.tools()
		}
	}
	return p.skip()
}

// tools reads the tools of responses. Functions are the client's to call; every
// other kind a backend would call itself, a server of the client's choice among them.
func (p *requestReader) tools() error {
	if p.peek() != '[' {
		return p.wrongType("tools", "an array of objects")
	}
	return p.array(func(i int) error {
		at := fmt.Sprintf("tools[%d]", i)
		if p.peek() != '{' {
			return p.wrongType(at, "an object")
		}
		var kind []byte
		err := p.object(func(name []byte) (err error) {
			if string(name) != "type" {
				return p.skip()
			}
			if p.peek() != '"' {
				return p.wrongType(at+".type", "a string")
			}
			kind, err = p.string()
			return err
		})
		if err == nil && string(kind) != "function" {
			err = invalidKind(at+".type", kind, "'function'")
		}
		return err
	})
}

// options reads stream_options, an object or null.
func (p *requestReader) options() error {
	if p.peek() == 'n' {
		return p.skip()
	}
	if p.peek() != '{' {
		return p.wrongType("stream_options", "an object")
	}
	p.streamOptions = true
	return p.object(func(name []byte) error {
		if string(name) == "include_usage" {
			return p.boolAt("stream_options.include_usage", &p.request.IncludeUsage)
		}
		return p.skip()
	})
}

// memberName is string(name) without the allocation for names that many requests have.
func memberName(name []byte) string {
	for _, known := range [...]string{
		"model", "messages", "prompt", "input", "temperature", "max_tokens", "max_completion_tokens", "stream",
		"stream_options", "n", "top_p", "stop", "seed", "skip_special_tokens", "vllm_xargs", "user",
	} {
		if string(name) == known {
			return known
		}
	}
	return string(name)
}
