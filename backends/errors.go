package backends

import (
	"errors"
	"fmt"

	"ocrmux/compat"
)

// Errors of Do, sorted by what the caller may do next. Besides these it
// returns ctx's cause and the Sink's own errors.
var (
	ErrBusy        = errors.New("no slot became free in time")    // try again later (503)
	ErrUnavailable = errors.New("no backend is usable")           // try again later (503)
	ErrLost        = errors.New("the backend was lost")           // connection failed or was cut (502)
	ErrMalformed   = errors.New("the backend's answer is broken") // not the dialect, or ended short (502)
)

// ErrUnknownBackend is returned for a name that the pool's configuration lacks.
var ErrUnknownBackend = errors.New("there is no such backend")

// StatusError is an answer other than 200, or an error event in a stream. 4xx
// are the backend's word on the request itself; 5xx were tried twice where
// that was possible.
type StatusError struct {
	Status int
	Err    *compat.Error // normalised
}

func (e *StatusError) Error() string { return e.Err.Message }

var (
	// errMoved is the cause of an attempt that the balancer took off its backend.
	errMoved = fmt.Errorf("%w: it fell silent", ErrLost)
	// errOver is the cause of an attempt that needs nothing more from its backend.
	errOver = errors.New("the attempt is over")
)
