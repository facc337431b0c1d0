package gateway

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
)

// admit finds out who asks and opens a lease on the tenant's limits. It needs
// the head only, so that who may not come in costs no memory.
func (s *Server) admit(rc *fasthttp.RequestCtx, x *exchange) error {
	id, err := s.identify(rc, x)
	if err != nil {
		return err
	}
	x.identity = id
	lease, err := s.gate.Admit(x.ctx, id, routeOf(x))
	if err != nil {
		x.refused = true
		return err
	}
	x.lease, x.standing = lease, lease.Standing()
	return nil
}

// routeOf is the route as tenants are given it.
func routeOf(x *exchange) string {
	if x.route == "model" {
		return "models"
	}
	return x.route
}

// identify reads the credential: a bearer token, on legacy routes also
// X-API-Key, or there nothing at all where the anonymous tenant is configured.
func (s *Server) identify(rc *fasthttp.RequestCtx, x *exchange) (*auth.Identity, error) {
	peer := x.setup.client(rc)
	credential, given := bearer(rc.Request.Header.Peek("Authorization"))
	if x.style == flask && !given {
		key := rc.Request.Header.Peek("X-API-Key")
		credential, given = string(key), len(key) > 0
	}
	if !given && x.style == flask {
		return s.gate.Anonymous(peer)
	}
	return s.gate.Identify(credential, peer)
}

// bearer returns the token of an Authorization header. given is false where
// there is no header; another scheme is a credential that no key has.
func bearer(header []byte) (token string, given bool) {
	if len(header) == 0 {
		return "", false
	}
	scheme, rest, _ := bytes.Cut(header, []byte(" "))
	if !bytes.EqualFold(scheme, []byte("Bearer")) {
		return "of another scheme", true
	}
	return string(bytes.TrimSpace(rest)), true
}

// client is the address that a request came from: the peer's, or behind
// trusted proxies the right-most of X-Forwarded-For that is not one of them.
func (c *setup) client(rc *fasthttp.RequestCtx) netip.Addr {
	peer := address(rc.RemoteAddr())
	if !c.trusted(peer) {
		return peer
	}
	var hops []string
	for _, line := range rc.Request.Header.PeekAll("X-Forwarded-For") {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break // whoever wrote it is not to be believed further
		}
		if peer = hop.Unmap(); !c.trusted(peer) {
			break
		}
	}
	return peer
}

func (c *setup) trusted(a netip.Addr) bool {
	for _, p := range c.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func address(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		addr, _ := netip.AddrFromSlice(t.IP)
		return addr.Unmap()
	}
	return netip.Addr{}
}

// setStanding writes the limit headers in OpenAI's formats: whole numbers, and
// a Go duration for the reset. OpenAI has no limits of images and megapixels;
// theirs are written alike. Each answer gets them once.
func setStanding(h *fasthttp.ResponseHeader, st auth.Standing) {
	setLevel(h, &requestsHeaders, st.Requests, 1)
	setLevel(h, &tokensHeaders, st.Tokens, 1)
	setLevel(h, &imagesHeaders, st.Images, 1)
	setLevel(h, &megapixelsHeaders, st.Pixels, 1_000_000)
}

// limitHeaders are the names of one limit's headers, in their canonical form.
type limitHeaders struct{ limit, remaining, reset []byte }

var (
	requestsHeaders   = limitHeadersOf("Requests")
	tokensHeaders     = limitHeadersOf("Tokens")
	imagesHeaders     = limitHeadersOf("Images")
	megapixelsHeaders = limitHeadersOf("Megapixels")
)

func limitHeadersOf(what string) limitHeaders {
	return limitHeaders{
		limit:     []byte("X-Ratelimit-Limit-" + what),
		remaining: []byte("X-Ratelimit-Remaining-" + what),
		reset:     []byte("X-Ratelimit-Reset-" + what),
	}
}

func setLevel(h *fasthttp.ResponseHeader, names *limitHeaders, l auth.Level, unit int64) {
	if l.Limit == 0 {
		return
	}
	var space [20]byte
	h.SetCanonical(names.limit, strconv.AppendInt(space[:0], l.Limit/unit, 10))
	h.SetCanonical(names.remaining, strconv.AppendInt(space[:0], l.Remaining/unit, 10))
	h.SetCanonical(names.reset, append(space[:0], l.Reset.Round(time.Millisecond).String()...))
}
