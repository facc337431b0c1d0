package gateway

import (
	_ "embed"

	"github.com/valyala/fasthttp"

	"ocrmux/compat/legacy"
)

// indexPage lets a person upload an image and read its text, in Traditional
// Chinese or English. It is whole in itself: no script, font or style from
// anywhere else, as its content security policy says.
//
//go:embed page.html
var indexPage []byte

// handleIndex is GET /.
func (s *Server) handleIndex(rc *fasthttp.RequestCtx, _ *exchange) error {
	h := &rc.Response.Header
	h.SetContentType(legacy.HTMLType)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	rc.Response.SetBodyRaw(indexPage)
	return nil
}
