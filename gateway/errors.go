package gateway

import (
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
)

var errPanic = errors.New("panic")

// statusClientGone is how the log and the metrics count an answer that nobody
// was there to read, as nginx does. It never reaches a client.
const statusClientGone = 499

// busyRetry is what a client is told to wait when there is no capacity.
const busyRetry = time.Second

// shown turns any error into what the client may know of it. A cause that
// nobody foresaw is an internal error to the client and a line in the log.
func (s *Server) shown(x *exchange, err error) *compat.Error {
	var known *compat.Error
	var flaskError *legacy.Error
	var status *backends.StatusError
	var limit *auth.LimitError
	var throttled *auth.Throttled
	var quota *auth.QuotaError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &limit) && limit.Ceiling:
		return compat.Overloaded(limit.RetryAfter)
	case errors.As(err, &limit) && limit.Never:
		return compat.AboveLimit(limit.Limit)
	case errors.As(err, &limit):
		return compat.RateLimited(limit.Limit, limit.RetryAfter)
	case errors.As(err, &quota):
		return compat.QuotaExceeded(quota.What, quota.Resets)
	case errors.As(err, &flaskError):
		return &compat.Error{Status: flaskError.Status, Message: flaskError.Message}
	case errors.As(err, &status) && x.route == "responses" && notServed(status.Status):
		return compat.NotServed()
	case errors.As(err, &status):
		return status.Err
	case errors.As(err, &throttled):
		return compat.RateLimited("requests", throttled.RetryAfter)
	case errors.Is(err, auth.ErrNoRoute):
		return compat.RouteNotAllowed()
	case errors.Is(err, auth.ErrNoKey):
		return compat.NoKey()
	case errors.Is(err, auth.ErrBadKey):
		return compat.BadKey()
	case errors.Is(err, backends.ErrBusy), errors.Is(err, backends.ErrUnavailable), errors.Is(err, errNoRoom), errors.Is(err, errStopping):
		return compat.Overloaded(busyRetry)
	case errors.Is(err, backends.ErrLost), errors.Is(err, backends.ErrMalformed), errors.Is(err, errStalled):
		return compat.Upstream()
	case errors.Is(err, errDeadline):
		return compat.Timeout()
	case errors.Is(err, errTooLarge):
		return compat.TooLarge(x.setup.cfg.OpenAI.MaxBody)
	}
	for _, p := range plain {
		if errors.Is(err, p.err) {
			return p.shown
		}
	}
	if !errors.Is(err, errPanic) { // which has its line already
		s.log.Error("unforeseen error", "id", x.id, "route", x.route, "err", err)
	}
	return compat.Internal()
}

// plain are the refusals that need no more than their words.
var plain = []struct {
	err   error
	shown *compat.Error
}{
	{errCompressed, compat.UnsupportedEncoding()},
	{errFraming, malformed},
	{errSlowBody, &compat.Error{Status: 408, Type: "invalid_request_error", Message: "The request body came too slowly."}},
	{errBrokenBody, &compat.Error{Status: 400, Type: "invalid_request_error", Message: "The request body ended before it was complete."}},
	{completions.ErrBehind, &compat.Error{Status: 408, Type: "invalid_request_error", Message: "The answer was read more slowly than it came."}},
}

var malformed = &compat.Error{Status: 400, Type: "invalid_request_error", Message: "The request is not well-formed HTTP/1.1."}

// reason is an error's name in the log: from a small set, and never a text that
// a client or a backend wrote.
func reason(err error) string {
	var known *compat.Error
	var flaskError *legacy.Error
	var status *backends.StatusError
	var limit *auth.LimitError
	var throttled *auth.Throttled
	var quota *auth.QuotaError
	switch {
	case errors.As(err, &limit) && limit.Ceiling:
		return "ceiling " + limit.Limit
	case errors.As(err, &limit):
		return "limit " + limit.Limit
	case errors.As(err, &quota):
		return "quota " + quota.What
	case errors.As(err, &throttled):
		return "throttled"
	case errors.As(err, &status):
		return "backend answered " + strconv.Itoa(status.Status)
	case errors.As(err, &known):
		return "refused " + strconv.Itoa(known.Status) + " " + known.Code
	case errors.As(err, &flaskError):
		return "refused " + strconv.Itoa(flaskError.Status)
	}
	for _, e := range []error{
		auth.ErrNoKey, auth.ErrBadKey, auth.ErrNoRoute, backends.ErrBusy, backends.ErrUnavailable, backends.ErrLost, backends.ErrMalformed,
		errClientGone, errStopping, errDeadline, errStalled, errNotTaking, completions.ErrBehind, errTooLarge, errCompressed, errNoRoom, errSlowBody, errBrokenBody, errFraming, errPanic,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return "internal error"
}

// writeError is where an error becomes an answer, in the style of the route.
func (s *Server) writeError(rc *fasthttp.RequestCtx, x *exchange, err error) {
	x.err = err
	if x.gone() {
		rc.SetConnectionClose()
		rc.SetStatusCode(statusClientGone)
		return
	}
	s.settle(rc, x)
	e := s.shown(x, err)
	h := &rc.Response.Header
	setRetryAfter(h, e.RetryAfter)
	if e.NoRetry {
		h.Set("X-Should-Retry", "false")
	}
	var limit *auth.LimitError
	if errors.As(err, &limit) {
		x.standing = limit.Standing
	}
	setStanding(h, x.standing)
	if x.style == flask {
		x.writeLegacyError(rc, e, err)
		return
	}
	rc.SetStatusCode(e.Status)
	h.SetContentType("application/json")
	rc.SetBody(e.AppendJSON(nil))
}

// setRetryAfter writes how long to wait, rounded up; 0 is nothing to say.
func setRetryAfter(h *fasthttp.ResponseHeader, d time.Duration) {
	if d <= 0 {
		return
	}
	h.Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
	h.Set("Retry-After-Ms", strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10))
}

// refuseUnread answers what fasthttp could not even parse. It closes the
// connection afterwards by itself.
func (s *Server) refuseUnread(rc *fasthttp.RequestCtx, err error) {
	e := malformed
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &small):
		e = &compat.Error{Status: 431, Type: "invalid_request_error", Message: "The request's headers are larger than 16 KiB."}
	case errors.As(err, &timeout) && timeout.Timeout():
		e = &compat.Error{Status: 408, Type: "invalid_request_error", Message: "The request's headers came too slowly."}
	}
	refuse(rc)
	s.metrics.unread(e.Status)
	rc.Response.Header.Set("X-Request-Id", newID())
	rc.Response.Header.SetContentType("application/json")
	rc.SetStatusCode(e.Status)
	rc.SetBody(e.AppendJSON(nil))
}
