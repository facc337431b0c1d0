package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp/fasthttputil"
)

func TestTheWholeBodyIsHashed(t *testing.T) {
	l := fasthttputil.NewInmemoryListener()
	server := (&hasher{answer: []byte("lorem")}).server()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial() }}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	// The second of a size differs in its last byte; a shorter one comes after a longer one.
	for _, body := range []string{strings.Repeat("a", 400_000), strings.Repeat("a", 399_999) + "b", "a"} {
		res, err := client.Post("http://hash/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || !bytes.Equal(answer, []byte("lorem")) {
			t.Errorf("%d bytes: %q, %v", len(body), answer, err)
		}
		sum := sha256.Sum256([]byte(body))
		if got, want := res.Header.Get("X-Sum"), fmt.Sprintf("%x", sum[:8]); got != want {
			t.Errorf("%d bytes: sum %s, want %s", len(body), got, want)
		}
	}
}
