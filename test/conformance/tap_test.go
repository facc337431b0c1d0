package conformance_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// tap stands between client and router where a case wants to see what both sent.
type tap struct {
	url string // with /v1

	mu     sync.Mutex
	hits   []*hit
	before func() // runs before a request is passed on, the first one excepted
}

// hit is a request that came by.
type hit struct {
	at     time.Time
	body   []byte
	status int
	header http.Header // of the answer
}

func newTap(t *testing.T, router string) *tap {
	t.Helper()
	target, err := url.Parse(router)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		h := &hit{at: time.Now(), body: body}
		r.Body = io.NopCloser(bytes.NewReader(h.body))
		if before := p.add(h); before != nil {
			before()
		}
		proxy := httputil.ReverseProxy{
			Rewrite:       func(pr *httputil.ProxyRequest) { pr.SetURL(target) },
			FlushInterval: -1,
			ModifyResponse: func(res *http.Response) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				h.status, h.header = res.StatusCode, res.Header.Clone()
				return nil
			},
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL + "/v1"
	return p
}

// add enters a hit and returns what is to be done before it is passed on.
func (p *tap) add(h *hit) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits = append(p.hits, h)
	if len(p.hits) == 1 {
		return nil
	}
	return p.before
}

func (p *tap) all() []*hit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hits)
}

func (p *tap) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits, p.before = nil, nil
}

// beforeOthers sets what happens before each request but the first.
func (p *tap) beforeOthers(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}
