//go:build !linux

package gateway

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// hangups tells when the client of a request in progress goes away. Without
// epoll, all connections that are being worked for are looked at every 100 ms.
type hangups struct {
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	next  uint64
	conns map[uint64]sweep
}

type sweep struct {
	raw  syscall.RawConn
	gone func()
}

func newHangups() (*hangups, error) {
	h := &hangups{stop: make(chan struct{}), done: make(chan struct{}), conns: make(map[uint64]sweep)}
	go h.run()
	return h, nil
}

// watched is a connection in the set; the zero value is none.
type watched struct{ id uint64 }

// add calls gone, once and soon, when the client of c has hung up. What add
// returns must be given to remove before c is used for anything else.
func (h *hangups) add(c net.Conn, gone func()) watched {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return watched{}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return watched{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.conns[h.next] = sweep{raw, gone}
	return watched{h.next}
}

func (h *hangups) remove(w watched) {
	h.mu.Lock()
	delete(h.conns, w.id)
	h.mu.Unlock()
}

func (h *hangups) run() {
	defer close(h.done)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-t.C:
		}
		h.mu.Lock()
		var left []func()
		for id, c := range h.conns {
			if closed(c.raw) {
				left = append(left, c.gone)
				delete(h.conns, id)
			}
		}
		h.mu.Unlock()
		for _, gone := range left {
			gone()
		}
	}
}

// closed looks at the socket without taking anything from it. It sees an end
// only behind what the client had already sent.
func closed(raw syscall.RawConn) (gone bool) {
	var b [1]byte
	err := raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		gone = (n == 0 && err == nil) || err == syscall.ECONNRESET
	})
	return gone || err != nil
}

func (h *hangups) close() error {
	close(h.stop)
	<-h.done
	return nil
}
