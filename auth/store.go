package auth

import (
	"context"
	"time"

	"github.com/ulule/limiter/v3"
)

// Store counts charges against limits: the counter of github.com/ulule/limiter,
// in its vocabulary, and what a request under several limits needs beyond it.
//
// Every rate has a period of one minute. In no 60 seconds, wherever they begin,
// does a Take let more pass than the limit. A charge that does not fit charges
// nothing; Get and Increment then return Reached. Keys that are idle for longer
// than that are forgotten, so memory follows the keys in use.
type Store interface {
	limiter.Store

	// Take charges every claim or none, in one step. No key may occur twice.
	// standings has the length of claims and receives where each limit stands
	// afterwards. The error is the store's own, never a refusal.
	Take(ctx context.Context, claims []Claim, standings []limiter.Context) (Verdict, error)

	// Settle corrects what a Take at the given time (Verdict.At) charged, where
	// it turns out to have been more or less. A negative Count is given back, as
	// if it had not been charged; a positive one is charged now, also beyond the
	// limit. Each Take may be settled once. ctx does not end with the request: a
	// store that may have to wait bounds that itself.
	Settle(ctx context.Context, claims []Claim, at time.Time) error
}

// Claim is a charge that a request wants to make.
type Claim struct {
	Key   string
	Rate  limiter.Rate
	Count int64
}

// Verdict is the answer to a Take.
type Verdict struct {
	// At is when the claims were judged.
	At time.Time
	// Refused is the index of the claim that did not fit, of several the one
	// with the longest wait, and -1 where all fitted and were charged.
	Refused int
	// RetryAfter is, after a refusal, how long to wait until all would fit if
	// nothing else were charged, in whole milliseconds and at least one. A claim
	// above its limit fits never: then it is a minute.
	RetryAfter time.Duration
}
