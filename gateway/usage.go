package gateway

import (
	"encoding/json"
	"time"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/usage"
)

// handleUsage is GET /v1/usage: what the key's holder has used, and what is left.
func (s *Server) handleUsage(rc *fasthttp.RequestCtx, x *exchange) error {
	if err := s.admitToLook(rc, x); err != nil {
		return err
	}
	t := x.identity.Tenant
	body, err := json.Marshal(struct {
		Object string            `json:"object"`
		Tenant string            `json:"tenant"`
		Key    string            `json:"key"`
		Limits map[string]limit  `json:"limits"`
		Quota  map[string]budget `json:"quota"`
		usage.Report
	}{"usage", t.Name, x.identity.KeyID, limits(x.standing, s.gate.Busy(x.identity)), quota(t.Quota, s.gate.Used(x.identity)), s.ledger.Report(usage.Filter{Tenant: t.Name})})
	if err != nil {
		return err
	}
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(body)
	return nil
}

// limit is where one limit stands.
type limit struct {
	Limit     int64   `json:"limit"`
	Remaining int64   `json:"remaining"`
	Reset     float64 `json:"reset_seconds"` // until all of it is free again
}

// limits shows those that there are: the tighter ones of tenant and key.
func limits(st auth.Standing, busy auth.Level) map[string]limit {
	shown := make(map[string]limit)
	add := func(name string, l auth.Level, unit int64) {
		if l.Limit > 0 {
			shown[name] = limit{l.Limit / unit, l.Remaining / unit, l.Reset.Seconds()}
		}
	}
	add("requests_per_minute", st.Requests, 1)
	add("images_per_minute", st.Images, 1)
	add("megapixels_per_minute", st.Pixels, 1_000_000)
	add("tokens_per_minute", st.Tokens, 1)
	add("in_progress", busy, 1)
	return shown
}

// budget is where one quota of the month stands.
type budget struct {
	Limit     int64     `json:"limit"`
	Used      int64     `json:"used"` // with what is set apart for requests in progress
	Remaining int64     `json:"remaining"`
	Resets    time.Time `json:"resets"`
}

func quota(q auth.Quota, used auth.Used) map[string]budget {
	shown := make(map[string]budget)
	add := func(name string, limit, used int64, resets time.Time) {
		if limit > 0 {
			shown[name] = budget{limit, used, max(0, limit-used), resets}
		}
	}
	add("pages_per_month", q.PagesPerMonth, used.Pages, used.Resets)
	add("tokens_per_month", q.TokensPerMonth, used.Tokens, used.Resets)
	return shown
}
