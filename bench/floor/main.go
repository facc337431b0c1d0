// Command floor is the least that a proxy on net/http can cost: the standard
// library's reverse proxy, which takes backends in turn and does nothing else.
// bench/run compares the router with it.
//
// It pays for nothing that a router is there for: no keys, limits, checks,
// health, retries, accounts, log or metrics.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
)

func main() {
	flag.Usage = func() { fmt.Fprintln(flag.CommandLine.Output(), "usage: floor HOST:PORT...") }
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// run serves on a free port, whose address it prints.
func run(backends []string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, proxy(backends))
}

func proxy(backends []string) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			next := backends[turn.Add(1)%uint64(len(backends))]
			r.SetURL(&url.URL{Scheme: "http", Host: next})
		},
		FlushInterval: -1, // a token goes on when it comes
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024, // more than any scenario has: connections are made once
			DisableCompression:  true,
		},
		BufferPool: new(buffers),
	}
}

// buffers spare the proxy a copy buffer for each answer.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
