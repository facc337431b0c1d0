package auth

import (
	"fmt"
	"sync"
	"time"
)

// QuotaError says that a tenant has used up what it may in a month.
type QuotaError struct {
	// What is used up: "pages" or "tokens".
	What string
	// Resets is when the next month begins, UTC.
	Resets time.Time
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("the month's quota of %s is used up until %s", e.What, e.Resets.Format(time.DateOnly))
}

// month counts what a tenant uses in a calendar month, UTC: what is known to be
// used, and what is set apart for requests in progress.
type month struct {
	mu            sync.Mutex
	began         time.Time
	pages, tokens int64
}

// Used is what a tenant has used of its month's quota, requests in progress
// included.
type Used struct {
	Pages, Tokens int64
	Resets        time.Time
}

func monthOf(now time.Time) time.Time {
	y, m, _ := now.UTC().Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
}

// roll begins a new month where one has. The caller holds mu.
func (m *month) roll(now time.Time) {
	if began := monthOf(now); began.After(m.began) {
		m.began, m.pages, m.tokens = began, 0, 0
	}
}

// take sets work apart under a quota, all or nothing.
func (m *month) take(now time.Time, q Quota, w Work) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now)
	over := func(what string) error { return &QuotaError{What: what, Resets: m.began.AddDate(0, 1, 0)} }
	switch {
	case q.PagesPerMonth > 0 && m.pages+w.Images > q.PagesPerMonth:
		return over("pages")
	case q.TokensPerMonth > 0 && m.tokens+w.tokens() > q.TokensPerMonth:
		return over("tokens")
	}
	m.pages += w.Images
	m.tokens += w.tokens()
	return nil
}

// settle puts what was used in the place of what was set apart at a time. What
// was set apart in another month is gone with it.
func (m *month) settle(now, at time.Time, charged, used Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now)
	if !monthOf(at).Before(m.began) {
		m.pages -= charged.Images
		m.tokens -= charged.tokens()
	}
	m.pages += used.Images
	m.tokens += used.tokens()
}

func (m *month) used(now time.Time) Used {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now)
	return Used{Pages: m.pages, Tokens: m.tokens, Resets: m.began.AddDate(0, 1, 0)}
}
