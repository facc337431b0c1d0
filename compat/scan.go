package compat

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// maxDepth is how deep values may be nested, the same as in jsontext.
const maxDepth = 10000

// scanner walks over a JSON text once, forward, without building anything. A
// strict scanner accepts exactly the documents that jsontext accepts with its
// default options (RFC 7493: valid UTF-8, no lone surrogate, no name twice in
// an object), which is narrower than what any backend's parser accepts: what
// passes here can have only one meaning there. It is written by hand because
// it reads every byte of every request, images included.
//
// Its methods are called with pos at the first byte of what they read and
// leave it behind the last.
type scanner struct {
	data  []byte
	pos   int
	depth int
	lax   bool // for a backend's answer: names may repeat, surrogates may stand alone
	most  int  // members that one object may have; 0 for any number
	names names
}

// syntaxError says where and why a text is not acceptable JSON. The reason
// never quotes the text.
type syntaxError struct {
	pos    int
	reason string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.reason, e.pos) }

func (s *scanner) fail(reason string) error {
	if s.pos >= len(s.data) {
		return &syntaxError{len(s.data), "unexpected end"}
	}
	return &syntaxError{s.pos, reason}
}

// document reads one value with nothing but white space around it.
func (s *scanner) document(value func() error) error {
	s.space()
	if err := value(); err != nil {
		return err
	}
	s.space()
	if s.pos < len(s.data) {
		return s.fail("unexpected data after the value")
	}
	return nil
}

// peek is the next byte, 0 at the end (a byte 0 is valid nowhere outside a string).
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return
		}
	}
}

// skip reads any value.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '"':
		_, _, err := s.text()
		return err
	case c == '{':
		return s.object(nil)
	case c == '[':
		return s.array(nil)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	default:
		return s.fail("unexpected character")
	}
}

// object reads an object. For each member it calls member with the unescaped
// name, valid during the call, and pos at the value, which member must read;
// nil skips the values.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.enter('{', "expected an object"); err != nil {
		return err
	}
	own := s.names.open()
	for i := 0; ; i++ {
		if s.peek() == '}' && i == 0 {
			break
		}
		if i == s.most && i > 0 {
			return s.fail("too many names in an object")
		}
		name, err := s.name(&own)
		if err != nil {
			return err
		}
		if s.space(); s.peek() != ':' {
			return s.fail("expected ':'")
		}
		s.pos++
		s.space()
		if member == nil {
			err = s.skip()
		} else {
			err = member(name)
		}
		if err != nil {
			return err
		}
		if s.space(); s.peek() != ',' {
			break
		}
		s.pos++
		s.space()
	}
	s.names.close(own)
	return s.leave('}', "expected ',' or '}'")
}

// array reads an array, calling element with pos at each value in turn; nil
// skips the values.
func (s *scanner) array(element func(i int) error) error {
	if err := s.enter('[', "expected an array"); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if s.peek() == ']' && i == 0 {
			break
		}
		var err error
		if element == nil {
			err = s.skip()
		} else {
			err = element(i)
		}
		if err != nil {
			return err
		}
		if s.space(); s.peek() != ',' {
			break
		}
		s.pos++
		s.space()
	}
	return s.leave(']', "expected ',' or ']'")
}

func (s *scanner) enter(bracket byte, reason string) error {
	if s.peek() != bracket {
		return s.fail(reason)
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("nested too deep")
	}
	s.pos++
	s.space()
	return nil
}

func (s *scanner) leave(bracket byte, reason string) error {
	if s.peek() != bracket {
		return s.fail(reason)
	}
	s.depth--
	s.pos++
	return nil
}

// name reads a member's name and sees to it that own has no other like it.
func (s *scanner) name(own *objectNames) ([]byte, error) {
	start := s.pos
	raw, escaped, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.lax {
		if escaped {
			return AppendText(nil, raw), nil
		}
		return raw, nil
	}
	if name, fresh := s.names.add(own, s.data, span{uint32(start + 1), uint32(start + 1 + len(raw))}, escaped); fresh {
		return name, nil
	}
	s.pos = start
	return nil, s.fail("duplicate name in an object")
}

// text reads a string and returns what stands between its quotes, escapes and all.
func (s *scanner) text() (raw []byte, escaped bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.fail("expected a string")
	}
	s.pos++
	return s.textFrom(s.pos)
}

// textFrom is text for a string whose contents begin at start and are known
// to be plain as far as pos.
func (s *scanner) textFrom(start int) (raw []byte, escaped bool, err error) {
	for {
		s.pos += plain(s.data[s.pos:])
		switch c := s.peek(); {
		case c == '"':
			s.pos++
			return s.data[start : s.pos-1], escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, s.fail("control character in a string")
		default:
			for s.pos < len(s.data) && s.data[s.pos] >= utf8.RuneSelf {
				r, n := utf8.DecodeRune(s.data[s.pos:])
				if r == utf8.RuneError && n == 1 {
					return nil, false, s.fail("invalid UTF-8")
				}
				s.pos += n
			}
		}
	}
}

// plain counts the leading bytes of p that stand for themselves in a string:
// printable ASCII but quote and backslash. It looks at eight bytes at a time,
// because nearly all of a request is one long string of base64.
func plain(p []byte) int {
	rest := p
	for ; len(rest) >= 32; rest = rest[32:] {
		m := special(binary.LittleEndian.Uint64(rest)) | special(binary.LittleEndian.Uint64(rest[8:])) |
			special(binary.LittleEndian.Uint64(rest[16:])) | special(binary.LittleEndian.Uint64(rest[24:]))
		if m&highBits != 0 {
			break
		}
	}
	for ; len(rest) >= 8; rest = rest[8:] {
		if m := special(binary.LittleEndian.Uint64(rest)) & highBits; m != 0 {
			return len(p) - len(rest) + bits.TrailingZeros64(m)/8
		}
	}
	for ; len(rest) > 0; rest = rest[1:] {
		if c := rest[0]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return len(p) - len(rest)
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// special marks with its high bit the first byte of w that is a control
// character, a quote, a backslash or not ASCII, and no byte before it. (Bytes
// after it may be marked wrongly: a subtraction borrows from the next byte.)
func special(w uint64) uint64 {
	return w | (w - ' '*everyByte) | (w ^ '"'*everyByte - everyByte) | (w ^ '\\'*everyByte - everyByte)
}

// escape reads one escape sequence, surrogate pairs as one.
func (s *scanner) escape() error {
	if s.pos+1 >= len(s.data) {
		s.pos = len(s.data)
		return s.fail("")
	}
	switch s.data[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
		_, n := unescape(s.data[s.pos:])
		if n == 0 {
			return s.fail("invalid escape sequence")
		}
		if lone := n < 0; lone {
			if !s.lax {
				return s.fail("lone surrogate in an escape sequence")
			}
			n = -n
		}
		s.pos += n
		return nil
	default:
		return s.fail("invalid escape sequence")
	}
}

// number reads a number as RFC 8259 has it: no leading zero, no bare point.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("invalid number")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("invalid number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("invalid number")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) error {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return s.fail("invalid literal")
	}
	s.pos += len(word)
	return nil
}
