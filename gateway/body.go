package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// What became of a body that could not be read. The client may be told all of
// these but the last, which means that it is no longer there or sends nonsense.
var (
	errTooLarge   = errors.New("the request body is too large")
	errCompressed = errors.New("compressed request bodies are not accepted")
	errNoRoom     = errors.New("no memory became free for the request body in time")
	errSlowBody   = errors.New("the request body came too slowly")
	errBrokenBody = errors.New("the request body ended early")
)

const (
	maxDrains   = 256      // clients whose refused bodies are discarded at once
	drainBytes  = 32 << 20 // of one refused body
	drainTime   = 10 * time.Second
	quietDrain  = 64 << 10 // a refused body up to here does not cost the connection
	bodyPerUnit = 64 << 10 // bytes that earn another second
	firstChunks = 64 << 10 // room for a body of unknown length, at first
)

// bodyTime is asked by fasthttp when a head is complete: from here on the clock
// of the body counts.
func (s *Server) bodyTime(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	return fasthttp.RequestConfig{ReadTimeout: s.cfg.Time.Body}
}

// paced reads a body and grants its client a second more for every 64 KiB that
// have come. What was only announced earns nothing: else a client could hold the
// memory of a large body, with a few bytes, for as long as that body may take.
type paced struct {
	io.Reader
	conn  net.Conn
	until time.Time // when the client's time is over, as it stands
	n     int       // bytes since until was moved
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.n += n; p.n >= bodyPerUnit && err == nil {
		p.until = p.until.Add(time.Duration(p.n/bodyPerUnit) * time.Second)
		p.n %= bodyPerUnit
		_ = p.conn.SetReadDeadline(p.until)
	}
	return n, err
}

// readBody reads the whole body once there is memory for it, waiting at most
// until queue has passed. The memory is the exchange's until its end.
func (s *Server) readBody(rc *fasthttp.RequestCtx, x *exchange, limit int64, queue time.Duration) ([]byte, error) {
	if len(rc.Request.Header.ContentEncoding()) > 0 {
		return nil, errCompressed
	}
	length := int64(rc.Request.Header.ContentLength())
	if length > limit {
		return nil, errTooLarge
	}
	need := length
	if length < 0 { // chunked: it may become all that it may be
		need = limit
	}
	if need <= 0 || rc.RequestBodyStream() == nil {
		return nil, nil
	}
	waited, err := s.holdMemory(x, need, queue)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	r := &paced{Reader: rc.RequestBodyStream(), conn: rc.Conn(), until: began.Add(s.cfg.Time.Body)}
	if waited { // the client's time begins now
		_ = r.conn.SetReadDeadline(r.until)
	}
	body, err := s.readAll(r, x, length, limit)
	x.upload = time.Since(began)
	if length < 0 { // give back what it did not become
		s.memory.give(x.held - min(x.held, int64(cap(body))))
		x.held = min(x.held, int64(cap(body)))
	}
	err = bodyError(err)
	x.torn = errors.Is(err, errBrokenBody) || errors.Is(err, errSlowBody)
	return body, err
}

// holdMemory takes n bytes for the exchange, waiting for them at most queue.
func (s *Server) holdMemory(x *exchange, n int64, queue time.Duration) (waited bool, err error) {
	var ok bool
	if x.held, ok = s.memory.try(n); ok {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(x.ctx, queue)
	defer cancel()
	if x.held, err = s.memory.take(ctx, n); err == nil {
		return true, nil
	}
	if x.ctx.Err() != nil {
		return true, context.Cause(x.ctx)
	}
	return true, errNoRoom
}

// readAll reads length bytes, or to the end where length is negative.
func (s *Server) readAll(r io.Reader, x *exchange, length, limit int64) (body []byte, err error) {
	if length >= 0 {
		body, x.buffer = s.buffers.get(int(length))
		_, err = io.ReadFull(r, body)
		return body, err
	}
	room, n := int64(firstChunks), 0
	for body, x.buffer = s.buffers.get(int(room)); ; {
		if n == len(body) {
			room = min(4*room, limit+1) // the sizes left behind are a third of it at most
			larger, buffer := s.buffers.get(int(room))
			copy(larger, body)
			s.buffers.put(x.buffer)
			body, x.buffer = larger, buffer
		}
		more, err := r.Read(body[n:])
		n += more
		switch {
		case int64(n) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return body[:n], nil
		case err != nil:
			return nil, err
		}
	}
}

func bodyError(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, errTooLarge):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return errSlowBody
	default:
		return errBrokenBody
	}
}

// settle readies a connection for the answer to a request that is refused.
func (s *Server) settle(rc *fasthttp.RequestCtx, x *exchange) {
	if x.torn {
		rc.SetConnectionClose()
	} else {
		s.drain(rc)
	}
	if rc.Response.ConnectionClose() {
		refuse(rc)
	}
}

// refuse says that the client may still be sending when its connection is closed.
func refuse(rc *fasthttp.RequestCtx) {
	if c := clientOf(rc.Conn()); c != nil {
		c.refused.Store(true)
	}
}

// drain discards what is left of a refused request's body, so that the client,
// which may still be sending, reads the answer instead of a reset connection.
// Where that would cost too much the connection is closed after the answer.
func (s *Server) drain(rc *fasthttp.RequestCtx) {
	body := rc.RequestBodyStream()
	if body == nil {
		return
	}
	select {
	case s.drains <- struct{}{}:
		defer func() { <-s.drains }()
	default:
		rc.SetConnectionClose()
		return
	}
	_ = rc.Conn().SetReadDeadline(time.Now().Add(drainTime))
	if n, err := io.CopyN(io.Discard, body, drainBytes); err != io.EOF || n > quietDrain {
		rc.SetConnectionClose()
	}
}
