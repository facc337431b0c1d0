package legacy

import (
	"html"
	"net/url"
	"regexp"
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
	if m := matchClean(method, path); m.Route != NotFound {
		return m
	}
	clean := slashes.ReplaceAllString(path, "/")
	m := matchClean(method, clean)
	if clean != path && m.Route != NotFound && m.Route != MethodNotAllowed {
		return Match{Route: Redirect, Path: clean}
	}
	return m
}

func matchClean(method, path string) Match {
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
	case isStatic(path): // Flask adds the route, the service had no such files
	default:
		return Match{Route: NotFound}
	}
	if method == "OPTIONS" {
		return Match{Route: Options, Allow: allow}
	}
	for allowed := range strings.SplitSeq(allow, ", ") {
		if method == allowed {
			return Match{Route: route}
		}
	}
	return Match{Route: MethodNotAllowed, Allow: allow}
}

// isStatic is the rule /static/<path:filename>.
func isStatic(path string) bool {
	name, ok := strings.CutPrefix(path, "/static/")
	return ok && name != "" && name[0] != '/'
}

// Location is the target of a redirect: scheme and host of the request, the
// clean path and the query as it came.
func Location(scheme, host, path, rawQuery string) string {
	location := scheme + "://" + host + (&url.URL{Path: path}).EscapedPath()
	if rawQuery != "" {
		location += "?" + rawQuery
	}
	return location
}

// RedirectPage is the page of a redirect (HTMLType) to a location.
func RedirectPage(location string) string {
	escaped := html.EscapeString(location)
	return "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n" +
		"<p>You should be redirected automatically to the target URL: <a href=\"" + escaped + "\">" + escaped +
		"</a>. If not, click the link.\n"
}
