package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"ocrmux/auth"
	"ocrmux/compat"
)

// reason is why a request was refused before anybody looked at what it wants,
// the label of ocrmux_admin_refusals_total.
type reason string

const (
	reasonAbsent    reason = "absent"    // no token, and the listener can be reached from elsewhere
	reasonMissing   reason = "missing"   // no token given
	reasonWrong     reason = "wrong"     // a wrong token
	reasonThrottled reason = "throttled" // one more wrong token
	reasonHost      reason = "host"      // a name that is not this machine's, as in DNS rebinding
	reasonOrigin    reason = "origin"    // a foreign page in a browser
)

var reasons = []reason{reasonAbsent, reasonMissing, reasonWrong, reasonThrottled, reasonHost, reasonOrigin}

// refusal is a request that the lock keeps out.
type refusal struct {
	reason reason
	err    *compat.Error
}

// An address may send ten wrong tokens at once and then ten a minute. Nobody
// needs more to find a mistake, and a token of 256 bits would be safe without:
// the throttle keeps the log and the CPU quiet.
var wrongTokens = auth.Pace{Burst: 10, Interval: 6 * time.Second}

// throttledAddresses bounds the addresses that are remembered.
const throttledAddresses = 4096

// lock decides who gets in: whoever has the token or, where there is none and
// the listener is local, whoever is on this machine and is no foreign web page
// in somebody's browser.
type lock struct {
	cfg      Config
	now      func() time.Time
	throttle *auth.Throttle
	origins  *http.CrossOriginProtection
}

func newLock(cfg Config, now func() time.Time) *lock {
	return &lock{cfg: cfg, now: now, throttle: auth.NewThrottle(wrongTokens, throttledAddresses), origins: http.NewCrossOriginProtection()}
}

func (l *lock) check(r *http.Request) *refusal {
	token := l.cfg.Token()
	switch {
	case token != "":
		if refused := l.checkToken(r, token); refused != nil {
			return refused
		}
	case !l.cfg.Loopback:
		return &refusal{reasonAbsent, compat.UnknownURL(r.Method, r.URL.Path)}
	case !localHost(r.Host):
		return &refusal{reasonHost, foreignHost()}
	}
	if l.origins.Check(r) != nil {
		return &refusal{reasonOrigin, foreignOrigin()}
	}
	return nil
}

// checkToken looks at the token before the throttle: the right one never waits.
func (l *lock) checkToken(r *http.Request, token string) *refusal {
	given := bearer(r)
	if given == "" {
		return &refusal{reasonMissing, badToken()}
	}
	// Digests: neither the time nor its length tells anything of the token.
	got, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		return nil
	}
	if wait := l.throttle.Wrong(peer(r), l.now()); wait > 0 {
		return &refusal{reasonThrottled, tooManyTokens(wait)}
	}
	return &refusal{reasonWrong, badToken()}
}

// bearer returns the token that a request gives, or "". The scheme's case does
// not matter (RFC 9110, section 11.1).
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// peer is the address at the other end of the connection. The listener knows no
// proxies.
func peer(r *http.Request) netip.Addr {
	end, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return end.Addr().Unmap()
}

// localHost reports whether a Host header names this machine by what no name
// server can give away.
func localHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil { // no port
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	ip, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && ip.IsLoopback()
}
