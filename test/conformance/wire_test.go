package conformance_test

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"ocrmux/backends/sim"
)

// wire is a backend whose answers come in pieces that end inside characters.
type wire struct {
	url    string
	splits atomic.Int64
}

func newWire(t *testing.T) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "http://" + listener.Addr().String()}
	server := sim.New(sim.Config{Engine: sim.Synthetic{Tokens: sim.Range{Min: 40, Max: 80}}, Timing: new(sim.Timing)})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(splittingListener{listener, w}) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

type splittingListener struct {
	net.Listener
	wire *wire
}

func (l splittingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return splittingConn{conn, l.wire}, nil
}

type splittingConn struct {
	net.Conn
	wire *wire
}

// Write sends what stands before the second byte of the first character that has
// one, and the rest a moment later, when the reader has had the first piece.
func (c splittingConn) Write(p []byte) (int, error) {
	at := slices.IndexFunc(p, func(b byte) bool { return b&0xC0 == 0x80 })
	if at < 0 {
		return c.Conn.Write(p)
	}
	c.wire.splits.Add(1)
	n, err := c.Conn.Write(p[:at])
	if err != nil {
		return n, err
	}
	<-time.After(2 * time.Millisecond)
	m, err := c.Conn.Write(p[at:])
	return n + m, err
}
