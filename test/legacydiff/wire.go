package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// patience bounds a request as a whole. The old service gave its model 300 s.
const patience = 330 * time.Second

// request is what goes over the wire, byte for byte; Host, the length or the
// chunks, and Connection: close are added.
type request struct {
	proto  string // "": HTTP/1.1
	host   string // "": the service's own
	method string
	target string
	header []string // whole lines
	body   func() []byte
	// chunks are the sizes of the body's pieces, over and over; nil: the body
	// has a Content-Length.
	chunks []int
}

// answer is what came back, as far as it is compared.
type answer struct {
	status int
	header []string // lines, sorted; see compared
	body   string
}

func (a answer) equal(b answer) bool {
	return a.status == b.status && a.body == b.body && slices.Equal(a.header, b.header)
}

func (a answer) String() string {
	body := a.body
	if len(body) > 1000 {
		body = body[:500] + " … " + body[len(body)-500:]
	}
	return fmt.Sprintf("%d %q %q", a.status, a.header, body)
}

// target is one of the two services.
type target struct {
	address string // host and port
	host    string // as a redirect shows it
	key     string // "": none is sent
}

func newTarget(base, key string) (target, error) {
	u, err := url.Parse(base)
	if err != nil {
		return target{}, err
	}
	if u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return target{}, fmt.Errorf("%q is not http://host:port", base)
	}
	address := u.Host
	if u.Port() == "" {
		address += ":80"
	}
	return target{address: address, host: strings.ToLower(strings.TrimSuffix(u.Host, ":80")), key: key}, nil
}

// send sends a request on a connection of its own and reads the answer while
// it still sends: who is refused early may be told so early.
func (t target) send(r request) (answer, error) {
	conn, err := net.DialTimeout("tcp", t.address, 10*time.Second)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := t.bytes(r).WriteTo(conn)
		sent <- err
	}()
	a, err := t.read(bufio.NewReader(conn), r.method)
	if err != nil {
		_ = conn.Close()
	}
	if failed := <-sent; err != nil {
		return a, errors.Join(err, failed)
	}
	return a, nil // an answer that came before all was sent is an answer
}

// bytes are the request as it is sent to t.
func (t target) bytes(r request) *net.Buffers {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s %s\r\nHost: %s\r\nConnection: close\r\n", r.method, r.target, cmp.Or(r.proto, "HTTP/1.1"), cmp.Or(r.host, t.host))
	if t.key != "" {
		fmt.Fprintf(&head, "X-API-Key: %s\r\n", t.key)
	}
	for _, line := range r.header {
		head.WriteString(line + "\r\n")
	}
	var body []byte
	if r.body != nil {
		body = r.body()
	}
	switch {
	case r.chunks != nil:
		head.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		body = chunked(body, r.chunks)
	case r.body != nil:
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", len(body))
	default:
		head.WriteString("\r\n")
	}
	return &net.Buffers{head.Bytes(), body}
}

func chunked(body []byte, sizes []int) []byte {
	var b bytes.Buffer
	for i := 0; len(body) > 0; i++ {
		n := min(sizes[i%len(sizes)], len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

// read reads the answer, past those that say "continue".
func (t target) read(r *bufio.Reader, method string) (answer, error) {
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return answer{}, err
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return answer{}, err
		}
		if res.StatusCode >= 200 {
			return answer{res.StatusCode, t.headers(res.Header), strings.ReplaceAll(string(body), t.host, "HOST")}, nil
		}
	}
}

// compared are the headers that mean something to a caller, those included
// that neither service should send. Length, date, server and connection are
// the server's own; x-request-id, x-ocrmux-* and the page's policies are new.
var compared = []string{
	"Content-Type", "Allow", "Location", "Retry-After", "Cache-Control", "Set-Cookie", "WWW-Authenticate", "Vary", "ETag",
	"Last-Modified", "Accept-Ranges", "Content-Range", "Content-Encoding", "Content-Disposition", "Access-Control-Allow-Origin",
}

func (t target) headers(h http.Header) (lines []string) {
	for _, name := range compared {
		for _, value := range h.Values(name) {
			if name == "Allow" {
				methods := strings.Split(value, ", ")
				slices.Sort(methods)
				value = strings.Join(methods, ", ")
			}
			lines = append(lines, name+": "+strings.ReplaceAll(value, t.host, "HOST"))
		}
	}
	slices.Sort(lines)
	return lines
}
