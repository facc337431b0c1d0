package backends

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// inlineBody is the largest request body that is written before the answer is
// read. A larger one could fill both directions' buffers while the backend
// answers early and reads no more; it is written beside the reading.
const inlineBody = 32 << 10

// conns are the connections to one backend: HTTP/1.1 to exactly the address
// that was configured.
//
// A request is written and its answer read by the goroutine that wants it, on
// a connection of its own. net/http.Transport spends two goroutines on every
// connection and wakes them for every request, which is what most of a small
// request's cost was; what an answer is and where it ends is still net/http's
// word (ReadResponse).
type conns struct {
	address string
	dialer  net.Dialer
	tls     *tls.Config // nil: plain

	mu     sync.Mutex
	idle   []*conn // the longest idle first
	closed bool
}

func newConns(base *url.URL) *conns {
	c := &conns{address: base.Host, dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}}
	port := "80"
	if base.Scheme == "https" {
		port = "443"
		c.tls = &tls.Config{ServerName: base.Hostname(), MinVersion: tls.VersionTLS12}
	}
	if base.Port() == "" {
		c.address = net.JoinHostPort(base.Hostname(), port)
	}
	return c
}

// conn is one connection. Between get and put it belongs to one attempt.
type conn struct {
	net.Conn
	br    *bufio.Reader
	bw    *bufio.Writer
	limit int64 // bytes that may still be read
	used  bool  // it has carried an exchange
	since time.Time
}

// Read keeps a head from growing without end; bodies are bounded by their readers.
func (c *conn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		return 0, errLongHead
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.limit)])
	c.limit -= int64(n)
	return n, err
}

var errLongHead = errors.New("the head of the answer is too long")

// dial makes a new connection.
func (c *conns) dial(ctx context.Context) (*conn, error) {
	raw, err := c.dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	if c.tls != nil {
		secure := tls.Client(raw, c.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		raw = secure
	}
	k := &conn{Conn: raw}
	k.br = bufio.NewReaderSize(k, readBuffer)
	k.bw = bufio.NewWriterSize(raw, writeBuffer)
	return k, nil
}

// take returns the connection that was used last; nil where none is idle.
func (c *conns) take() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 || time.Since(c.idle[last].since) > idleTimeout {
		return nil // what is older is the reaper's
	}
	k := c.idle[last]
	c.idle[last] = nil
	c.idle = c.idle[:last]
	return k
}

// put keeps a connection for the next request.
func (c *conns) put(k *conn) {
	k.used, k.since = true, time.Now()
	c.mu.Lock()
	keep := !c.closed && len(c.idle) < maxIdle
	if keep {
		c.idle = append(c.idle, k)
	}
	c.mu.Unlock()
	if !keep {
		k.Close()
	}
}

// reap closes what has been idle for too long; all of it at the end.
func (c *conns) reap(now time.Time, all bool) {
	c.mu.Lock()
	n := 0
	for n < len(c.idle) && (all || now.Sub(c.idle[n].since) > idleTimeout) {
		n++
	}
	old := append([]*conn(nil), c.idle[:n]...)
	c.idle = append(c.idle[:0], c.idle[n:]...)
	c.closed = c.closed || all
	c.mu.Unlock()
	for _, k := range old {
		k.Close()
	}
}

// answer is a backend's answer whose body is still on the connection.
type answer struct {
	*http.Response
	attempt *attempt
	conn    *conn
	whole   bool       // read to its end
	wrote   chan error // of a body that is written beside; nil where it was written before
}

// exchange sends an attempt's request on k and returns the head of its answer,
// which must be closed. An interruption closes the connection, whatever it is
// doing, and with it ends the backend's work.
func (c *conns) exchange(k *conn, head []byte, on *attempt) (*answer, error) {
	a := &answer{attempt: on, conn: k}
	k.limit = maxHeaderBytes
	body := on.request.Body
	var err error
	if body.Size() <= inlineBody {
		err = k.send(head, body)
		on.wire.sent = err == nil
	} else {
		a.wrote = make(chan error, 1)
		go func() { a.wrote <- k.send(head, body) }()
	}
	// also after a failed write: a backend that hangs up on a body may have said why
	if a.Response, err = k.head(&on.wire, err); err != nil {
		a.drop()
		return nil, err
	}
	k.limit = math.MaxInt64
	return a, nil
}

// hangUp is Close for an interruption: nobody is left to care for its error.
func (k *conn) hangUp() { _ = k.Close() }

// send writes a request. Its reader is closed when send returns.
func (k *conn) send(head []byte, body Body) error {
	if _, err := k.bw.Write(head); err != nil {
		return err
	}
	r := body.Open()
	defer r.Close()
	if _, err := io.Copy(k.bw, r); err != nil {
		return err
	}
	return k.bw.Flush()
}

// head reads the head of the answer, passing over interim ones. Where nothing
// came, the error is that of the write, if there was one.
func (k *conn) head(w *wire, wrote error) (*http.Response, error) {
	if _, err := k.br.Peek(1); err != nil {
		if wrote != nil {
			return nil, wrote
		}
		return nil, err
	}
	w.answered = true
	for {
		resp, err := http.ReadResponse(k.br, postRequest)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
}

var postRequest = &http.Request{Method: http.MethodPost} // ReadResponse wants to know the method

// read is for the body. Only a body that was read to its end leaves the
// connection good for another request.
func (a *answer) read(p []byte) (int, error) {
	n, err := a.Body.Read(p)
	a.whole = err == io.EOF
	return n, err
}

// close ends the exchange: when it returns, nobody reads the request's body any
// more. The connection is kept where both sides have said all they had to say.
func (a *answer) close() {
	// An interruption may close what is dropped once more, but nothing that is kept.
	if !a.whole || a.Close || !a.written() || a.conn.br.Buffered() > 0 || !a.attempt.using(nil) {
		a.drop()
		return
	}
	a.attempt.backend.conns.put(a.conn)
}

// written reports whether the request is known to be sent to its end.
func (a *answer) written() bool {
	if a.wrote == nil {
		return true
	}
	select {
	case err := <-a.wrote:
		a.wrote = nil
		a.attempt.wire.sent = err == nil
		return err == nil
	default:
		return false
	}
}

// drop closes the connection and waits until nobody writes to it any more.
func (a *answer) drop() {
	_ = a.conn.Close()
	if a.wrote != nil {
		a.attempt.wire.sent = <-a.wrote == nil
		a.wrote = nil
	}
}

const userAgent = "ocrmux"

// requestHead is the part of a request's head that is the same for every
// request of a kind: all but its id and its length.
func requestHead(base *url.URL, path, accept, key string) []byte {
	b := []byte("POST " + path + " HTTP/1.1\r\nHost: " + base.Host + "\r\nUser-Agent: " + userAgent + "\r\nContent-Type: application/json\r\nAccept: " + accept + "\r\n")
	if key != "" {
		b = append(b, "Authorization: Bearer "+key+"\r\n"...)
	}
	return b
}

// appendRequest completes a head. The id is fresh for every sending: vLLM makes
// it part of the answer's, and old versions refuse duplicates.
func appendRequest(b []byte, id uint64, length int64) []byte {
	b = append(b, "X-Request-Id: "...)
	b = strconv.AppendUint(b, id, 16)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, length, 10)
	return append(b, "\r\n\r\n"...)
}
