package auth

import (
	"errors"
	"math"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// account is what a tenant's name keeps across reloads of the key file: the
// slots that its requests hold, what it has used of its month, what its answers
// are usually like, and its counts.
type account struct {
	slots      slots // of all its keys; an anonymous address has its own
	month      month
	answers    history
	inProgress atomic.Int64
	waiting    atomic.Int64

	admitted prometheus.Counter
	refused  map[string]prometheus.Counter // by the names of limits
}

// countRefusal counts a refusal by its limit; another error is none.
func (a *account) countRefusal(err error) {
	var limit *LimitError
	var quota *QuotaError
	switch {
	case errors.As(err, &limit):
		a.refused[limit.name()].Inc()
	case errors.As(err, &quota):
		a.refused[LimitQuota].Inc()
	}
}

// history is how long a tenant's answers usually are, in tokens: a mean in which
// older answers count less and less.
type history struct{ mean atomic.Uint64 } // bits of a float64

const (
	firstGuess = 900 // the mean of DeepSeek-OCR's pages
	weightOf   = 1. / 16
)

func (h *history) expects() float64 {
	if bits := h.mean.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return firstGuess
}

// learn takes in one more answer. Of two at the same time one may be lost.
func (h *history) learn(tokens int64) {
	before := h.expects()
	h.mean.Store(math.Float64bits(before + weightOf*(float64(tokens)-before)))
}
