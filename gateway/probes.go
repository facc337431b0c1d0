package gateway

import (
	"time"

	"github.com/valyala/fasthttp"
)

// handleLive answers as long as the process does.
func (s *Server) handleLive(rc *fasthttp.RequestCtx, _ *exchange) error {
	rc.SetContentType("text/plain; charset=utf-8")
	rc.SetBodyString("ok\n")
	return nil
}

// handleReady says whether new work is welcome.
func (s *Server) handleReady(rc *fasthttp.RequestCtx, _ *exchange) error {
	rc.SetContentType("text/plain; charset=utf-8")
	if err := s.Ready(); err != nil {
		rc.SetStatusCode(fasthttp.StatusServiceUnavailable)
		rc.SetBodyString(err.Error() + "\n")
		return nil
	}
	rc.SetBodyString("ok\n")
	return nil
}

// handleHealth is the legacy service's GET /health.
func (s *Server) handleHealth(rc *fasthttp.RequestCtx, x *exchange) error {
	status, body := x.setup.cfg.Legacy.Profile.Health(time.Now(), s.Ready() == nil)
	rc.SetStatusCode(status)
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(body)
	return nil
}
