package legacy

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// Werkzeug reads a body in pieces of this size and counts what it has to
	// keep of them against maxFormMemory.
	readSize = 64 << 10
	// RFC 2046 allows 70 characters. Werkzeug sets no bound; one is needed
	// here so that a hostile boundary cannot make the search slow.
	maxBoundary = 256
)

// multipart reads the parts of a body one after the other. Its rules are those
// of Werkzeug's decoder: a line may end in CRLF, CR or LF; a boundary may be
// followed by blanks; the first one need not begin a line. Werkzeug also
// leaves a stray CR in a file whose last boundary spans two of its pieces;
// that is not followed.
type multipart struct {
	body      []byte
	pos       int    // all before it is read
	headed    int    // bytes of headers read so far
	delimiter []byte // "--" and the boundary
}

// parseMultipart returns an empty form where Werkzeug would lose it.
func parseMultipart(boundary string, body []byte) (*Form, error) {
	if boundary == "" || len(boundary) > maxBoundary || !isPrintable(boundary) {
		return &Form{}, nil
	}
	m := &multipart{body: body, delimiter: []byte("--" + boundary)}
	form := &Form{}
	ok, err := m.parts(form)
	if err != nil {
		return nil, err
	}
	if !ok {
		return &Form{}, nil
	}
	return form, nil
}

// parts adds every part to the form. It reports false for a form that is
// malformed or ends early.
func (m *multipart) parts(form *Form) (bool, error) {
	more, ok := m.preamble()
	if m.tooMuch(0, ok) {
		return false, TooLarge()
	}
	for n := 1; ok && more; n++ {
		start := m.pos
		block, found := m.headers()
		if m.tooMuch(start, found) || m.headed > maxFormMemory {
			return false, TooLarge()
		}
		part, valid := parsePartHeaders(block)
		if !found || !valid {
			return false, nil
		}
		if n > maxFormParts {
			return false, TooLarge()
		}
		var data []byte
		data, more, ok = m.data()
		if !part.isFile && len(data) > maxFormMemory {
			return false, TooLarge()
		}
		part.addTo(form, data)
	}
	if ok && len(m.body)-m.pos > maxFormMemory { // the epilogue
		return false, TooLarge()
	}
	return ok, nil
}

// tooMuch reports whether the framing from start to the place reached (to the
// end of the body, where its end was not found) is more than Werkzeug keeps in
// memory. It counts whole pieces read, so what follows the framing in its last
// piece counts as well.
func (m *multipart) tooMuch(start int, found bool) bool {
	kept := len(m.body)
	if found {
		kept = min(kept, (m.pos+readSize-1)/readSize*readSize)
	}
	return kept-start > maxFormMemory
}

// preamble moves behind the first boundary. It does not look for it where
// finding it would be too late.
func (m *multipart) preamble() (more, ok bool) {
	found := m.find(m.body[:min(len(m.body), maxFormMemory+readSize)], false)
	m.pos = found.end
	return !found.last, found.ok
}

// headers moves to the line break that ends a part's empty line, which is
// where the search for the next boundary begins: a part without content may
// use that line break for its boundary. Reading headers is slow next to the
// rest; so all headers of a form together, not each part's as in Werkzeug,
// have to keep to maxFormMemory.
func (m *multipart) headers() (block []byte, found bool) {
	rest := m.body[m.pos:]
	for i, c := range rest {
		length := 0
		switch {
		case c == '\n' && bytes.HasPrefix(rest[i:], []byte("\n\n")),
			c == '\r' && bytes.HasPrefix(rest[i:], []byte("\r\r")):
			length = 2
		case c == '\r' && bytes.HasPrefix(rest[i:], []byte("\r\n\r\n")):
			length = 4
		default:
			continue
		}
		m.pos += i + length/2
		m.headed += i
		return rest[:i], true
	}
	return nil, false
}

// data moves behind the boundary that ends a part's content. Content whose
// boundary is missing is returned as well, with ok false.
func (m *multipart) data() (data []byte, more, ok bool) {
	rest := m.body[m.pos:]
	found := m.find(rest, true)
	m.pos += found.end
	start := lineBreak(rest)
	return rest[start:max(start, found.start)], !found.last, found.ok
}

// boundary is a place where a boundary was found. Where there is none, start
// and end are the end of what was searched.
type boundary struct {
	start, end int  // the line breaks around it included
	last       bool // no part follows
	ok         bool
}

// find returns the first boundary in p. With ownLine it has to begin a line.
func (m *multipart) find(p []byte, ownLine bool) boundary {
	for from := 0; ; {
		i := bytes.Index(p[from:], m.delimiter)
		if i < 0 {
			return boundary{start: len(p), end: len(p)}
		}
		at := from + i
		from = at + 1
		broken := lineBreakBefore(p[:at])
		if ownLine && broken == 0 {
			// The next candidate follows a line break. Going there at once
			// keeps content that resembles the boundary cheap.
			next := bytes.IndexAny(p[from:], "\r\n")
			if next < 0 {
				return boundary{start: len(p), end: len(p)}
			}
			from += next
			continue
		}
		after := p[at+len(m.delimiter):]
		last := bytes.HasPrefix(after, []byte("--"))
		if last {
			after = after[2:]
		}
		after = bytes.TrimLeft(after, " \t\v\f")
		ends := lineBreak(after)
		if last || ends > 0 {
			return boundary{start: at - broken, end: len(p) - len(after) + ends, last: last, ok: true}
		}
	}
}

// lineBreak is the length of the line break that p begins with.
func lineBreak(p []byte) int {
	switch {
	case bytes.HasPrefix(p, []byte("\r\n")):
		return 2
	case len(p) > 0 && (p[0] == '\n' || p[0] == '\r'):
		return 1
	}
	return 0
}

// lineBreakBefore is the length of the line break that p ends with.
func lineBreakBefore(p []byte) int {
	switch {
	case bytes.HasSuffix(p, []byte("\r\n")):
		return 2
	case len(p) > 0 && (p[len(p)-1] == '\n' || p[len(p)-1] == '\r'):
		return 1
	}
	return 0
}

// part is what the headers of a part say.
type part struct {
	name     string
	filename string
	isFile   bool
	charset  string
}

func (p part) addTo(form *Form, data []byte) {
	if p.isFile {
		form.Files = append(form.Files, File{Field: p.name, Name: p.filename, Data: data})
		return
	}
	form.Values = append(form.Values, Value{Name: p.name, Data: data, charset: p.charset})
}

// continuation is a line break after which a header goes on.
var continuation = regexp.MustCompile("(?:\r\n|\n|\r)[ \t]")

// parsePartHeaders is false for headers that are not UTF-8 and for a part
// without Content-Disposition: either loses the whole form.
func parsePartHeaders(block []byte) (part, bool) {
	if !utf8.Valid(block) {
		return part{}, false
	}
	lines := strings.FieldsFunc(string(continuation.ReplaceAll(block, []byte(" "))), func(r rune) bool {
		return r == '\r' || r == '\n'
	})
	disposition, ok := header(lines, "content-disposition")
	if !ok {
		return part{}, false
	}
	_, options := parseOptions(disposition)
	p := part{name: options["name"]}
	p.filename, p.isFile = options["filename"]
	if kind, ok := header(lines, "content-type"); ok && !p.isFile {
		_, options := parseOptions(kind)
		p.charset = lowerASCII(options["charset"])
	}
	return p, true
}

// header returns the first header with a name.
func header(lines []string, name string) (value string, ok bool) {
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ":")
		if lowerASCII(strings.TrimFunc(key, isSpace)) == name {
			return strings.TrimFunc(value, isSpace), true
		}
	}
	return "", false
}

// isPrintable reports whether s is printable ASCII. (Werkzeug takes control
// characters in a boundary, which only percent encoding could put there.)
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
