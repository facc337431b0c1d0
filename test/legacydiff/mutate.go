package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// draft is a request in the making: a form, and what surrounds it.
type draft struct {
	form
	host         string // "": the service's own
	method, path string
	header       []string
	chunks       []int
	bodyless     bool
	other        func() []byte // another body than the form
	edits        int           // bytes of the rendered body that are changed
	what         []string      // was done to it
	rng          *rand.Rand
}

// mutation is the nth request that follows from a seed: a good one to which one
// to three things were done. It is the same on every run.
func mutation(seed, n uint64) row {
	d := start(rand.New(rand.NewPCG(seed, n)))
	for range 1 + d.rng.IntN(3) {
		d.mutate()
	}
	r := d.form.post(d.path)
	r.host, r.method, r.chunks = d.host, d.method, d.chunks
	r.header = append(r.header, d.header...)
	if d.other != nil {
		r.body = d.other
	}
	if d.edits > 0 {
		r.body = d.edited(r.body())
	}
	if d.bodyless || r.method == "GET" || r.method == "HEAD" {
		r.body, r.chunks = nil, nil
	}
	return row{name: fmt.Sprintf("mutation %d: %s", n, strings.Join(d.what, ", ")), request: r}
}

func start(rng *rand.Rand) *draft {
	d := &draft{method: "POST", rng: rng}
	if rng.IntN(3) > 0 {
		d.path = "/ocr"
		d.form = newForm(file("file", d.name(), d.image()))
	} else {
		d.path = "/ocr/batch"
		d.form = newForm()
		for range 1 + rng.IntN(4) {
			d.parts = append(d.parts, file("files", d.name(), d.image()))
		}
	}
	if rng.IntN(2) == 0 {
		d.parts = append(d.parts, value("prompt", d.prompt()))
	}
	return d
}

// kinds of mutation, by weight.
var kinds = []struct {
	weight int
	do     func(*draft) string
}{
	{8, (*draft).changePath},
	{4, (*draft).changeMethod},
	{8, (*draft).changeField},
	{14, (*draft).changeName},
	{8, (*draft).changePrompt},
	{8, (*draft).changeParts},
	{10, (*draft).changePartHeader},
	{10, (*draft).changeFraming},
	{8, (*draft).changeBoundary},
	{6, (*draft).changeBytes},
	{4, (*draft).changeType},
	{4, (*draft).changeHeaders},
	{5, (*draft).changeTransfer},
	{2, (*draft).changeSize},
}

func (d *draft) mutate() {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	at := d.rng.IntN(total)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			d.what = append(d.what, k.do(d))
			return
		}
	}
}

func pick[T any](d *draft, from ...T) T { return from[d.rng.IntN(len(from))] }

// images are what a mutation uploads. Texts for which the two programs' rules
// would matter are not among them.
var images = [][]byte{page, page, page, page, chinesePage, chinesePage, notImage, nil}

func (d *draft) image() []byte { return pick(d, images...) }

func (d *draft) changePath() string {
	switch d.rng.IntN(6) {
	case 0:
		d.path = pick(d, "/", "/health", "/ocr/batch", "/ocr", "/ocr/", "/health/", "/static/x", "/static/", "/static", "/static//x", "/static//x%E7%99%BC", "/static//a%20b", "/static//a%2Fb", "/static//%FF", "/static//a;b:c@d", "/static//a%3Fb%23c%25", "/static//%22%3C%3E%5B%5D%7B%7D%7C%5C%5E%60", "/static/..//x", "/favicon.ico",
			"/ocr/batch/", "/ocr/../ocr", "/ocr/./batch", "/ocr;x", "/ocr%00", "/ocr%2f", "/ocr%", "/ocr%zz", "/%6f%63%72", "/ocr%C3%A9", "/ocr%FF", "/ocr+batch", "/api/ocr", "/ocr%20", "/ocr%0A", "/ocr%3Fx", "/ocr%23", "/ocr&x", "//", "/.", "/..", "/index.html")
	case 1: // more slashes
		at := d.rng.IntN(len(d.path))
		if i := strings.IndexByte(d.path[at:], '/'); i >= 0 {
			at += i
			d.path = d.path[:at] + strings.Repeat("/", 1+d.rng.IntN(3)) + d.path[at:]
		}
	case 2: // a letter in upper case
		at := d.rng.IntN(len(d.path))
		if !strings.Contains(d.path, "%") {
			d.path = d.path[:at] + strings.ToUpper(d.path[at:at+1]) + d.path[at+1:]
		}
	case 3: // a character percent-encoded
		at := d.rng.IntN(len(d.path))
		if at > 0 && !strings.ContainsAny(d.path, "%?") {
			d.path = d.path[:at] + fmt.Sprintf("%%%02x", d.path[at]) + d.path[at+1:]
		}
	case 4:
		d.path, _, _ = strings.Cut(d.path, "?")
		if d.rng.IntN(3) == 0 {
			d.path = pick(d, "/ocr//batch", "/static//x", "//ocr///batch")
		}
		d.path += "?" + d.query()
	case 5: // a character gone or twice
		at := 1 + d.rng.IntN(max(1, len(d.path)-1))
		if at < len(d.path) && !strings.ContainsAny(d.path, "%?") {
			d.path = d.path[:at] + pick(d, "", d.path[at:at+1]+d.path[at:at+1], ".", "-") + d.path[at+1:]
		}
	}
	return "path " + d.path
}

func (d *draft) query() string {
	if d.rng.IntN(2) == 0 {
		return pick(d, "", "prompt=x", "a=1&b=%3C%3E&c", "file=a.png", "?", "a=/../", "%E7%99%BC", "a=%", "%FF", "a=%5B1%5D", "//", "+")
	}
	b := make([]byte, d.rng.IntN(12))
	for i := range b {
		b[i] = byte('!' + d.rng.IntN('~'-'!'+1))
	}
	return strings.ReplaceAll(string(b), "#", "%")
}

func (d *draft) changeMethod() string {
	d.method = pick(d, "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "POSTS", "PROPFIND", "QUERY")
	return "method " + d.method
}

// somePart is a part, or nil where there is none.
func (d *draft) somePart() *part {
	if len(d.parts) == 0 {
		return nil
	}
	p := &d.parts[d.rng.IntN(len(d.parts))]
	p.header = slices.Clone(p.header)
	return p
}

func (d *draft) changePrompt() string {
	prompt := d.prompt()
	d.parts = append(d.parts, value("prompt", prompt))
	if d.rng.IntN(2) == 0 {
		d.parts[0], d.parts[len(d.parts)-1] = d.parts[len(d.parts)-1], d.parts[0]
	}
	return fmt.Sprintf("prompt %.60q", prompt)
}

func (d *draft) prompt() string {
	if d.rng.IntN(4) == 0 {
		b := make([]byte, d.rng.IntN(40))
		for i := range b {
			b[i] = byte(d.rng.Uint32())
		}
		return string(b)
	}
	return pick(d, "", " ", "Free OCR.", "<image>\nFree OCR.", "<image>", "<image><image>", "<|grounding|>Convert the document to markdown.", "請讀出全文。", "a\r\nb", "\r\n", "\n", "\x00", "\"\\/<>&'", "😀", "\u2028\ufeff", "\xed\xa0\x80", "\xf0\x9f\x98", "\xc3", "é\x85\x1c", strings.Repeat("long ", 300), "\x7f\x1f\b\f\t", "--"+defaultBoundary, "--"+defaultBoundary+"--x", "\r\n--"+defaultBoundary[:5])
}

func (d *draft) changeParts() string {
	switch d.rng.IntN(7) {
	case 0:
		d.parts = nil
		return "no parts"
	case 5:
		for len(d.parts) < 12 {
			d.parts = append(d.parts, file(d.field(), d.name(), page))
		}
		return "many files"
	case 1:
		if p := d.somePart(); p != nil {
			d.parts = append(d.parts, *p)
		}
		return "a part twice"
	case 2:
		if len(d.parts) > 0 {
			i := d.rng.IntN(len(d.parts))
			d.parts = slices.Delete(slices.Clone(d.parts), i, i+1)
		}
		return "a part gone"
	case 3:
		d.rng.Shuffle(len(d.parts), func(i, j int) { d.parts[i], d.parts[j] = d.parts[j], d.parts[i] })
		return "parts shuffled"
	case 4:
		d.parts = append(d.parts, value(pick(d, "file", "files", "x", ""), pick(d, "", "x", "a.png")))
		return "a text more"
	}
	d.parts = append(d.parts, file(d.field(), d.name(), d.image()))
	return "a file more"
}

func (d *draft) changePartHeader() string {
	p := d.somePart()
	if p == nil || len(p.header) == 0 {
		return "no part header"
	}
	line := pick(d, "", "X-Other: 1", "Content-Transfer-Encoding: base64", "Content-Type: text/plain; charset=iso-8859-1", "Content-Type: text/plain; charset=us-ascii", "Content-Type: text/plain; charset=big5", "Content-Type: multipart/mixed; boundary=x",
		"Content-Length: 3", "no colon", ": no name", "X-Bytes: \xff", "X-Chinese: 發票", "Content-Disposition: attachment; name=x", "content-disposition: form-data; name=\"file\"; filename=\"second.png\"")
	switch d.rng.IntN(7) {
	case 0:
		p.header = append([]string{line}, p.header...)
		return fmt.Sprintf("first part header %q", line)
	case 1:
		p.header = append(p.header, line)
		return fmt.Sprintf("last part header %q", line)
	case 2:
		p.header = nil
		return "part without headers"
	case 3:
		p.header[0] = pick(d, strings.ToLower, strings.ToUpper)(p.header[0])
		return "disposition in another case"
	case 4:
		p.header[0] = strings.ReplaceAll(p.header[0], "; ", pick(d, ";", " ; ", ";\t", "; ; ", "\r\n ", ";\r\n\t", ";\r ", ";\n\t", ";\r\t", ";\r\n", "  ;  ", ";;"))
		return "disposition with other blanks"
	case 5:
		p.header[0] = strings.Replace(p.header[0], pick(d, "form-data", "Content-Disposition:", ": "), pick(d, "", "attachment", "Content-Disposition :", ":", "x"), 1)
		return "disposition damaged: " + p.header[0]
	}
	p.header[0] = strings.ReplaceAll(p.header[0], `"`, pick(d, "", "'", `""`, `\"`))
	return "disposition with other quotes"
}

func (d *draft) changeFraming() string {
	switch d.rng.IntN(7) {
	case 0:
		d.newline = pick(d, "\n", "\r", "\r\n")
		return fmt.Sprintf("lines end in %q", d.newline)
	case 1:
		d.preamble = pick(d, "\r\n", "text\r\n", "text", "\n", "--\r\n", "-", "--"+d.boundary, "--"+d.boundary+"--\r\n", strings.Repeat("p", 1000)+"\r\n")
		return fmt.Sprintf("preamble %.30q", d.preamble)
	case 2:
		d.closing = pick(d, "", "-", "--", "--\r\nepilogue", "--\n", " --\r\n", "-- \r\n", "--\t\r\n", "--\v\f\r\n", "--\v", "--x", "\r\n", "x--\r\n", "--\r\n--"+d.boundary+"--\r\n", "--\r\n--"+d.boundary+"\r\nContent-Disposition: form-data; name=prompt\r\n\r\nlate\r\n--"+d.boundary+"--")
		return fmt.Sprintf("closing %q", d.closing)
	case 3:
		d.keep = 1 + d.rng.IntN(len(d.form.body()))
		return fmt.Sprintf("cut after %d bytes", d.keep)
	case 4:
		d.boundary += pick(d, " ", "\t", "\v", "\f ", "\u00a0", "  ", "x", "-", "--")
		return fmt.Sprintf("boundary lines %q", d.boundary)
	case 5:
		if p := d.somePart(); p != nil {
			p.data = append(slices.Clone(p.data), pick(d, "\r\n", "\n", "\r", "\r\n--", "\r\n--"+d.boundary+"x", "\r\n--"+d.boundary[:len(d.boundary)/2], "--"+d.boundary, "\n--"+d.boundary+" \n", "\r\r\n")...)
		}
		return "data that resembles framing"
	}
	if p := d.somePart(); p != nil && len(p.header) > 0 {
		p.header = append(p.header, "")
	}
	return "an empty line more"
}

func (d *draft) changeBoundary() string {
	b := d.boundary
	switch d.rng.IntN(3) {
	case 0:
		d.contentType = "multipart/form-data" + pick(d, "; boundary="+b+"; x=y", "; x=y; boundary="+b, ";boundary="+b, "; boundary = "+b, `; boundary="`+b+`"`, `; boundary="`+b, "; BOUNDARY="+b, "; boundary="+b+";", "; boundary='"+b+"'", "; boundary", "; boundary=", `; boundary=""`,
			"; boundary="+b+" ", "; boundary="+b+" x", "; boundary=other; boundary="+b, "; boundary="+b+"; boundary=other", "; boundary*=utf-8''"+b, "; boundary*0="+b[:len(b)/2]+"; boundary*1="+b[len(b)/2:], ", boundary="+b, " boundary="+b, "; boundary=\t"+b, ";; boundary="+b)
	case 1:
		d.boundary = pick(d, "----WebKitFormBoundary7MA4YWxkTrZu0gW", "x", "0123456789", "a'b(c)+_,-./:=?", "a b", "a b ", strings.Repeat("b", 70), strings.Repeat("b", 200), "-", "--", "{}[]^$.*|\\", "(?:", "a%20b", "é")
		d.contentType = fmt.Sprintf(`multipart/form-data; boundary="%s"`, d.boundary)
	case 2:
		d.boundary = pick(d, "----geckoformboundary", "a'b", "a+b", "a.b*c", "a=b", "a/b", "a,b", "a:b", "a(b)", "_-~!#$%&'*+^`|")
		d.contentType = "multipart/form-data; boundary=" + d.boundary
	}
	return "content type " + d.contentType
}

// changeBytes changes bytes wherever they are, but not an image's: what is left
// of a broken image is the model's to say.
func (d *draft) changeBytes() string {
	d.edits += 1 + d.rng.IntN(3)
	return "bytes changed"
}

func (d *draft) edited(body []byte) func() []byte {
	for range d.edits {
		if at := d.outside(body); at >= 0 {
			body = d.edit(body, at)
		}
	}
	return func() []byte { return body }
}

// outside is a place in a body that is in no image, or negative.
func (d *draft) outside(body []byte) int {
	if len(body) == 0 {
		return -1
	}
	at := d.rng.IntN(len(body))
	for _, image := range [][]byte{page, chinesePage} {
		start := max(0, at-len(image)+1)
		if i := bytes.Index(body[start:min(len(body), at+len(image))], image); i >= 0 {
			return start + i - d.rng.IntN(min(start+i, 100)+1) - 1 // before it, where its part's header is
		}
	}
	return at
}

// edit replaces, adds or removes a byte.
func (d *draft) edit(body []byte, at int) []byte {
	c := pick(d, "\r", "\n", "\x00", "\"", "\\", ";", "=", "-", " ", "\t", ":", "*", "'", "%", "\xff", "\x80", "a", "\v", "\f", "\x1f", "\r\n", "é", "\r\n\r\n", "--")
	switch d.rng.IntN(3) {
	case 0:
		return slices.Concat(body[:at], []byte(c), body[at:])
	case 1:
		return slices.Concat(body[:at], body[at+1:])
	}
	return slices.Concat(body[:at], []byte(c), body[at+1:])
}

func (d *draft) changeType() string {
	d.contentType = pick(d, "", "application/json", "text/plain", "application/octet-stream", "image/png", "application/x-www-form-urlencoded", "multipart/mixed; boundary="+d.boundary, "MULTIPART/FORM-DATA; boundary="+d.boundary, "multipart/form-data", " multipart/form-data; boundary="+d.boundary,
		"multipart/form-data ; boundary="+d.boundary, "multipart / form-data; boundary="+d.boundary, "multipart/form-data/x; boundary="+d.boundary, ";", "Application/X-WWW-Form-URLencoded; charset=utf-8")
	if d.rng.IntN(4) == 0 {
		other := pick(d, "", "{}", "[]", "file=a.png&prompt=x", `{"file":"a.png"}`, "%", "\x00")
		d.other = text(other)
	}
	return fmt.Sprintf("type %q", d.contentType)
}

func (d *draft) changeHeaders() string {
	line := pick(d, "Range: bytes=0-10", "If-None-Match: *", "Accept: text/plain", "Accept-Encoding: gzip, br", "Origin: http://elsewhere.example", "Cookie: session=x", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: elsewhere.example", "Content-Type: application/json", "Content-Type: multipart/form-data; boundary="+d.boundary, "X-HTTP-Method-Override: GET", "Accept-Language: zh-TW",
		"Expect: 100-continue", "X-Requested-With: XMLHttpRequest", "User-Agent: curl/8.0", "Referer: http://elsewhere.example/", "If-Modified-Since: Mon, 10 Nov 2025 00:00:00 GMT", "Cache-Control: no-cache", "Access-Control-Request-Method: POST", "Content-Language: zh", "Te: trailers", "X-Empty:")
	if d.rng.IntN(8) == 0 {
		d.host = pick(d, "old.example", "Old.Example:5000", "old.example:80", "old.example:443", "192.0.2.1:80", "[2001:DB8::1]:80", "localhost")
		d.path = pick(d, "/ocr//batch", "/ocr//batch?a=b", "/static//x")
		return "host " + d.host
	}
	d.header = append(d.header, line)
	return line
}

func (d *draft) changeTransfer() string {
	if d.rng.IntN(4) == 0 {
		d.bodyless = true
		return "no body"
	}
	d.chunks = pick(d, []int{1}, []int{7}, []int{1, 1000}, []int{16, 3, 4096}, []int{64 << 10})
	return fmt.Sprintf("chunks of %d", d.chunks)
}

// changeSize adds weight, on both sides of a limit and away from where it
// depends on reads.
func (d *draft) changeSize() string {
	switch d.rng.IntN(5) {
	case 0:
		n := 500_000 + pick(d, -1, 0, 1, 100_000)
		d.parts = append(d.parts, value(pick(d, "other", "x"), strings.Repeat("v", n)))
		return fmt.Sprintf("a field of %d bytes", n)
	case 1:
		n := 1000 + pick(d, -1, 0, 1, 200)
		for len(d.parts) < n {
			d.parts = append(d.parts, value("x", ""))
		}
		return fmt.Sprintf("%d parts", n)
	case 2:
		n := pick(d, 300_000, 700_000)
		d.preamble = strings.Repeat("p", n) + "\r\n"
		return fmt.Sprintf("a preamble of %d bytes", n)
	case 3:
		n := pick(d, 300_000, 700_000)
		if d.closing == "--\r\n" {
			d.closing += strings.Repeat("e", n)
		}
		return fmt.Sprintf("an epilogue of %d bytes", n)
	}
	n := pick(d, 1*mib, 10*mib, 16*mib+1, 18*mib)
	d.parts = append(slices.Clone(d.parts), file("other", "other.bin", bytes.Repeat([]byte("x"), n-len(d.form.body()))))
	return fmt.Sprintf("a file more of about %d bytes", n)
}
