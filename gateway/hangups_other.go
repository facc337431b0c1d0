//go:build !linux

package gateway

import (
	"syscall"
	"time"
)

// poller looks every 100 ms at all connections that are being worked for.
type poller struct {
	stop chan struct{}
	done chan struct{}
}

func newHangups() (*hangups, error) {
	h := &hangups{
		poller: poller{stop: make(chan struct{}), done: make(chan struct{})},
		conns:  make(map[uint64]*clientConn),
	}
	go h.run()
	return h, nil
}

func (p *poller) add(*clientConn) {}

func (h *hangups) run() {
	defer close(h.poller.done)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-h.poller.stop:
			return
		case <-t.C:
		}
		for _, id := range h.hungUp() {
			h.ended(id)
		}
	}
}

func (h *hangups) hungUp() (ids []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, c := range h.conns {
		c.mu.Lock()
		watched := c.call != nil
		c.mu.Unlock()
		if watched && closed(c) {
			ids = append(ids, id)
		}
	}
	return ids
}

// closed looks at the socket without taking anything from it. It sees an end
// only behind what the client had already sent.
func closed(c *clientConn) (gone bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	var b [1]byte
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		gone = (n == 0 && err == nil) || err == syscall.ECONNRESET
	})
	return gone || err != nil
}

func (h *hangups) close() error {
	close(h.poller.stop)
	<-h.poller.done
	return nil
}
