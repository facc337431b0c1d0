package hostile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// patience bounds every wait for an answer.
const patience = 20 * time.Second

// outcome is what a client sees of its connection.
type outcome struct {
	status int    // 0: none
	body   string // of the answer
	ended  bool   // the connection was closed after it
	own    bool   // the next request on the connection got its own answer
	err    error  // how the connection ended, or why the next answer is not its own
}

var clients atomic.Uint32

// dial connects from an address of its own on this machine: whoever sends twenty
// wrong keys from one is throttled.
func dial(address string) (net.Conn, error) {
	n := clients.Add(1)
	d := net.Dialer{
		Timeout:   patience,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))},
	}
	return d.Dial("tcp", address)
}

// send sends an attack in the way of the simplest clients: all of it first, and
// only then does it read. Who is refused in between must still be told.
func send(address string, a *attack) (o outcome) {
	c, err := dial(address)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	from := 0
	for _, to := range a.cuts {
		if _, o.err = c.Write(a.bytes[from:to]); o.err != nil {
			return o // a reset: the client does not get to read
		}
		from = to
	}
	if a.leaves {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	r := bufio.NewReader(c)
	method, _, _ := strings.Cut(string(a.bytes[:min(10, len(a.bytes))]), " ")
	o.status, o.body, o.err = answer(r, method)
	if o.err != nil || a.closed {
		o.ended = o.err != nil || end(r, &o)
		return o
	}
	o.follow(c, r)
	return o
}

// answer reads one answer, and those that say "continue" before it.
func answer(r *bufio.Reader, method string) (int, string, error) {
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return 0, "", err
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return res.StatusCode, "", err
		}
		if res.StatusCode >= 200 {
			return res.StatusCode, string(body), nil
		}
	}
}

// end reports whether nothing follows but the connection's end.
func end(r *bufio.Reader, o *outcome) bool {
	more, err := io.ReadAll(r)
	if len(more) > 0 {
		o.err = fmt.Errorf("after the answer came %.200q", more)
		return false
	}
	o.err = err
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// follow asks for a model that nobody else asks for, on the same connection: the
// answer names it.
func (o *outcome) follow(c net.Conn, r *bufio.Reader) {
	name := fmt.Sprintf("own-%d", time.Now().UnixNano())
	_, err := fmt.Fprintf(c, "GET /v1/models/%s HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer %s\r\n\r\n", name, goodKey)
	if err != nil {
		o.err = err
		return
	}
	status, body, err := answer(r, "GET")
	o.own = err == nil && status == http.StatusNotFound && strings.Contains(body, name)
	if o.err = err; err == nil && !o.own {
		o.err = fmt.Errorf("the next request was answered %d %.200q", status, body)
	}
}

// judge says what is wrong, or "".
func (a *attack) judge(o outcome) string {
	switch {
	case a.either && o.status == 0 && o.ended:
	case a.leaves && o.status == 499 && o.ended: // whoever has left is told nothing else
	case o.status != a.status:
		return fmt.Sprintf("status %d instead of %d (%v) %.150s", o.status, a.status, o.err, o.body)
	case a.closed && !o.ended:
		return fmt.Sprintf("the connection did not end after status %d: %v", o.status, o.err)
	case !a.closed && !o.own:
		return fmt.Sprintf("after status %d: %v", o.status, o.err)
	}
	return ""
}
