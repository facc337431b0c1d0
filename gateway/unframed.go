package gateway

import (
	"net"
	"slices"

	"github.com/valyala/fasthttp"
)

// writeUnframed relays to a client of HTTP/1.0, which knows no chunks: the
// answer ends with the connection (RFC 9112, section 6.1). fasthttp would send
// chunks all the same, so the connection is taken out of its hands.
func (r *relay) writeUnframed(rc *fasthttp.RequestCtx) {
	h := &rc.Response.Header
	h.SetConnectionClose()
	h.SetContentLength(-2) // neither a length nor chunks
	head := slices.Clone(h.Header())
	rc.HijackSetNoResponse(true)
	rc.Hijack(func(c net.Conn) {
		if _, err := r.write(c, head); err != nil {
			r.end(err)
			return
		}
		_, _ = r.WriteTo(c) // what went wrong is in the log, and [DONE] is missing
	})
}
