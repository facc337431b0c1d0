// Package backends sends requests to the GPU servers of one pool and brings
// their answers back.
//
// Pool.Do is the whole of it: it puts the request to the balancer, waits for a
// slot, sends it, and pumps the answer into a Sink at the backend's pace. It
// tries once more on another backend while nothing has been taken from the
// Sink, and it returns when the slot is free again: nobody else has to close or
// release anything. Beside it, every backend is probed (Pool.Run).
package backends

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/balancer"
	"ocrmux/compat"
)

// Body is what is sent: it is opened once an attempt. compat.Body is one.
type Body interface {
	Size() int64
	Open() io.ReadCloser
}

// Request is one exchange with a model, whoever asked.
type Request struct {
	Dialect  compat.Dialect
	Body     Body
	Stream   bool   // the body asks for a stream
	Model    string // the name the backend serves it under
	Tenant   string
	Class    balancer.Class
	Weight   float64
	Cost     float64
	QueueFor time.Duration // longest wait for a slot
}

// Start says where an attempt's answer comes from.
type Start struct {
	Backend  string
	Attempts int           // 1 for the first
	Queue    time.Duration // waited for a slot so far, all attempts together

	attempt *attempt
}

// Commit must be called before anybody outside sees a byte of this attempt's
// answer. True: the answer stays on its backend from now on, and what goes
// wrong is final. False: the attempt was taken off its backend and is void;
// give nothing out, Restart and another Begin follow (Take may return any error
// until then). It may be called from any goroutine, holding the sink's own
// locks, any number of times. A zero Start has nothing to commit and is true.
func (s Start) Commit() bool { panic("skeleton") }

type attempt struct{}

// Sink takes an answer as it arrives. Its methods are called from the
// goroutine that called Do, one at a time and never under a lock of the pool.
//
// A backend that falls silent has its uncommitted requests moved elsewhere at
// once, whatever they had received. A sink that lets somebody see the answer
// before its end must therefore ask Start.Commit first.
type Sink interface {
	// Begin is told that a backend has begun to answer with 200. Whatever an earlier attempt gave is void.
	Begin(Start)
	// Take gets the next event of a stream (raw, with its blank line), or the
	// whole of a JSON answer. Both arguments are valid during the call only. An error ends the
	// exchange: Do returns it, and nothing is held against the backend.
	Take(raw []byte, c *compat.Chunk) error
	// Restart asks the sink to forget what it was given, because the attempt
	// failed or was moved. It reports false where somebody has seen some of
	// it: then the failure is final.
	Restart() bool
}

// Receipt is what an exchange took, for headers, log and accounts. It is
// filled as far as the exchange came, also where Do returns an error.
type Receipt struct {
	Start
	FirstByte time.Duration // from the attempt's sending to the first event; 0: none
	Busy      time.Duration // time holding a slot, all attempts together
	Usage     compat.Usage  // the backend's own count; zero where it gave none
}

// Errors of Do, sorted by what the caller may do next. Besides these it
// returns ctx's cause and the Sink's own errors.
var (
	ErrBusy        = errors.New("no slot became free in time")    // try again later (503)
	ErrUnavailable = errors.New("no backend is usable")           // try again later (503)
	ErrLost        = errors.New("the backend was lost")           // connection failed or was cut (502)
	ErrMalformed   = errors.New("the backend's answer is broken") // not the dialect, or ended short (502)
)

// StatusError is an answer other than 200, or an error event in a stream. 4xx
// are the backend's word on the request itself; 5xx were tried twice.
type StatusError struct {
	Status int
	Err    *compat.Error // normalised
}

func (e *StatusError) Error() string { return e.Err.Message }

// Config describes one pool.
type Config struct {
	Name     string
	Backends []Backend
	Policy   string // "least_loaded" (default), "round_robin"
	MaxQueue int    // requests waiting at most, 1024
	// probe interval, timeouts, thresholds: durations with defaults, all configurable
}

// Backend is one server.
type Backend struct {
	Name        string
	URL         string // http://host:port, without a path
	APIKey      string // sent as a bearer token; "" for none
	MaxInFlight int    // 48
}

// Deps are what a pool needs from outside.
type Deps struct {
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Pool is a set of backends with one queue.
type Pool struct{}

func New(cfg Config, deps Deps) (*Pool, error)                              { panic("skeleton") }
func (p *Pool) Run(ctx context.Context) error                               { panic("skeleton") } // probes and ticks until ctx ends
func (p *Pool) Do(ctx context.Context, r *Request, s Sink) (Receipt, error) { panic("skeleton") }
func (p *Pool) Status() Status                                              { panic("skeleton") }
func (p *Pool) Usable(model string) bool                                    { panic("skeleton") } // at least one backend could take the model now
func (p *Pool) MaxModelLen(model string) int                                { panic("skeleton") } // smallest max_model_len among the pool's backends that serve it; 0: unknown yet

// Status is a picture of the pool for /admin/backends, /health and metrics.
type Status struct {
	Pool     string
	Queued   int
	Backends []BackendStatus
}

type BackendStatus struct {
	Name        string
	State       string // "up", "down", "suspect", "unknown"
	Breaker     string // "closed", "open", "trial", "probation"
	InFlight    int
	MaxInFlight int
	Models      []string
}
