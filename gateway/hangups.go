package gateway

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// hangups tells when the client of a request in progress goes away, which
// neither fasthttp nor a write in the middle of a silence would. Connections are
// entered once, when they are accepted; during a request they carry what is to
// be called. A half-closed connection counts as gone.
//
// How the ends of connections are noticed differs by system: see poller.
type hangups struct {
	poller poller
	mu     sync.Mutex
	next   uint64
	conns  map[uint64]*clientConn
}

// clientConn is a client's connection, as fasthttp has it.
type clientConn struct {
	*net.TCPConn
	hangups *hangups
	id      uint64
	drains  chan struct{} // as the Server's

	plain   bool      // what is read is HTTP itself, not TLS
	line    firstLine // of the request being read; its goroutine's alone
	refused atomic.Bool

	mu   sync.Mutex
	gone bool
	call func()
}

// listen enters every connection that ln accepts. plain says that they are not TLS.
func (s *Server) listen(ln net.Listener, plain bool) net.Listener {
	return clientListener{ln, s, plain}
}

type clientListener struct {
	net.Listener
	s     *Server
	plain bool
}

func (l clientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	tcp, ok := c.(*net.TCPConn)
	if err != nil || !ok {
		return c, err
	}
	client := &clientConn{
		TCPConn: tcp, hangups: l.s.hangups, drains: l.s.drains,
		plain: l.plain, line: firstLine{open: l.plain},
	}
	l.s.hangups.enter(client)
	return client, nil
}

func (h *hangups) enter(c *clientConn) {
	h.mu.Lock()
	h.next++
	c.id = h.next
	h.conns[c.id] = c
	h.mu.Unlock()
	h.poller.add(c)
}

// Close leaves the set, too. A client that was refused may still be sending.
func (c *clientConn) Close() error {
	c.hangups.mu.Lock()
	delete(c.hangups.conns, c.id)
	c.hangups.mu.Unlock()
	if c.refused.Load() {
		c.linger()
	}
	return c.TCPConn.Close()
}

// ended is called by the poller for a connection whose client has hung up. An
// id that has left the set means nothing.
func (h *hangups) ended(id uint64) {
	h.mu.Lock()
	c := h.conns[id]
	h.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	call := c.call
	c.gone, c.call = true, nil
	c.mu.Unlock()
	if call != nil {
		call()
	}
}

// watch calls gone, once and soon, when the client hangs up before unwatch, or
// has done so already.
func (c *clientConn) watch(gone func()) {
	c.mu.Lock()
	already := c.gone
	c.call = gone
	c.mu.Unlock()
	if already {
		gone()
	}
}

// unwatch ends a watch. A call of gone may still be under way.
func (c *clientConn) unwatch() {
	c.mu.Lock()
	c.call = nil
	c.mu.Unlock()
}

// clientOf finds the entered connection below c; nil where there is none.
func clientOf(c net.Conn) *clientConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	client, _ := c.(*clientConn)
	return client
}
