package compat

import (
	"fmt"
	"strconv"
)

// Values of the types that the gateway relies on. They are read more strictly
// than vLLM does, which takes "8" and 8.0 for 8 too: what the gateway has
// counted must be what the backend does.

// string reads a string and unescapes it: a span of the body where it has no
// escapes, a copy where it has (PHP writes every slash of a data URL as \/).
func (p *requestReader) string() ([]byte, error) {
	raw, escaped, err := p.text()
	if escaped && err == nil {
		raw = AppendText(nil, raw)
	}
	return raw, err
}

// boolAt reads true, false, or null, which leaves v alone.
func (p *requestReader) boolAt(param string, v *bool) error {
	switch c := p.peek(); c {
	case 't', 'f':
		*v = c == 't'
	case 'n':
	default:
		return p.wrongType(param, "a boolean")
	}
	return p.skip()
}

// countAt reads a whole number from 0 on, or null, which leaves v alone. A
// number above limit is refused.
func (p *requestReader) countAt(param string, limit int, v *int) error {
	c := p.peek()
	if c == 'n' {
		return p.skip()
	}
	if c != '-' && (c < '0' || c > '9') {
		return p.wrongType(param, "an integer")
	}
	start := p.pos
	if err := p.number(); err != nil {
		return err
	}
	n, err := strconv.ParseUint(string(p.data[start:p.pos]), 10, 31) // no sign, point or exponent
	switch {
	case err != nil:
		return Invalid(param, "invalid_value", fmt.Sprintf("Invalid value for '%s': expected a whole number from 0 to 2147483647.", param))
	case n > uint64(limit):
		return Invalid(param, "integer_above_max_value", fmt.Sprintf("Invalid '%s': integer above maximum value. Expected a value <= %d, but got %d instead.", param, limit, n))
	}
	*v = int(n)
	return nil
}

// wrongType says that the value at pos is not what param must be, unless it is
// not JSON at all.
func (p *requestReader) wrongType(param, want string) error {
	first, got := p.peek(), "a number"
	if err := p.skip(); err != nil {
		return err
	}
	switch first {
	case '"':
		got = "a string"
	case '{':
		got = "an object"
	case '[':
		got = "an array"
	case 't', 'f':
		got = "a boolean"
	case 'n':
		got = "null"
	}
	return Invalid(param, "invalid_type", fmt.Sprintf("Invalid type for '%s': expected %s, but got %s instead.", param, want, got))
}

func missing(param string) error {
	return Invalid(param, "missing_required_parameter", fmt.Sprintf("Missing required parameter: '%s'.", param))
}

func unsupported(param string) error {
	return Invalid(param, "unsupported_parameter", fmt.Sprintf("Unsupported parameter: '%s' may not be set with this API key.", param))
}
