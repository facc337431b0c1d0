package gateway

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"ocrmux/compat"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
)

// handler answers a request, or returns why it cannot. A handler that hands its
// exchange to a stream sets x.streamed; the stream then finishes it.
type handler func(rc *fasthttp.RequestCtx, x *exchange) error

// style is the way in which errors are written.
type style uint8

const (
	openAI style = iota
	flask
)

// serve is every request on the main port.
func (s *Server) serve(rc *fasthttp.RequestCtx) {
	x := s.open(rc.Conn())
	defer func() {
		if p := recover(); p != nil {
			x.streamed = false
			completions.LogPanic(s.log.With("id", x.id), "panic in a handler", p)
			s.writeError(rc, x, errPanic)
		}
		if s.draining.Load() {
			rc.SetConnectionClose()
		}
		x.status = rc.Response.StatusCode()
		if !x.streamed {
			x.finish()
		}
	}()
	rc.Response.Header.Set("X-Request-Id", x.id)
	if err := wellFormed(rc); err != nil {
		rc.SetConnectionClose()
		s.writeError(rc, x, err)
		return
	}
	if err := s.route(rc, x)(rc, x); err != nil {
		s.writeError(rc, x, err)
	}
}

// route finds the handler for the path as it was sent, and names the route.
func (s *Server) route(rc *fasthttp.RequestCtx, x *exchange) handler {
	path, _, _ := bytes.Cut(rc.Request.Header.RequestURI(), []byte("?"))
	method := string(rc.Method())
	if rest, ok := bytes.CutPrefix(path, []byte("/v1/")); ok {
		return s.routeV1(x, method, string(rest))
	}
	x.style = flask
	if rc.IsGet() || rc.IsHead() {
		switch string(path) {
		case "/livez":
			return s.named(x, "livez", s.handleLive)
		case "/readyz":
			return s.named(x, "readyz", s.handleReady)
		case "/openapi.json":
			return s.named(x, "openapi", s.handleOpenAPI)
		case "/docs":
			return s.named(x, "docs", s.handleDocs)
		}
	}
	return s.routeLegacy(x, method, string(path))
}

func (s *Server) named(x *exchange, route string, h handler) handler {
	x.route = route
	return h
}

func (s *Server) routeV1(x *exchange, method, rest string) handler {
	want := fasthttp.MethodPost
	var h handler
	switch rest {
	case "chat/completions":
		h = s.named(x, "chat", s.handleDialect(compat.Chat))
	case "completions":
		h = s.named(x, "completions", s.handleDialect(compat.Completions))
	case "responses":
		h = s.named(x, "responses", s.handleDialect(compat.Responses))
	case "models":
		want, h = fasthttp.MethodGet, s.named(x, "models", s.handleModels)
	case "usage":
		want, h = fasthttp.MethodGet, s.named(x, "usage", s.handleUsage)
	default:
		if of, ok := strings.CutPrefix(rest, "responses/"); ok {
			return s.routeStored(x, method, of)
		}
		id, ok := bytes.CutPrefix([]byte(rest), []byte("models/"))
		name, err := url.PathUnescape(string(id))
		if !ok || err != nil || name == "" {
			return s.fail(compat.UnknownURL(method, "/v1/"+rest))
		}
		want, h = fasthttp.MethodGet, s.named(x, "model", s.handleModel(name))
	}
	if method != want {
		return func(rc *fasthttp.RequestCtx, _ *exchange) error {
			rc.Response.Header.Set("Allow", want)
			return compat.MethodNotSupported(method, "/v1/"+rest)
		}
	}
	return h
}

// fail is the handler that has nothing but an error.
func (s *Server) fail(err error) handler {
	return func(*fasthttp.RequestCtx, *exchange) error { return err }
}

// routeLegacy routes as the Flask service did.
func (s *Server) routeLegacy(x *exchange, method, path string) handler {
	m := legacy.MatchRoute(method, path)
	switch m.Route {
	case legacy.OCR:
		return s.named(x, "ocr", s.handleOCR)
	case legacy.OCRBatch:
		return s.named(x, "ocr_batch", s.handleBatch)
	case legacy.Health:
		return s.named(x, "health", s.handleHealth)
	case legacy.Index:
		return s.named(x, "index", s.handleIndex)
	case legacy.Redirect:
		return s.redirect(m.Path)
	case legacy.Options:
		return s.html(fasthttp.StatusOK, m.Allow, "")
	case legacy.MethodNotAllowed:
		return s.html(fasthttp.StatusMethodNotAllowed, m.Allow, legacy.MethodNotAllowedPage)
	default:
		return s.html(fasthttp.StatusNotFound, "", legacy.NotFoundPage)
	}
}

// html answers what needs no work. A body that nobody asked for is discarded,
// so that its sender can read the answer.
func (s *Server) html(status int, allow, page string) handler {
	return func(rc *fasthttp.RequestCtx, x *exchange) error {
		s.settle(rc, x)
		rc.SetStatusCode(status)
		rc.SetContentType(legacy.HTMLType)
		if allow != "" {
			rc.Response.Header.Set("Allow", allow)
		}
		rc.SetBodyString(page)
		return nil
	}
}

func (s *Server) redirect(path string) handler {
	return func(rc *fasthttp.RequestCtx, x *exchange) error {
		scheme := "http"
		if rc.IsTLS() {
			scheme = "https"
		}
		_, query, _ := bytes.Cut(rc.Request.Header.RequestURI(), []byte("?"))
		location, page := legacy.RedirectTo(scheme, string(rc.Request.Header.Host()), path, string(query))
		rc.Response.Header.Set("Location", location)
		return s.html(fasthttp.StatusPermanentRedirect, "", page)(rc, x)
	}
}
