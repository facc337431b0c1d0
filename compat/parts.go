package compat

import (
	"fmt"
	"strings"
)

// Content reaches a model in three ways, and one walk reads them all: the
// messages of chat, the items of responses' input, the prompts of completions.
// It is a closed list of what may pass, because a part is where vLLM would
// fetch a URL, load embeddings or take an image from its cache by name.

// place is where the walk stands, for the param of an error.
type place struct {
	list  string // "messages" or "input"
	item  int
	field string // "content" or "output", "" outside
	part  int    // -1 outside
}

func (w place) param(rest string) string {
	s := fmt.Sprintf("%s[%d]", w.list, w.item)
	if w.field != "" {
		s += "." + w.field
		if w.part >= 0 {
			s += fmt.Sprintf("[%d]", w.part)
		}
	}
	return s + rest
}

// content reads messages, input or prompt.
func (p *requestReader) content(name string) error {
	switch c := p.peek(); {
	case p.request.Dialect == Completions:
		return p.promptList()
	case c == '"' && p.request.Dialect == Responses:
		return p.skip()
	case c != '[':
		return p.wrongType(name, "an array of objects")
	}
	return p.array(func(i int) error {
		p.place = place{list: name, item: i, part: -1}
		if p.peek() != '{' {
			return p.wrongType(p.place.param(""), "an object")
		}
		if p.request.Dialect == Responses {
			return p.inputItem()
		}
		return p.message()
	})
}

// message reads a message of chat: role, name, tool_calls and the rest are the
// backend's business.
func (p *requestReader) message() error {
	return p.object(func(name []byte) error {
		if string(name) == "content" {
			return p.parts("content")
		}
		return p.skip()
	})
}

// inputItem reads an item of responses' input: a message, or a function's call
// and what came of it.
func (p *requestReader) inputItem() error {
	return p.object(func(name []byte) error {
		switch string(name) {
		case "content":
			return p.parts("content")
		case "output":
			return p.parts("output")
		case "type":
			if p.peek() != '"' {
				return p.wrongType(p.place.param(".type"), "a string")
			}
			kind, err := p.string()
			if err != nil {
				return err
			}
			switch string(kind) {
			case "message", "function_call", "function_call_output":
				return nil
			}
			return invalidKind(p.place.param(".type"), kind, "'message', 'function_call', and 'function_call_output'")
		}
		return p.skip()
	})
}

// parts reads content: a string, null, or an array of parts.
func (p *requestReader) parts(field string) error {
	p.place.field = field
	defer func() { p.place.field, p.place.part = "", -1 }()
	switch p.peek() {
	case '"', 'n':
		return p.skip()
	case '[':
		return p.array(func(i int) error {
			p.place.part = i
			return p.part()
		})
	}
	return p.wrongType(p.place.param(""), "a string or an array of objects")
}

// The keys that a part may have.
const (
	keyType = 1 << iota
	keyText
	keyRefusal
	keyImageURL
	keyDetail
	keyAnnotations
	keyLogprobs
	keyFileID
)

// part reads one part and holds it to the list.
func (p *requestReader) part() error {
	if p.peek() != '{' {
		return p.wrongType(p.place.param(""), "an object")
	}
	var kind []byte
	var keys int
	err := p.object(func(name []byte) error {
		key, err := p.partKey(string(name), &kind)
		keys |= key
		return err
	})
	if err != nil {
		return err
	}
	if keys&keyType == 0 {
		return missing(p.place.param(".type"))
	}
	return p.checkPart(kind, keys)
}

// partKey reads the value of one key of a part. Its kind may not be known yet,
// so it is held to the type that the key has in every kind.
func (p *requestReader) partKey(name string, kind *[]byte) (key int, err error) {
	at := func() string { return p.place.param("." + clip(name, 64)) }
	switch name {
	case "type":
		if p.peek() != '"' {
			return 0, p.wrongType(at(), "a string")
		}
		*kind, err = p.string()
		return keyType, err
	case "text", "refusal":
		key = keyText
		if name == "refusal" {
			key = keyRefusal
		}
		if p.peek() != '"' {
			return 0, p.wrongType(at(), "a string")
		}
		return key, p.skip()
	case "image_url":
		return keyImageURL, p.imageURL(at)
	case "detail":
		return keyDetail, p.detail(at)
	case "annotations": // an earlier answer's, sent back; only empty ones carry no URL
		return keyAnnotations, p.emptyArray(at)
	case "logprobs":
		return keyLogprobs, p.emptyArray(at)
	case "file_id": // the SDKs write null
		if p.peek() != 'n' {
			return 0, Invalid(at(), "unsupported_parameter", fmt.Sprintf("Unsupported parameter: '%s'. Send the image itself as a data URL in 'image_url'.", at()))
		}
		return keyFileID, p.skip()
	}
	return 0, unknown(at())
}

// checkPart holds a part's keys to its kind.
func (p *requestReader) checkPart(kind []byte, keys int) error {
	const text, image = "text", "image_url"
	var may int
	must, name := keyText, text
	switch k := string(kind); {
	case p.request.Dialect == Chat && k == "text", p.request.Dialect == Responses && k == "input_text":
		may = keyText
	case p.request.Dialect == Responses && k == "output_text":
		may = keyText | keyAnnotations | keyLogprobs
	case p.request.Dialect == Chat && k == "refusal":
		may, must, name = keyRefusal, keyRefusal, "refusal"
	case p.request.Dialect == Chat && k == "image_url":
		may, must, name = keyImageURL, keyImageURL, image
	case p.request.Dialect == Responses && k == "input_image":
		may, must, name = keyImageURL|keyDetail|keyFileID, keyImageURL, image
	case p.request.Dialect == Responses:
		return invalidKind(p.place.param(".type"), kind, "'input_text', 'input_image', and 'output_text'")
	default:
		return invalidKind(p.place.param(".type"), kind, "'text', 'image_url', and 'refusal'")
	}
	if keys&must == 0 {
		return missing(p.place.param("." + name))
	}
	if extra := keys &^ (may | keyType); extra != 0 {
		return Invalid(p.place.param(""), "unknown_parameter", fmt.Sprintf("The part '%s' of type '%s' has a key that belongs to another type.", p.place.param(""), kind))
	}
	return nil
}

// imageURL reads the value of image_url: an object in chat, a string in responses.
func (p *requestReader) imageURL(at func() string) error {
	if p.request.Dialect == Responses {
		return p.image(at)
	}
	if p.peek() != '{' {
		return p.wrongType(at(), "an object")
	}
	found := false
	err := p.object(func(name []byte) error {
		inner := func() string { return at() + "." + clip(string(name), 64) }
		switch string(name) {
		case "url":
			found = true
			return p.image(inner)
		case "detail":
			return p.detail(inner)
		}
		return unknown(inner())
	})
	if err == nil && !found {
		return missing(at() + ".url")
	}
	return err
}

// image reads the URL of an image.
func (p *requestReader) image(at func() string) error {
	if p.peek() != '"' {
		return p.wrongType(at(), "a string")
	}
	if len(p.request.Images) >= p.rules.MaxImages {
		return Invalid(at(), "too_many_images", fmt.Sprintf("Too many images: this model takes at most %d in one request.", p.rules.MaxImages))
	}
	start := p.pos
	url, header, run, err := p.dataURL()
	if err != nil {
		return err
	}
	if p.rules.RemoteImages && isRemote(url) && len(url) <= maxURL {
		p.request.Images = append(p.request.Images, Image{URL: string(url), Param: at(), span: span{uint32(start), uint32(p.pos)}})
		return nil
	}
	image, problem := readDataURL(url, header, run)
	if problem != nil {
		problem.Param = at()
		return problem
	}
	image.Sum = p.sum
	p.request.Images = append(p.request.Images, image)
	return nil
}

func (p *requestReader) detail(at func() string) error {
	if c := p.peek(); c != '"' && c != 'n' {
		return p.wrongType(at(), "a string")
	}
	return p.skip()
}

func (p *requestReader) emptyArray(at func() string) error {
	if p.peek() == 'n' {
		return p.skip()
	}
	if p.peek() != '[' {
		return p.wrongType(at(), "an array")
	}
	return p.array(func(int) error {
		return Invalid(at(), "invalid_value", fmt.Sprintf("Invalid value for '%s': only an empty array is accepted.", at()))
	})
}

// promptList reads the prompt of completions: a text or a list of token ids,
// or a list of either.
func (p *requestReader) promptList() error {
	const want = "a string, an array of strings, or an array of token ids"
	if p.peek() == '"' {
		p.prompts = 1
		return p.skip()
	}
	if p.peek() != '[' {
		return p.wrongType("prompt", want)
	}
	p.prompts = 1
	return p.array(func(i int) error {
		at := func() string { return fmt.Sprintf("prompt[%d]", i) }
		switch c := p.peek(); {
		case c == '"':
			p.prompts = i + 1
			return p.skip()
		case '0' <= c && c <= '9':
			return p.number()
		case c == '[':
			p.prompts = i + 1
			return p.array(func(int) error {
				if c := p.peek(); c < '0' || c > '9' {
					return p.wrongType(at(), "an array of token ids")
				}
				return p.number()
			})
		}
		return p.wrongType(at(), want)
	})
}

func unknown(param string) error {
	e := Invalid(param, "unknown_parameter", fmt.Sprintf("Unknown parameter: '%s'.", param))
	if strings.HasSuffix(param, ".uuid") {
		e.Message += " Images are known by their content alone here."
	}
	return e
}

func invalidKind(param string, kind []byte, supported string) error {
	return Invalid(param, "invalid_value", fmt.Sprintf("Invalid value: '%s'. Supported values are: %s.", clip(string(kind), 64), supported))
}
