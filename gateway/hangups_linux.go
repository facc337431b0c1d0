package gateway

import (
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// hangups tells when the client of a request in progress goes away, which
// neither fasthttp nor a write in the middle of a silence would. All sockets
// that are being worked for stand in one epoll set; its own descriptor waits in
// the runtime's poller, so that no thread is spent on it. A half-closed
// connection counts as gone.
type hangups struct {
	fd   int      // the epoll set
	file *os.File // the same, for the runtime's poller
	done chan struct{}

	mu    sync.Mutex
	next  uint64
	calls map[uint64]func()
}

func newHangups() (*hangups, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	h := &hangups{
		fd:    fd,
		file:  os.NewFile(uintptr(fd), "hangups"),
		done:  make(chan struct{}),
		calls: make(map[uint64]func()),
	}
	go h.run()
	return h, nil
}

// watched is a connection in the set; the zero value is none.
type watched struct {
	raw syscall.RawConn
	id  uint64
}

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
	h.next++
	w := watched{raw: raw, id: h.next}
	h.calls[w.id] = gone
	h.mu.Unlock()
	ev := unix.EpollEvent{
		Events: unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR | unix.EPOLLONESHOT,
		Fd:     int32(uint32(w.id)), Pad: int32(uint32(w.id >> 32)), // together the 64 bits of user data
	}
	err = raw.Control(func(fd uintptr) {
		_ = unix.EpollCtl(h.fd, unix.EPOLL_CTL_ADD, int(fd), &ev)
	})
	if err != nil { // the connection is closed already
		gone()
	}
	return w
}

// remove takes the connection out of the set. A call to gone may still be under way.
func (h *hangups) remove(w watched) {
	if w.raw == nil {
		return
	}
	_ = w.raw.Control(func(fd uintptr) { // a closed descriptor has left the set by itself
		_ = unix.EpollCtl(h.fd, unix.EPOLL_CTL_DEL, int(fd), nil)
	})
	h.mu.Lock()
	delete(h.calls, w.id)
	h.mu.Unlock()
}

func (h *hangups) run() {
	defer close(h.done)
	raw, err := h.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), events, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
		if err != nil { // closed
			return
		}
		for _, ev := range events[:max(n, 0)] {
			id := uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32
			h.mu.Lock()
			gone := h.calls[id]
			delete(h.calls, id)
			h.mu.Unlock()
			if gone != nil {
				gone()
			}
		}
	}
}

func (h *hangups) close() error {
	err := h.file.Close()
	<-h.done
	return err
}
