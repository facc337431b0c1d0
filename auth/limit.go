package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/ulule/limiter/v3"
)

// Names of limits, in errors, metrics and the count of refusals.
const (
	LimitRequests   = "requests"
	LimitImages     = "images"
	LimitMegapixels = "megapixels"
	LimitTokens     = "tokens"
	LimitInProgress = "in_progress"
	LimitQuota      = "quota"
	// LimitCapacity is a ceiling of a route or of the whole: no tenant's doing.
	LimitCapacity = "capacity"
)

var limitNames = []string{LimitRequests, LimitImages, LimitMegapixels, LimitTokens, LimitInProgress, LimitQuota, LimitCapacity}

// kind is an amount that is limited per minute.
type kind uint8

const (
	requests kind = iota
	images
	pixels
	tokens
	kinds
)

var kindNames = [kinds]string{LimitRequests, LimitImages, LimitMegapixels, LimitTokens}

// per returns what the limits say of a kind, in its own unit: 0 is no limit.
func (l *Limits) per(k kind) int64 {
	switch k {
	case requests:
		return l.RequestsPerMinute
	case images:
		return l.ImagesPerMinute
	case pixels:
		return l.MegapixelsPerMinute * 1_000_000
	default:
		return l.TokensPerMinute
	}
}

// ErrNoRoute says that the tenant may not use the route that was asked for.
var ErrNoRoute = errors.New("the tenant may not use this route")

// LimitError says which limit a request hit and when to come again. Nothing was
// charged for it.
type LimitError struct {
	// Limit is one of the names of limits but LimitQuota and LimitCapacity.
	Limit string
	// Ceiling says that it is a limit of the route or of the whole, not of who asks.
	Ceiling bool
	// RetryAfter is when a caller that asked nothing else meanwhile is admitted,
	// in whole milliseconds and never 0. At LimitInProgress, where nobody can
	// know, it is one second.
	RetryAfter time.Duration
	// Never says that the request is larger than the limit itself.
	Never bool
	// Room is what would have been admitted at most. Of prompt and generated
	// tokens it is the sum, in Prompt.
	Room Work
	// Standing is where the limits stand.
	Standing Standing
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit of %s reached, retry in %s", e.Limit, e.RetryAfter)
}

// name is the limit as refusals are counted by.
func (e *LimitError) name() string {
	if e.Ceiling {
		return LimitCapacity
	}
	return e.Limit
}

// inProgressRetryAfter is the wait that is named at the limit of requests in progress.
const inProgressRetryAfter = time.Second

// Work is what the body of a request asks for, or what became of it.
type Work struct {
	Images    int64
	Pixels    int64 // of all images together
	Prompt    int64 // tokens, with those that the images become
	Generated int64 // tokens
}

// Add returns the sum of both.
func (w Work) Add(v Work) Work {
	return Work{w.Images + v.Images, w.Pixels + v.Pixels, w.Prompt + v.Prompt, w.Generated + v.Generated}
}

// Within reports whether w fits into the Room of a LimitError.
func (w Work) Within(room Work) bool {
	return w.Images <= room.Images && w.Pixels <= room.Pixels && w.tokens() <= room.Prompt
}

func (w Work) tokens() int64 { return w.Prompt + w.Generated }

func (w Work) of(k kind) int64 {
	switch k {
	case images:
		return w.Images
	case pixels:
		return w.Pixels
	default:
		return w.tokens()
	}
}

// Standing is where a caller's limits stand, for the x-ratelimit headers: of
// the tenant's and the key's the one with less room.
type Standing struct {
	Requests, Images, Pixels, Tokens Level
}

// Level is where one limit stands.
type Level struct {
	// Limit is the limit per minute; 0 means that there is none, and nothing to tell.
	Limit int64
	// Remaining is how much more would be admitted now.
	Remaining int64
	// Reset is when the whole limit is free again, at most a second late.
	Reset time.Duration
}

func (s *Standing) level(k kind) *Level {
	return [kinds]*Level{&s.Requests, &s.Images, &s.Pixels, &s.Tokens}[k]
}

// note takes a store's answer into account.
func (s *Standing) note(k kind, c limiter.Context, at time.Time) {
	level := s.level(k)
	remaining := max(0, c.Remaining)
	if level.Limit != 0 && remaining >= level.Remaining {
		return
	}
	*level = Level{Limit: c.Limit, Remaining: remaining}
	if remaining < c.Limit {
		level.Reset = max(0, time.Unix(c.Reset, 0).Sub(at))
	}
}

// minuteRate is the rate of a limit per minute.
func minuteRate(limit int64) limiter.Rate {
	return limiter.Rate{Period: time.Minute, Limit: limit}
}
