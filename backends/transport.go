package backends

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// idleTimeout is below the 5 s after which vLLM's HTTP server closes an
	// idle connection (VLLM_HTTP_TIMEOUT_KEEP_ALIVE of uvicorn), so that the
	// two rarely meet. Where they do, see attempt.send.
	idleTimeout = 4 * time.Second
	dialTimeout = 2 * time.Second

	// copyBuffer is what a large body is read into on its way: bodies are
	// base64 images of hundreds of kilobytes, and net/http's 32 KiB at a time
	// would be four times the system calls.
	copyBuffer = 128 << 10
	// smallBody is what goes out in one write together with its head.
	smallBody   = 24 << 10
	writeBuffer = smallBody + 8<<10
	readBuffer  = 8 << 10

	maxHeaderBytes = 64 << 10
	maxIdle        = 1024 // connections to one backend; the balancer bounds those in use
)

// newTransport is HTTP/1.1 to exactly the address that was configured: no
// proxy from the environment, no HTTP/2, no compression, no redirects (nobody
// follows them below http.Client).
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if tcp, ok := c.(*net.TCPConn); ok {
				return conn{tcp}, err
			}
			return c, err
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        writeBuffer,
		ReadBufferSize:         readBuffer,
	}
}

// conn copies bodies with a buffer of its own.
type conn struct{ *net.TCPConn }

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// ReadFrom is what net/http sends a body with.
func (c conn) ReadFrom(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	// Hiding both sides' other methods makes CopyBuffer use the buffer.
	return io.CopyBuffer(struct{ io.Writer }{c.TCPConn}, struct{ io.Reader }{r}, buf[:])
}
