package legacy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Flask 3.1's defaults, which the service never changed.
const (
	maxFormMemory = 500_000 // bytes of one field, or of a form's framing (MAX_FORM_MEMORY_SIZE)
	maxFormParts  = 1_000   // parts of one form (MAX_FORM_PARTS)
)

// Form is what an upload holds, in the order in which it came. It aliases the
// body that it was read from, which must not change while the Form is in use.
type Form struct {
	Files  []File
	Values []Value
}

// File is a part that names a file.
type File struct {
	Field string // the form field's name
	Name  string // the file's name as the client gave it; may be empty
	Data  []byte // aliases the body
}

// Value is a part without a file name.
type Value struct {
	Name    string
	Data    []byte // aliases the body; not decoded
	charset string
}

// ParseForm reads an upload as Flask does. A form that cannot be read is an
// empty form, as is a body of another type: Flask says nothing of the
// difference, so its callers learn that their file is missing. The only error
// is TooLarge, for a form whose fields or framing exceed Flask's limits. The
// size of the whole body is the caller's to limit.
func ParseForm(contentType string, body []byte) (*Form, error) {
	kind, options := parseOptions(decodeLatin1([]byte(contentType)))
	switch lowerASCII(kind) {
	case "multipart/form-data":
		return parseMultipart(options["boundary"], body)
	case "application/x-www-form-urlencoded":
		// Nothing here can be a file, so nothing here is ever looked at.
		if len(body) > maxFormMemory {
			return nil, TooLarge()
		}
	}
	return &Form{}, nil
}

// File returns the first file of a field.
func (f *Form) File(field string) (File, bool) {
	for _, file := range f.Files {
		if file.Field == field {
			return file, true
		}
	}
	return File{}, false
}

// FilesOf returns all files of a field, in order.
func (f *Form) FilesOf(field string) []File {
	var files []File
	for _, file := range f.Files {
		if file.Field == field {
			files = append(files, file)
		}
	}
	return files
}

// Value returns the text of the first value with a name, "" where there is none.
func (f *Form) Value(name string) string {
	for _, value := range f.Values {
		if value.Name == name {
			return value.Text()
		}
	}
	return ""
}

// Text decodes the value from the charset of its part, UTF-8 unless the part
// says otherwise. What is not valid becomes U+FFFD.
func (v Value) Text() string { return decode(v.Data, v.charset) }

// decode turns bytes into text as Python's decoders do with errors="replace".
func decode(p []byte, charset string) string {
	switch charset {
	case "iso-8859-1":
		return decodeLatin1(p)
	case "ascii", "us-ascii":
		return strings.Map(func(r rune) rune {
			if r >= utf8.RuneSelf {
				return utf8.RuneError
			}
			return r
		}, decodeLatin1(p))
	default:
		return decodeUTF8(p)
	}
}

func decodeLatin1(p []byte) string {
	var b strings.Builder
	b.Grow(len(p))
	for _, c := range p {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// decodeUTF8 writes one U+FFFD for each maximal part of an ill-formed sequence
// (Unicode 15, section 3.9, as Python does); Go's own conversion writes one for
// each byte.
func decodeUTF8(p []byte) string {
	if utf8.Valid(p) {
		return string(p)
	}
	var b strings.Builder
	b.Grow(len(p))
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			n = maximalPart(p)
		}
		b.WriteRune(r)
		p = p[n:]
	}
	return b.String()
}

// maximalPart is the length of the longest beginning of an ill-formed sequence
// that could have been the beginning of a well-formed one, or 1.
func maximalPart(p []byte) int {
	for n := min(len(p), utf8.UTFMax-1); n > 1; n-- {
		// FullRune is false exactly where more bytes could complete a rune.
		if !utf8.FullRune(p[:n]) {
			return n
		}
	}
	return 1
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// lowerASCII leaves other letters alone: Go lowers some of them, such as
// U+0130, to ASCII, which Python does not.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
