package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"ocrmux/auth"
)

// refusals is how many refused requests are told one by one; of the others the
// next line says how many there were.
var refusals = auth.Pace{Burst: 20, Interval: 3 * time.Second}

// audit tells who did what, and with what result: a line for every change,
// whether it came about or not, and for requests that were not let in.
type audit struct {
	log     *slog.Logger
	metrics *metrics
	cfg     Config
	now     func() time.Time

	mu     sync.Mutex
	paid   auth.Bucket // guarded by mu
	untold int         // guarded by mu; refusals since the last line
}

func newAudit(log *slog.Logger, m *metrics, cfg Config, now func() time.Time) *audit {
	return &audit{log: log, metrics: m, cfg: cfg, now: now}
}

// object is what a change is about, such as a tenant: a kind and a name.
type object struct{ kind, name string }

// changed tells a change. result is "done" or the code of the error.
func (a *audit) changed(r *http.Request, action string, about []object, status int, result string) {
	a.metrics.changed(action, status)
	attrs := append(a.who(r), slog.String("action", action))
	for _, o := range about {
		attrs = append(attrs, slog.String(o.kind, a.name(o)))
	}
	level := slog.LevelInfo
	if status >= http.StatusBadRequest {
		level = slog.LevelWarn
	}
	attrs = append(attrs, slog.Int("status", status), slog.String("result", result))
	a.log.LogAttrs(context.WithoutCancel(r.Context()), level, "audit", attrs...)
}

// refused tells a request that was not let in. path is the pattern of the route,
// which holds nothing of the request's own words.
func (a *audit) refused(r *http.Request, path string, why reason) {
	a.metrics.refusals[why].Inc()
	a.mu.Lock()
	if a.paid.Take(a.now(), refusals) > 0 {
		a.untold++
		a.mu.Unlock()
		return
	}
	untold := a.untold
	a.untold = 0
	a.mu.Unlock()
	attrs := append(a.who(r), slog.String("action", "refused"), slog.String("path", path), slog.String("result", string(why)))
	if untold > 0 {
		attrs = append(attrs, slog.Int("untold", untold))
	}
	a.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "audit", attrs...)
}

// who names a caller: the address, and of the token as much of a digest as tells
// it from an older one and does not help to guess it.
func (a *audit) who(r *http.Request) []slog.Attr {
	token, given := "none", bearer(r)
	switch {
	case a.cfg.Loopback && a.cfg.Token() == "":
		token = "loopback"
	case given != "":
		sum := sha256.Sum256([]byte(given))
		token = hex.EncodeToString(sum[:4])
	}
	return []slog.Attr{slog.String("peer", peer(r).String()), slog.String("token", token)}
}

// leaked finds a key that somebody put where it does not belong.
var leaked = regexp.MustCompile(`(?i)sk-ocr-[\w-]*`)

var (
	// nameable is what the names of tenants, models and backends are made of.
	nameable = regexp.MustCompile(`^[\w./:@ -]{1,128}$`)
	keyID    = regexp.MustCompile(`^[0-9a-z]{8}$`)
	// random is as long as only secrets are without a break.
	random = regexp.MustCompile(`(?i)[0-9a-z]{40}`)
)

// hidden stands for a name that may be a secret of somebody who missed their mark.
const hidden = "(hidden)"

// name returns an object's name, which a request gave, unless it may be a secret.
func (a *audit) name(o object) string {
	token := a.cfg.Token()
	switch {
	case !nameable.MatchString(o.name), leaked.MatchString(o.name), random.MatchString(o.name):
	case token != "" && o.name == token:
	case (o.kind == "key" || o.kind == "new_key") && !keyID.MatchString(o.name):
	default:
		return o.name
	}
	return hidden
}
