package backends

import (
	"net"
	"net/http"
	"time"
)

const (
	// idleTimeout is below the 5 s after which vLLM's HTTP server closes an
	// idle connection (VLLM_HTTP_TIMEOUT_KEEP_ALIVE of uvicorn), so that the
	// two rarely meet. Where they do, see attempt.send.
	idleTimeout = 4 * time.Second
	dialTimeout = 2 * time.Second

	// Bodies are base64 images of hundreds of kilobytes: a large buffer is
	// fewer system calls. Answers are small.
	writeBuffer = 64 << 10
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
		DialContext:            dialer.DialContext,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        writeBuffer,
		ReadBufferSize:         readBuffer,
	}
}
