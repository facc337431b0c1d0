package gateway

import (
	"bytes"
	"errors"

	"github.com/valyala/fasthttp"
)

var errFraming = errors.New("the request is not well-formed HTTP/1.1")

// wellFormed refuses what two HTTP parsers might read differently, because
// that is how one client's bytes become another's request. fasthttp is more
// lenient than we want to be; the original bytes of the head tell.
//
// RFC 9112, sections 2.2, 3.2, 5.1, 5.2 and 6.1.
func wellFormed(rc *fasthttp.RequestCtx) error {
	h := &rc.Request.Header
	if p := h.Protocol(); string(p) != "HTTP/1.1" && string(p) != "HTTP/1.0" {
		return errFraming
	}
	for _, c := range h.Method() {
		if c < 'A' || c > 'Z' {
			return errFraming
		}
	}
	if uri := h.RequestURI(); len(uri) == 0 || (uri[0] != '/' && string(uri) != "*") {
		return errFraming // nobody uses us as a proxy
	}
	if clientOf(rc.Conn()).bareLF(h) {
		return errFraming
	}
	var host, auth, length, coding int
	for raw := h.RawHeaders(); len(raw) > 0; {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		raw = rest
		if len(line) == 0 || line[len(line)-1] != '\r' {
			return errFraming // a bare LF
		}
		line = line[:len(line)-1]
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) || bytes.IndexByte(value, '\r') >= 0 || bytes.IndexByte(value, 0) >= 0 {
			return errFraming // obs-fold and a blank before the colon are not tokens
		}
		value = bytes.Trim(value, " \t")
		switch {
		case fold(name, "host"):
			host++
		case fold(name, "authorization"):
			auth++
		case fold(name, "content-length"):
			length++
			if !isDigits(value) {
				return errFraming
			}
		case fold(name, "transfer-encoding"):
			coding++
			if !fold(value, "chunked") {
				return errFraming
			}
		}
	}
	if host > 1 || auth > 1 || length > 1 || coding > 1 || length+coding > 1 {
		return errFraming
	}
	if string(h.Protocol()) == "HTTP/1.1" && host == 0 {
		return errFraming
	}
	if coding > 0 && string(h.Protocol()) == "HTTP/1.0" {
		return errFraming
	}
	if (rc.IsGet() || rc.IsHead()) && (coding > 0 || h.ContentLength() > 0) {
		return errFraming // a body that the method has no use for
	}
	return nil
}

func fold(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// isToken reports whether b is a token of RFC 9110, section 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`"(),/:;<=>?@[\]{}`), c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}
