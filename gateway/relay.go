package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"ocrmux/compat"
	"ocrmux/completions"
)

// relay copies the events of a stream to its client. fasthttp runs WriteTo in
// the connection's own goroutine after the handler has returned, each write
// becoming a chunk that is flushed at once; whatever WriteTo returns but nil cuts
// the connection, which is how a client learns that an answer is not whole.
type relay struct {
	x       *exchange
	stream  *completions.Stream
	dialect compat.Dialect
	model   string
	quiet   *time.Timer // runs out after the last event, give or take a keep-alive's time

	last     time.Time // of the last event
	relayed  int       // events written, one for a token and a few more
	deadline time.Time // for writes, as the connection has it
	ended    bool
}

// SupportsBodyWriteTo tells fasthttp to call WriteTo instead of Read.
func (r *relay) SupportsBodyWriteTo() bool { return true }

// Read is never called; fasthttp wants a reader.
func (r *relay) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// WriteTo relays until the answer ends. It returns nil only for a whole answer
// or one whose error the client was told.
func (r *relay) WriteTo(w io.Writer) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			completions.LogPanic(r.x.s.log.With("id", r.x.id), "panic in a stream", p)
			err = errPanic
		}
		r.end(err)
	}()
	r.last = time.Now()
	for {
		p, err := r.stream.Next(r.quiet.C)
		switch {
		case err == nil:
			r.last = time.Now()
			if r.x.first == 0 {
				r.x.first = time.Since(r.x.started)
			}
		case errors.Is(err, completions.ErrQuiet):
			if p, err = r.fill(); err != nil {
				return n, r.fail(w, err)
			}
		case err == io.EOF:
			return n, nil
		default:
			return n, r.fail(w, err)
		}
		if len(p) == 0 {
			continue
		}
		m, err := r.write(w, p)
		n += int64(m)
		r.relayed += bytes.Count(p[:m], endOfEvent)
		if err != nil {
			return n, err
		}
	}
}

// fill is what a silence gets: nothing yet, a keep-alive, or its end. The timer
// is not set anew with every event but looked at when it runs out.
func (r *relay) fill() ([]byte, error) {
	every, silent := r.x.setup.cfg.Time.KeepAlive, time.Since(r.last)
	if silent < every {
		r.quiet.Reset(every - silent)
		return nil, nil
	}
	if silent >= r.x.setup.cfg.OpenAI.Silence && r.stream.Start().Backend != "" {
		return nil, errStalled
	}
	r.quiet.Reset(every)
	return compat.KeepAlive(r.dialect, r.x.id, r.model, r.x.started.Unix()), nil
}

// fail tells the client what went wrong inside the stream.
func (r *relay) fail(w io.Writer, err error) error {
	r.x.err = err
	if r.x.gone() {
		return errClientGone
	}
	e := r.x.s.shown(r.x, err)
	r.x.status = e.Status // 200 stands in the head, but that is not how it ended
	_, err = r.write(w, e.Event(r.dialect, r.stream.Number()))
	return err
}

// write bounds how long a client may take nothing: at least the limit, and half
// of it more, so that the connection's deadline need not be moved for every event.
func (r *relay) write(w io.Writer, p []byte) (int, error) {
	limit := r.x.setup.cfg.Time.Write
	if now := time.Now(); r.deadline.Sub(now) < limit {
		r.deadline = now.Add(limit + limit/2)
		_ = r.x.conn.SetWriteDeadline(r.deadline)
	}
	n, err := w.Write(p)
	var timeout net.Error
	switch {
	case err == nil:
	case errors.As(err, &timeout) && timeout.Timeout():
		r.x.err = errNotTaking
		r.x.cancel(errNotTaking)
	default: // it hung up, and the watch has not said so yet
		r.x.cancel(errClientGone)
	}
	return n, err
}

var endOfEvent = []byte("\n\n")

// end closes the stream, which frees its slot where the answer is cut short.
// Only the first call counts.
func (r *relay) end(err error) {
	r.quiet.Stop()
	if r.ended {
		return
	}
	r.ended = true
	r.x.receipt, r.x.ending = r.stream.Close(context.Cause(r.x.ctx))
	if err != nil && r.x.err == nil {
		r.x.err = err
	}
	r.x.account(outcome{
		asked: r.x.bill.asked, receipt: r.x.receipt, cache: r.x.cache, usage: r.stream.Usage(),
		err: r.x.err, ongoing: r.stream.Ongoing(), relayed: r.relayed,
	})
	r.x.mark(r.stream.Quality())
	if r.x.gone() || r.x.err == errNotTaking {
		r.x.status = statusClientGone
	}
	r.x.finish()
}

// Close is called by fasthttp where the head could not even be written, too.
func (r *relay) Close() error {
	r.end(nil)
	return nil
}
