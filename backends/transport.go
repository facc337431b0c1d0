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

	// A small request's head and body go out in one write.
	writeBuffer = 8 << 10
	readBuffer  = 8 << 10

	maxHeaderBytes = 64 << 10
	maxIdle        = 1024 // connections to one backend; the balancer bounds those in use
)

// newProbeTransport asks backends for their health and their models. Work has
// connections of its own, so that a probe never waits behind it. No proxy from
// the environment, no HTTP/2, no redirects (nobody follows them below
// http.Client).
func newProbeTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableCompression:     true,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    5 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}
