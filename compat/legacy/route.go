package legacy

import (
	"html"
	"regexp"
	"slices"
	"strings"
)

// Route is where a request belongs.
type Route uint8

const (
	NotFound         Route = iota // 404, NotFoundPage
	MethodNotAllowed              // 405, MethodNotAllowedPage and Allow
	Options                       // 200 without a body, and Allow
	Redirect                      // 308 to Path
	Index                         // GET /
	Health                        // GET /health
	OCR                           // POST /ocr
	OCRBatch                      // POST /ocr/batch
)

// Match says how the service's routing answers a request.
type Match struct {
	Route Route
	Allow string // of MethodNotAllowed and Options
	Path  string // of Redirect: the clean path
}

// HTMLType is the content type of the pages below, and of an answer to OPTIONS.
const HTMLType = "text/html; charset=utf-8"

const (
	NotFoundPage = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n" +
		"<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
	MethodNotAllowedPage = "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>\n" +
		"<p>The method is not allowed for the requested URL.</p>\n"
)

const (
	allowGet  = "GET, HEAD, OPTIONS"
	allowPost = "POST, OPTIONS"
)

var slashes = regexp.MustCompile("//+")

// MatchRoute routes as Werkzeug does. rawPath is the path as it stands in the
// request line, still percent-encoded and without the query. Slashes at its
// beginning count as one; others that repeat lead to a redirect where the
// clean path would have matched.
func MatchRoute(method, rawPath string) Match {
	path := "/" + strings.TrimLeft(unquotePercent(rawPath, "utf-8"), "/")
	method = strings.ToUpper(method)
	m, served := matchClean(method, path)
	if served {
		return m
	}
	clean := slashes.ReplaceAllString(path, "/")
	if clean == path {
		return m
	}
	if m, served = matchClean(method, clean); served {
		return Match{Route: Redirect, Path: clean}
	}
	return m
}

// matchClean looks a path up as it is. served says that it takes the method.
func matchClean(method, path string) (m Match, served bool) {
	route, allow := NotFound, allowGet
	switch {
	case path == "/":
		route = Index
	case path == "/health":
		route = Health
	case path == "/ocr":
		route, allow = OCR, allowPost
	case path == "/ocr/batch":
		route, allow = OCRBatch, allowPost
	case isStatic(path): // Flask serves it; the service had no such files
	default:
		return Match{Route: NotFound}, false
	}
	if method == "OPTIONS" {
		return Match{Route: Options, Allow: allow}, true
	}
	if slices.Contains(strings.Split(allow, ", "), method) {
		return Match{Route: route}, true
	}
	return Match{Route: MethodNotAllowed, Allow: allow}, false
}

// isStatic is the rule /static/<path:filename>, whose name holds no line feed
// after its first character.
func isStatic(path string) bool {
	name, ok := strings.CutPrefix(path, "/static/")
	return ok && name != "" && name[0] != '/' && !strings.Contains(name[1:], "\n")
}

// RedirectTo returns the Location header of a redirect and its page
// (HTMLType). scheme, host and query are those of the request as they came,
// path is that of the Match. The host is shown in lower case and without the
// scheme's own port. (Werkzeug leaves out a host with characters that DNS does
// not allow, such as an underscore; its redirect then led nowhere.)
func RedirectTo(scheme, host, path, rawQuery string) (location, page string) {
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	origin, target := scheme+"://"+lowerASCII(host), percentEncode(path, pathChars)
	if rawQuery != "" {
		target += "?" + rawQuery
	}
	escaped := html.EscapeString(origin + target)
	return percentEncode(origin, pathChars+"[]") + percentEncode(target, pathChars+"?%#"),
		"<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n" +
			"<p>You should be redirected automatically to the target URL: <a href=\"" + escaped + "\">" + escaped +
			"</a>. If not, click the link.\n"
}

// pathChars need no encoding in a path, nor do letters and digits.
const pathChars = "!$&'()*+,/:;=@-._~"

func percentEncode(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}
