package gateway

import (
	"bytes"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// A client's connection has two abilities that fasthttp lacks. It knows how the
// first line of a request ended. And a client that was refused before it had
// sent everything gets to read why: closing a socket with unread bytes in it
// resets the connection, and the reset may overtake the answer.

// lingerTime is how long a refused client that still sends is listened to after
// its answer.
const lingerTime = 2 * time.Second

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.line.open {
		c.line.see(p[:n])
	}
	return n, err
}

// linger lets the client of a refused request finish sending, within limits.
func (c *clientConn) linger() {
	if c.CloseWrite() != nil {
		return
	}
	select {
	case c.drains <- struct{}{}:
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.TCPConn, drainBytes)
		<-c.drains
	default: // too many do so already
	}
}

// turn is told of every change of a connection's state.
func (s *Server) turn(c net.Conn, state fasthttp.ConnState) {
	if client, ok := c.(*clientConn); ok && state == fasthttp.StateIdle {
		client.line = firstLine{open: client.plain}
	}
}

// firstLine is how a request began on the wire.
type firstLine struct {
	open   bool // it has not ended yet
	bare   bool // a LF without CR ended it, or an empty line before it
	last   byte
	length int // bytes, without its end
}

// see goes through the bytes of a connection until the first line has ended.
func (l *firstLine) see(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.length, l.last = l.length+len(p), p[len(p)-1]
			return
		}
		if i > 0 {
			l.last = p[i-1]
		}
		l.length += i
		if l.last == '\r' {
			l.length--
		} else {
			l.bare = true
		}
		if l.length > 0 {
			l.open = false
			return
		}
		p, l.last = p[i+1:], 0 // an empty line before the request
	}
}

// bareLF reports whether the request line ended with a bare LF. Of a request that
// came before its predecessor was answered another line may have been seen; the
// length tells.
func (c *clientConn) bareLF(h *fasthttp.RequestHeader) bool {
	return c != nil && c.line.bare && c.line.length == len(h.Method())+len(h.RequestURI())+len(h.Protocol())+2
}
