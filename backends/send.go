package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"ocrmux/balancer"
)

// wire is what an attempt knows of its connection.
type wire struct {
	trace    httptrace.ClientTrace
	reused   atomic.Bool    // the connection had been used before
	answered atomic.Bool    // a byte of an answer came
	drained  sync.WaitGroup // nobody reads the request's body any more
}

// send returns the head of the backend's answer.
//
// A backend closes idle connections when it likes. A request that is on its
// way just then meets a closed connection, which says nothing about the
// backend: it is sent once more, at once, on a connection that was never used.
// net/http's own replay is not enough: it may take another idle connection, and
// it gives up where part of a large body was already written.
func (a *attempt) send() (*http.Response, error) {
	a.wire.trace = httptrace.ClientTrace{
		GotConn:              func(i httptrace.GotConnInfo) { a.wire.reused.Store(i.Reused) },
		GotFirstResponseByte: func() { a.wire.answered.Store(true) },
	}
	ctx := httptrace.WithClientTrace(a.ctx, &a.wire.trace)
	resp, err := a.roundTrip(ctx, a.pool.work)
	if err != nil && a.wire.reused.Load() && !a.wire.answered.Load() && a.ctx.Err() == nil {
		a.pool.metrics.replays.Inc()
		resp, err = a.roundTrip(ctx, a.pool.fresh)
	}
	return resp, err
}

func (a *attempt) roundTrip(ctx context.Context, t *http.Transport) (*http.Response, error) {
	b := a.backend
	req := b.routes[a.request.Dialect].WithContext(ctx)
	// Built anew, never copied from a client. The keys are in canonical form,
	// the shared values are never written to.
	req.Header = http.Header{
		"Content-Type": jsonType,
		"Accept":       jsonType,
		"User-Agent":   userAgent,
		// vLLM makes it part of the answer's id and refused duplicates in old
		// versions: fresh for every sending.
		"X-Request-Id": {strconv.FormatUint(rand.Uint64(), 16)},
	}
	if a.request.Stream {
		req.Header["Accept"] = streamType
	}
	if b.authorization != nil {
		req.Header["Authorization"] = b.authorization
	}
	req.ContentLength = a.request.Body.Size()
	var err error
	if req.Body, err = a.openBody(); err != nil {
		return nil, err
	}
	return t.RoundTrip(req)
}

// openBody returns what is sent. A small body is copied into one of the types
// that net/http knows to be memory: it writes others after the head instead of
// with it, which doubles the system calls and packets of a small request.
func (a *attempt) openBody() (io.ReadCloser, error) {
	body := a.request.Body.Open()
	if size := a.request.Body.Size(); size <= smallBody {
		defer body.Close()
		p := make([]byte, size)
		_, err := io.ReadFull(body, p)
		return io.NopCloser(bytes.NewReader(p)), err
	}
	a.wire.drained.Add(1)
	return &outgoing{ReadCloser: body, drained: &a.wire.drained}, nil
}

var (
	jsonType   = []string{"application/json"}
	streamType = []string{"text/event-stream"}
	userAgent  = []string{"ocrmux"}
)

// outgoing is a request's body while net/http has it, which may be longer than
// RoundTrip takes.
type outgoing struct {
	io.ReadCloser
	drained *sync.WaitGroup
	closed  atomic.Bool
}

func (o *outgoing) Close() error {
	err := o.ReadCloser.Close()
	if o.closed.CompareAndSwap(false, true) {
		o.drained.Done()
	}
	return err
}

// broken sorts an error of the connection, while sending or reading.
func (a *attempt) broken(err error) (balancer.Outcome, error) {
	if a.ctx.Err() != nil {
		return balancer.Aborted, context.Cause(a.ctx)
	}
	if a.wire.answered.Load() && !cut(err) {
		// net/http quotes what it could not read: that stays out of our errors.
		return balancer.Failed, fmt.Errorf("%w: not HTTP", ErrMalformed)
	}
	return balancer.Lost, fmt.Errorf("%w: %s: %w", ErrLost, a.backend.Name, err)
}

// cut reports whether err is the connection's end rather than nonsense on it.
func cut(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.As(err, &op)
}
