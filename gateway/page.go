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

// openAPIDocument describes every route, and docsPage shows it to people. They are kept by
// hand; a test holds live answers against what they say.
var (
	//go:embed openapi.json
	openAPIDocument []byte
	//go:embed docs.html
	docsPage []byte
)

// handleIndex is GET /.
func (s *Server) handleIndex(rc *fasthttp.RequestCtx, _ *exchange) error {
	servePage(rc, indexPage)
	return nil
}

// handleDocs is GET /docs.
func (s *Server) handleDocs(rc *fasthttp.RequestCtx, _ *exchange) error {
	servePage(rc, docsPage)
	return nil
}

// handleOpenAPI is GET /openapi.json.
func (s *Server) handleOpenAPI(rc *fasthttp.RequestCtx, _ *exchange) error {
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(openAPIDocument)
	return nil
}

// servePage sends a page of ours, which may load nothing from elsewhere.
func servePage(rc *fasthttp.RequestCtx, page []byte) {
	h := &rc.Response.Header
	h.SetContentType(legacy.HTMLType)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	rc.Response.SetBodyRaw(page)
}
