package gateway

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// lingerTime is how long a refused client that still sends is listened to after
// its answer.
const lingerTime = 2 * time.Second

// listener makes a connection of every client's socket.
type listener struct {
	net.Listener
	s     *Server
	plain bool // what is read of the socket is HTTP itself, not TLS
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &connection{TCPConn: tcp, s: l.s, line: firstLine{open: l.plain}, plain: l.plain}, err
	}
	return c, err
}

// connection is a client's socket with two abilities more. It knows how the
// first line of a request ended, which fasthttp does not tell. And a client that
// was refused before it had sent everything gets to read why: closing a socket
// with unread bytes resets the connection, and the reset may overtake the answer.
type connection struct {
	*net.TCPConn
	s       *Server
	plain   bool
	line    firstLine // touched by the goroutine that serves the connection alone
	refused atomic.Bool
}

// connectionOf returns the connection under a request, nil where it is another's.
func connectionOf(c net.Conn) *connection {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	own, _ := c.(*connection)
	return own
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if c.line.open {
		c.line.see(p[:n])
	}
	return n, err
}

// Close lets the client of a refused request finish sending, within limits, and
// then closes the socket.
func (c *connection) Close() error {
	if c.refused.Load() && c.CloseWrite() == nil {
		select {
		case c.s.drains <- struct{}{}:
			_ = c.SetReadDeadline(time.Now().Add(lingerTime))
			_, _ = io.CopyN(io.Discard, c.TCPConn, drainBytes)
			<-c.s.drains
		default: // too many do so already
		}
	}
	return c.TCPConn.Close()
}

// turn is told of every change of a connection's state.
func (s *Server) turn(c net.Conn, state fasthttp.ConnState) {
	if own, ok := c.(*connection); ok && state == fasthttp.StateIdle {
		own.line = firstLine{open: own.plain}
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
// was sent before the answer to the one before it, nothing may be known; the
// length tells whether a line is the one that was seen.
func (c *connection) bareLF(h *fasthttp.RequestHeader) bool {
	return c != nil && c.line.bare && c.line.length == len(h.Method())+len(h.RequestURI())+len(h.Protocol())+2
}
