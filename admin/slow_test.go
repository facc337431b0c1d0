package admin_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// once is a listener with one connection.
type once struct {
	conn   chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func (l *once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *once) Close() error   { l.close.Do(func() { close(l.closed) }); return nil }
func (l *once) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5001} }

// overPipe serves a world to one connection in memory, whose other end talks.
func overPipe(w *world, talk func(net.Conn)) {
	ours, theirs := net.Pipe()
	listener := &once{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conn <- theirs
	server := &http.Server{Handler: w.handler}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(listener) }()
	talk(ours)
	_ = server.Close()
	<-ended
}

func TestABodyThatNeverComesHoldsNoConnection(t *testing.T) {
	for given, want := range map[string]int{token: 400, "guess": 401} {
		w := newWorld(t, withToken) // outside the bubble: key files are real
		synctest.Test(t, func(t *testing.T) {
			overPipe(w, func(conn net.Conn) {
				begun := time.Now()
				go func() {
					_, _ = io.WriteString(conn, "POST /admin/reload HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+given+"\r\nContent-Length: 10\r\n\r\n{")
				}()
				reader := bufio.NewReader(conn)
				answer, err := http.ReadResponse(reader, nil)
				if err != nil || answer.StatusCode != want {
					t.Fatalf("%v %v, want %d", answer, err, want)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_, _ = io.Copy(io.Discard, reader) // until the server hangs up
				if took := time.Since(begun); took > 11*time.Second {
					t.Errorf("the connection was held for %s", took)
				}
			})
			if w.reloads > 0 {
				t.Error("half a request was obeyed")
			}
		})
	}
}

func TestARequestMayTakeLongerThanItsBody(t *testing.T) {
	for _, rest := range []string{"\r\n", "Content-Length: 2\r\n\r\n{}"} {
		w := newWorld(t)
		synctest.Test(t, func(t *testing.T) {
			w.reload = func(ctx context.Context) (any, error) {
				select {
				case <-time.After(time.Hour):
				case <-ctx.Done():
				}
				return nil, ctx.Err()
			}
			overPipe(w, func(conn net.Conn) {
				go func() {
					_, _ = io.WriteString(conn, "POST /admin/reload HTTP/1.1\r\nHost: localhost\r\n"+rest)
				}()
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || answer.StatusCode != 200 {
					t.Errorf("%q: %v %v", rest, answer, err)
				}
				_ = conn.Close()
			})
		})
	}
}
