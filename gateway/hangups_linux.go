package gateway

import (
	"os"

	"golang.org/x/sys/unix"
)

// poller is one epoll set of all connections. Its own descriptor waits in the
// runtime's poller, so that no thread is spent on it. What is closed leaves the
// set by itself.
type poller struct {
	fd   int
	file *os.File // the same descriptor, as the runtime knows it
	done chan struct{}
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
		poller: poller{fd: fd, file: os.NewFile(uintptr(fd), "hangups"), done: make(chan struct{})},
		conns:  make(map[uint64]*clientConn),
	}
	go h.run()
	return h, nil
}

// add enters a connection. One that is closed already cannot hang up any more.
func (p *poller) add(c *clientConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	ev := unix.EpollEvent{
		Events: unix.EPOLLRDHUP | unix.EPOLLET,                      // errors and resets are reported in any case
		Fd:     int32(uint32(c.id)), Pad: int32(uint32(c.id >> 32)), // together the 64 bits of user data
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(fd), &ev)
	})
}

func (h *hangups) run() {
	defer close(h.poller.done)
	raw, err := h.poller.file.SyscallConn()
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
			h.ended(uint64(uint32(ev.Fd)) | uint64(uint32(ev.Pad))<<32)
		}
	}
}

func (h *hangups) close() error {
	err := h.poller.file.Close()
	<-h.poller.done
	return err
}
