package gateway

import (
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"ocrmux/compat"
)

// routeStored answers for the routes below /v1/responses/, which are about
// responses that a server keeps. None is kept here: a backend would keep them for
// itself, and the next request may go to another.
func (s *Server) routeStored(x *exchange, method, rest string) handler {
	id, action, _ := strings.Cut(rest, "/")
	var methods []string
	switch {
	case id == "":
	case action == "" && !strings.HasSuffix(rest, "/"):
		methods = []string{fasthttp.MethodGet, fasthttp.MethodDelete}
	case action == "cancel":
		methods = []string{fasthttp.MethodPost}
	case action == "input_items":
		methods = []string{fasthttp.MethodGet}
	}
	switch path := "/v1/responses/" + rest; {
	case methods == nil:
		return s.fail(compat.UnknownURL(method, path))
	case !slices.Contains(methods, method):
		return s.fail(compat.MethodNotSupported(method, path))
	}
	return s.named(x, "responses", func(rc *fasthttp.RequestCtx, x *exchange) error {
		if err := s.admit(rc, x); err != nil {
			return err
		}
		return compat.NotStored()
	})
}

// notServed are the statuses by which a backend says that it has no such route,
// or none for its model. That it has the model is known from its probes.
func notServed(status int) bool {
	return status == fasthttp.StatusNotFound || status == fasthttp.StatusMethodNotAllowed || status == fasthttp.StatusNotImplemented
}
