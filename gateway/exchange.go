package gateway

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/completions"
)

// Causes of a cancelled exchange.
var (
	errClientGone = errors.New("the client hung up")
	errDeadline   = errors.New("the request took longer than it may")
	errStalled    = errors.New("the backend's stream fell silent")
	errStopping   = errors.New("the router stopped before the answer was complete")
	errNotTaking  = errors.New("the client does not take its answer")
)

// exchange is one request from its head to its last byte, and all that must be
// given back at its end. It never holds the RequestCtx, which is recycled while
// a stream still runs.
type exchange struct {
	s       *Server
	setup   *setup // in force when it was opened
	id      string
	route   string // bounded: one of the routes' names
	style   style  // in which errors are written
	conn    net.Conn
	started time.Time

	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	client *clientConn // while it is watched

	identity *auth.Identity
	lease    auth.Lease
	bill     bill
	ongoing  atomic.Int32 // pieces of work that outlast the exchange, see letGo
	refused  bool         // by a limit
	standing auth.Standing
	held     share   // of memory.bodies
	fetched  int64   // bytes of memory for images
	buffer   *[]byte // the body, where it is to be used again
	torn     bool    // nobody knows where the body ends

	// What is known at the end, for the log line and the metrics.
	status   int
	model    string
	cache    completions.CacheState
	receipt  backends.Receipt
	upload   time.Duration // the client's time for sending its body
	away     time.Duration // the queue's and the backends' time
	first    time.Duration // until the first byte of the answer
	ending   string        // finish_reason of the answer
	quality  completions.Quality
	images   int
	streamed bool
	err      error

	once sync.Once
}

func (s *Server) open(conn net.Conn) *exchange {
	x := &exchange{s: s, setup: s.enter(), id: newID(), conn: conn, started: time.Now(), route: "unknown"}
	x.ctx, x.cancel = context.WithCancelCause(s.base)
	s.metrics.inFlight.Inc()
	return x
}

func newID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return "req_" + hex.EncodeToString(b[:])
}

// within bounds the whole exchange, counted from its beginning.
func (x *exchange) within(d time.Duration) {
	x.timer = time.AfterFunc(d-time.Since(x.started), func() { x.cancel(errDeadline) })
}

// watchClient cancels the exchange when its client hangs up.
func (x *exchange) watchClient() {
	if x.client = clientOf(x.conn); x.client != nil {
		x.client.watch(func() { x.cancel(errClientGone) })
	}
}

// mark notes what is to be said of an answer; of several, the worst.
func (x *exchange) mark(q completions.Quality) {
	if q == completions.Sound {
		return
	}
	x.quality = max(x.quality, q)
	x.s.metrics.marked.WithLabelValues(q.String()).Inc()
}

// left is how much of d, counted from the beginning, there still is.
func (x *exchange) left(d time.Duration) time.Duration {
	return max(0, d-time.Since(x.started))
}

// finish gives back what the exchange holds and writes its line in the log. It
// runs once, whoever comes first.
func (x *exchange) finish() {
	x.once.Do(func() {
		if x.client != nil {
			x.client.unwatch()
		}
		if x.timer != nil {
			x.timer.Stop()
		}
		gone := x.gone()
		x.cancel(context.Canceled)
		x.pay()
		x.s.metrics.observe(x, gone)
		x.log(gone)
		x.letGo(finished)
	})
}

// finished is what the end of the exchange adds to ongoing: from then on the
// count is no other than that of the work that goes on.
const finished = 1 << 20

// letGo is told of the exchange's end, and of the end of each piece of work that
// went on after it. At the last of them the lease ends, so that nobody has more in
// progress than they may by leaving, and what the body holds is given back.
func (x *exchange) letGo(of int32) {
	if x.ongoing.Add(of) != finished {
		return
	}
	x.lease.Release()
	x.held.keep(0)
	x.setup.images.give(x.fetched)
	x.s.buffers.put(x.buffer) // from here on the body's bytes are another's
	x.setup.leave()
}

// log writes the exchange's line. What does not apply is left out.
func (x *exchange) log(gone bool) {
	var space [20]slog.Attr
	attrs := append(space[:0],
		slog.String("id", x.id),
		slog.String("route", x.route),
		slog.Int("status", x.status),
		slog.Float64("total_ms", millis(time.Since(x.started))),
	)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	count := func(key string, n int) {
		if n > 0 {
			attrs = append(attrs, slog.Int(key, n))
		}
	}
	if x.identity != nil {
		text("tenant", x.identity.Tenant.Name)
	}
	if text("model", x.model); x.model != "" {
		text("cache", x.cache.String())
	}
	if text("backend", x.receipt.Backend); x.receipt.Attempts > 0 {
		attrs = append(attrs,
			slog.Int("attempts", x.receipt.Attempts),
			slog.Float64("queue_ms", millis(x.receipt.Queue)),
			slog.Float64("first_ms", millis(x.first)),
		)
	}
	count("images", x.images)
	count("prompt_tokens", x.receipt.Usage.PromptTokens)
	count("completion_tokens", x.receipt.Usage.CompletionTokens)
	text("finish", x.ending)
	text("quality", x.quality.String())
	if x.streamed {
		attrs = append(attrs, slog.Bool("stream", true))
	}
	level := slog.LevelInfo
	switch {
	case gone:
		text("end", errClientGone.Error())
	case x.err != nil:
		text("end", reason(x.err))
		if x.status >= 500 {
			level = slog.LevelWarn
		}
	}
	x.s.log.LogAttrs(context.Background(), level, "request", attrs...)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
