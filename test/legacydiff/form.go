package main

import (
	"bytes"
	"fmt"
	"strings"
)

// part is one part of a form: header lines without their ends, and content.
type part struct {
	header []string
	data   []byte
}

// form is a multipart body in the making, and how it is framed.
type form struct {
	contentType string // "": none is sent
	boundary    string
	newline     string
	preamble    string // with its line end
	parts       []part
	closing     string // behind the last boundary, the epilogue included
	keep        int    // bytes of the body that are sent; 0: all
}

func newForm(parts ...part) form {
	return form{
		contentType: "multipart/form-data; boundary=" + defaultBoundary,
		boundary:    defaultBoundary,
		newline:     "\r\n",
		parts:       parts,
		closing:     "--\r\n",
	}
}

const defaultBoundary = "XlegacydiffX"

// file is a part that uploads data under a name, which is quoted as it stands.
func file(field, name string, data []byte) part {
	return part{[]string{fmt.Sprintf(`Content-Disposition: form-data; name="%s"; filename="%s"`, field, name), "Content-Type: application/octet-stream"}, data}
}

// value is a part without a file name.
func value(name, text string) part {
	return part{[]string{fmt.Sprintf(`Content-Disposition: form-data; name="%s"`, name)}, []byte(text)}
}

// body renders the form.
func (f form) body() []byte {
	var b bytes.Buffer
	b.WriteString(f.preamble)
	for _, p := range f.parts {
		b.WriteString("--" + f.boundary + f.newline)
		for _, line := range p.header {
			b.WriteString(line + f.newline)
		}
		b.WriteString(f.newline)
		b.Write(p.data)
		b.WriteString(f.newline)
	}
	b.WriteString("--" + f.boundary + f.closing)
	if f.keep > 0 && f.keep < b.Len() {
		b.Truncate(f.keep)
	}
	return b.Bytes()
}

// post is a request with the form as its body.
func (f form) post(path string) request {
	r := request{method: "POST", target: path, body: f.body}
	if f.contentType != "" {
		r.header = []string{"Content-Type: " + f.contentType}
	}
	return r
}

// ocr posts a form of these parts to /ocr.
func ocr(parts ...part) request { return newForm(parts...).post("/ocr") }

// batch posts a form of these parts to /ocr/batch.
func batch(parts ...part) request { return newForm(parts...).post("/ocr/batch") }

// with is the request with more header lines.
func (r request) with(lines ...string) request {
	r.header = append(append([]string(nil), r.header...), lines...)
	return r
}

// plain is a request without a body.
func plain(method, target string) request { return request{method: method, target: target} }

// typed posts a body of another type to /ocr.
func typed(contentType string, body func() []byte) request {
	return request{method: "POST", target: "/ocr", header: []string{"Content-Type: " + contentType}, body: body}
}

// sized is a body of n bytes, all the same.
func sized(n int) func() []byte {
	return func() []byte { return bytes.Repeat([]byte("x"), n) }
}

func text(s string) func() []byte { return func() []byte { return []byte(s) } }

// filled is the form with a last value that makes its body exactly n bytes.
func (f form) filled(n int) form {
	f.parts = append(append([]part(nil), f.parts...), file("padding", "padding.bin", nil))
	f.parts[len(f.parts)-1].data = []byte(strings.Repeat("x", n-len(f.body())))
	return f
}
