package legacy_test

import (
	"testing"

	"ocrmux/compat/legacy"
)

// Every row was answered so by Flask 3.1.3, whose order of methods in Allow
// changes from one answer to the next.
func TestMatchRoute_RoutesAsFlaskDoes(t *testing.T) {
	const get, post = "GET, HEAD, OPTIONS", "POST, OPTIONS"
	notFound := legacy.Match{Route: legacy.NotFound}
	wrong := func(allow string) legacy.Match { return legacy.Match{Route: legacy.MethodNotAllowed, Allow: allow} }
	options := func(allow string) legacy.Match { return legacy.Match{Route: legacy.Options, Allow: allow} }
	moved := func(path string) legacy.Match { return legacy.Match{Route: legacy.Redirect, Path: path} }
	at := func(route legacy.Route) legacy.Match { return legacy.Match{Route: route} }
	tests := []struct {
		method, path string
		want         legacy.Match
	}{
		{"GET", "/", at(legacy.Index)},
		{"HEAD", "/", at(legacy.Index)},
		{"POST", "/", wrong(get)},
		{"OPTIONS", "/", options(get)},
		{"GET", "//", at(legacy.Index)},
		{"POST", "//", wrong(get)},
		{"GET", "/health", at(legacy.Health)},
		{"HEAD", "/health", at(legacy.Health)},
		{"get", "/health", at(legacy.Health)},
		{"GET", "/%68ealth", at(legacy.Health)},
		{"GET", "/%2Fhealth", at(legacy.Health)},
		{"POST", "/health", wrong(get)},
		{"GET", "/health/", notFound},
		{"GET", "/./health", notFound},
		{"GET", "/health;x", notFound},
		{"GET", "/health%", notFound},
		{"POST", "/ocr", at(legacy.OCR)},
		{"POST", "//ocr", at(legacy.OCR)},
		{"POST", "///ocr", at(legacy.OCR)},
		{"GET", "/ocr", wrong(post)},
		{"HEAD", "/ocr", wrong(post)},
		{"PUT", "/ocr", wrong(post)},
		{"FOO", "/ocr", wrong(post)},
		{"OPTIONS", "/ocr", options(post)},
		{"POST", "/ocr/", notFound},
		{"GET", "/OCR", notFound},
		{"POST", "/ocr/../ocr", notFound},
		{"POST", "/ocr/batch", at(legacy.OCRBatch)},
		{"POST", "//ocr/batch", at(legacy.OCRBatch)},
		{"POST", "/ocr%2Fbatch", at(legacy.OCRBatch)},
		{"POST", "/ocr//batch", moved("/ocr/batch")},
		{"POST", "//ocr//batch", moved("/ocr/batch")},
		{"POST", "/ocr%2F%2Fbatch", moved("/ocr/batch")},
		{"OPTIONS", "/ocr//batch", moved("/ocr/batch")},
		{"GET", "/ocr//batch", wrong(post)},
		{"GET", "/ocr///batch", wrong(post)},
		{"GET", "/ocr//batchx", notFound},
		{"POST", "/ocr/batch/", notFound},
		{"POST", "/ocr/batch//", notFound},
		{"GET", "/static/x", notFound},
		{"GET", "//static/x", notFound},
		{"POST", "/static/x", wrong(get)},
		{"OPTIONS", "/static/x", options(get)},
		{"GET", "/static//x", moved("/static/x")},
		{"OPTIONS", "/static//x", moved("/static/x")},
		{"POST", "/static//x", wrong(get)},
		{"POST", "/static/%2e%2e/ocr", wrong(get)},
		{"POST", "/static/%FF", wrong(get)},
		{"POST", "/static/%0A", wrong(get)},
		{"POST", "/static/a%0Ab", notFound},
		{"POST", "/static/", notFound},
		{"POST", "/static/%2F", notFound},
		{"POST", "/static", notFound},
		{"OPTIONS", "*", notFound},
		{"OPTIONS", "/nothing", notFound},
		{"GET", "", at(legacy.Index)},
	}
	for _, test := range tests {
		if got := legacy.MatchRoute(test.method, test.path); got != test.want {
			t.Errorf("%s %s: got %+v, want %+v", test.method, test.path, got, test.want)
		}
	}
}

func TestPages_AreThoseOfWerkzeug(t *testing.T) {
	const notFound = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
	const notAllowed = "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>\n<p>The method is not allowed for the requested URL.</p>\n"
	if legacy.NotFoundPage != notFound {
		t.Errorf("404: got %q", legacy.NotFoundPage)
	}
	if legacy.MethodNotAllowedPage != notAllowed {
		t.Errorf("405: got %q", legacy.MethodNotAllowedPage)
	}
}

func TestRedirectTo_KeepsTheQuery(t *testing.T) {
	tests := []struct{ path, query, location, link string }{
		{"/ocr/batch", "", "http://h.example:5000/ocr/batch", "http://h.example:5000/ocr/batch"},
		{"/ocr/batch", "a=1&b=%3C", "http://h.example:5000/ocr/batch?a=1&b=%3C", "http://h.example:5000/ocr/batch?a=1&amp;b=%3C"},
		{"/ocr/batch", "a=<x>\"'", "http://h.example:5000/ocr/batch?a=%3Cx%3E%22'", "http://h.example:5000/ocr/batch?a=&lt;x&gt;&#34;&#39;"},
		{"/ocr/batch", "a=[1]#[2]", "http://h.example:5000/ocr/batch?a=%5B1%5D#%5B2%5D", "http://h.example:5000/ocr/batch?a=[1]#[2]"},
		{"/static/a b", "", "http://h.example:5000/static/a%20b", "http://h.example:5000/static/a%20b"},
	}
	for _, test := range tests {
		location, page := legacy.RedirectTo("http", "h.example:5000", test.path, test.query)
		want := "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n<p>You should be redirected automatically to the target URL: <a href=\"" +
			test.link + "\">" + test.link + "</a>. If not, click the link.\n"
		if location != test.location || page != want {
			t.Errorf("got  %s %q\nwant %s %q", location, page, test.location, want)
		}
	}
}

func TestRedirectTo_ShowsTheHostAsWerkzeugDoes(t *testing.T) {
	tests := []struct{ scheme, host, want string }{
		{"http", "H.Example:5000", "http://h.example:5000/ocr/batch"},
		{"http", "h.example:80", "http://h.example/ocr/batch"},
		{"http", "h.example:443", "http://h.example:443/ocr/batch"},
		{"https", "h.example:443", "https://h.example/ocr/batch"},
		{"http", "[::1]:80", "http://[::1]/ocr/batch"},
		{"http", "h.example", "http://h.example/ocr/batch"},
	}
	for _, test := range tests {
		if got, _ := legacy.RedirectTo(test.scheme, test.host, "/ocr/batch", ""); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.scheme, test.host, got, test.want)
		}
	}
}
