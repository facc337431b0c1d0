// Command hash is the least that an answer from a cache of images can cost: a
// server on fasthttp, set up as the router sets it up, that reads a request's
// body, hashes it as it came with SHA-256, and gives everybody the same small
// answer. bench/run compares the router's hits with it.
//
// It pays for nothing that a router is there for: it reads no JSON and no form,
// knows no keys, and remembers nothing.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0") // any free port
	if err == nil {
		fmt.Println(l.Addr())
		h := &hasher{answer: []byte(`{"text":"` + strings.Repeat("lorem ", 16) + `"}`)}
		err = h.server().Serve(l)
	}
	fmt.Fprintln(os.Stderr, "hash:", err)
	os.Exit(1)
}

type hasher struct {
	answer  []byte // as long as bench/mock's, and counted as that by bench/load
	buffers sync.Pool
}

// server takes bodies as the gateway does: as streams, into memory that is used
// again.
func (h *hasher) server() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      h.serve,
		ReadBufferSize:               16 << 10,
		StreamRequestBody:            true,
		MaxRequestBodySize:           1 << 40,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
	}
}

func (h *hasher) serve(rc *fasthttp.RequestCtx) {
	length := max(0, rc.Request.Header.ContentLength())
	buffer, _ := h.buffers.Get().(*[]byte)
	if buffer == nil || len(*buffer) < length {
		fresh := make([]byte, length)
		buffer = &fresh
	}
	defer h.buffers.Put(buffer)
	body := (*buffer)[:length]
	if _, err := io.ReadFull(rc.RequestBodyStream(), body); err != nil {
		rc.SetConnectionClose()
		rc.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	sum := sha256.Sum256(body)
	rc.Response.Header.Set("X-Sum", hex.EncodeToString(sum[:8]))
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(h.answer)
}
