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
	beginning   = 64 << 10 // of a long body, to be seen before there is memory for the rest
	moderate    = 1 << 20  // bytes of a body that is not long
)

// bodyTime is asked by fasthttp when a head is complete: from here on the clock
// of the body counts, and later that of the answer in one piece.
func (s *Server) bodyTime(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	t := s.setup.Load().cfg.Time
	return fasthttp.RequestConfig{ReadTimeout: t.Body, WriteTimeout: t.Write}
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
		p.extend(time.Duration(p.n/bodyPerUnit) * time.Second)
		p.n %= bodyPerUnit
	}
	return n, err
}

func (p *paced) extend(d time.Duration) {
	p.until = p.until.Add(d)
	_ = p.conn.SetReadDeadline(p.until)
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
	if length == 0 || rc.RequestBodyStream() == nil {
		return nil, nil
	}
	b := &bodyReader{
		s: s, x: x, length: length, limit: limit,
		queueUntil: time.Now().Add(queue),
		paced:      paced{Reader: rc.RequestBodyStream(), conn: rc.Conn(), until: time.Now().Add(x.setup.cfg.Time.Body)},
	}
	body, err := b.read()
	if err = bodyError(err); err == nil {
		return body, nil
	}
	x.torn = errors.Is(err, errBrokenBody) || errors.Is(err, errSlowBody)
	s.buffers.put(x.buffer)
	x.buffer = nil
	x.held.keep(0)
	return nil, err // and nothing of the buffer, where another's bytes may be
}

// bodyReader reads one body into memory that it takes for its exchange.
type bodyReader struct {
	s             *Server
	x             *exchange
	length, limit int64 // length is negative where only the end will tell
	queueUntil    time.Time
	paced         paced
}

// read reads a body of moderate length at once. Of a longer one, and of one
// that may become longer, it reads the beginning before it takes the rest.
func (b *bodyReader) read() ([]byte, error) {
	switch {
	case 0 <= b.length && b.length <= beginning:
		return b.whole(&b.x.setup.memory.short)
	case 0 <= b.length && b.length <= moderate:
		return b.whole(&b.x.setup.memory.long)
	}
	if err := b.hold(&b.x.setup.memory.short, beginning); err != nil {
		return nil, err
	}
	begun, buffer := b.s.buffers.get(beginning)
	b.x.buffer = buffer
	n, err := b.fill(begun)
	if err != nil {
		return begun[:n], b.ended(err)
	}
	first := b.x.held
	defer first.keep(0)
	need := b.length
	if need < 0 {
		need = b.limit
	}
	b.x.held = share{}
	if err := b.hold(&b.x.setup.memory.long, need); err != nil {
		return nil, err
	}
	return b.rest(begun)
}

func (b *bodyReader) whole(r *room) (body []byte, err error) {
	if err := b.hold(r, b.length); err != nil {
		return nil, err
	}
	body, b.x.buffer = b.s.buffers.get(int(b.length))
	_, err = b.fill(body)
	return body, err
}

// rest reads what follows the beginning of a body.
func (b *bodyReader) rest(begun []byte) (body []byte, err error) {
	body, n := begun, len(begun)
	for {
		room := b.length
		if room < 0 {
			room = min(4*int64(len(body)), b.limit+1) // the sizes left behind are a third of it at most
		}
		larger, buffer := b.s.buffers.get(int(room))
		copy(larger, body)
		b.s.buffers.put(b.x.buffer)
		body, b.x.buffer = larger, buffer
		more, err := b.fill(body[n:])
		n += more
		switch {
		case b.length >= 0:
			return body, err
		case int64(n) > b.limit:
			return nil, errTooLarge
		case err != nil:
			b.x.held.keep(int64(len(body)))
			return body[:n], b.ended(err)
		}
	}
}

// fill reads until p is full. io.EOF is the body's proper end before that, which
// io.ReadFull would not tell from a chunk that was cut.
func (b *bodyReader) fill(p []byte) (n int, err error) {
	began := time.Now()
	for n < len(p) && err == nil {
		var more int
		more, err = b.paced.Read(p[n:])
		n += more
	}
	b.x.upload += time.Since(began)
	if n == len(p) && err == io.EOF {
		err = nil
	}
	return n, err
}

// ended is nil for the end of a body of unknown length.
func (b *bodyReader) ended(err error) error {
	if b.length < 0 && err == io.EOF {
		return nil
	}
	return err
}

// hold takes n bytes for the exchange. A client that was made to wait for them
// gets that time back.
func (b *bodyReader) hold(r *room, n int64) (err error) {
	x := b.x
	var ok bool
	if x.held, ok = r.try(n); ok {
		return nil
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(x.ctx, b.queueUntil)
	defer cancel()
	if x.held, err = r.take(ctx, n); err == nil {
		b.paced.extend(time.Since(began))
		return nil
	}
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	return errNoRoom
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
