// Package fetch gets images from the public internet for clients that send a URL
// instead of the image.
//
// Whoever fetches what strangers name can be sent into the network that it stands
// in. So Get looks at everything more than once: the form of the URL (scheme,
// port, host), every address that its name has, before a connection is made, and
// the address that the connection is really made to, at the moment it is made.
// Each redirect goes through all of it again. Time, bytes and the number of
// fetches at once are bounded, and nothing of the caller goes along: no cookie,
// no key, no proxy.
package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config bounds fetching. Zero values mean those of Defaults.
type Config struct {
	MaxBytes int64         // of one image
	Timeout  time.Duration // of one image, redirects included
	Hosts    []string      // the only hosts that may be fetched from, in lower case; empty: any
}

// Defaults are what holds where nothing is said.
func Defaults() Config { return Config{MaxBytes: 16 << 20, Timeout: 10 * time.Second} }

// Network is how a Fetcher reaches the outside. The zero value is the machine's
// own DNS and TCP.
type Network struct {
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// Errors of Get, by what the caller may tell its client. None of them says what
// was found in a network.
var (
	ErrRefused     = errors.New("the URL is of a form that is not fetched")
	ErrUnreachable = errors.New("the URL could not be fetched")
	ErrTooLarge    = errors.New("what the URL names is too large")
	ErrSlow        = errors.New("the URL took too long to fetch")
)

const (
	maxRedirects = 3
	maxAtOnce    = 64       // fetches; more wait within their own time
	maxAddresses = 4        // of one name that are tried
	maxHead      = 16 << 10 // bytes of an answer's head
)

// Fetcher is safe for concurrent use.
type Fetcher struct {
	cfg       Config
	network   Network
	ports     []uint16 // 80 and 443
	transport *http.Transport
	slots     chan struct{}
	metrics   *metrics
}

// New builds a Fetcher that keeps no connections.
func New(cfg Config, network Network, registry prometheus.Registerer) *Fetcher {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, Defaults().MaxBytes)
	cfg.Timeout = cmp.Or(cfg.Timeout, Defaults().Timeout)
	if network.Lookup == nil {
		network.Lookup = lookup
	}
	f := &Fetcher{
		cfg:     cfg,
		network: network,
		ports:   []uint16{80, 443},
		slots:   make(chan struct{}, maxAtOnce),
		metrics: newMetrics(registry),
	}
	if network.Dial == nil {
		f.network.Dial = f.dial
	}
	f.transport = &http.Transport{
		DialContext:            f.connect,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
	}
	return f
}

// Get returns what rawURL names. Before it reads n bytes at most, it calls hold(n);
// an error of hold, and the cause of a ctx that ends, are returned as they are.
func (f *Fetcher) Get(ctx context.Context, rawURL string, hold func(n int64) error) ([]byte, error) {
	began := time.Now()
	body, err := f.get(ctx, rawURL, hold)
	f.metrics.observe(err, time.Since(began))
	return body, err
}

func (f *Fetcher) get(parent context.Context, rawURL string, hold func(n int64) error) ([]byte, error) {
	u, err := f.parse(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(parent, f.cfg.Timeout, ErrSlow)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	resp, err := f.follow(ctx, u)
	if err != nil {
		return nil, ended(ctx, err)
	}
	defer resp.Body.Close()
	n := resp.ContentLength
	if n > f.cfg.MaxBytes {
		return nil, ErrTooLarge
	}
	if n < 0 {
		n = f.cfg.MaxBytes
	}
	if err := hold(n); err != nil {
		return nil, err
	}
	body, err := read(resp, f.cfg.MaxBytes)
	return body, ended(ctx, err)
}

// ended says why a fetch failed: because its time was over or the caller gave
// up, if that was so.
func ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// follow asks for u, and for what it redirects to.
func (f *Fetcher) follow(ctx context.Context, u *url.URL) (*http.Response, error) {
	for range maxRedirects + 1 {
		resp, err := f.ask(ctx, u)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusOK:
			if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
				resp.Body.Close()
				return nil, fmt.Errorf("%w: it is compressed", ErrUnreachable)
			}
			return resp, nil
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			resp.Body.Close()
			location, err := u.Parse(resp.Header.Get("Location"))
			if err != nil {
				return nil, fmt.Errorf("%w: its redirect is no URL", ErrUnreachable)
			}
			if u, err = f.parse(location.String()); err != nil {
				return nil, fmt.Errorf("%w: its redirect is of a form that is not followed", ErrUnreachable)
			}
		default:
			resp.Body.Close()
			return nil, fmt.Errorf("%w: status %d", ErrUnreachable, resp.StatusCode)
		}
	}
	return nil, fmt.Errorf("%w: more than %d redirects", ErrUnreachable, maxRedirects)
}

func (f *Fetcher) ask(ctx context.Context, u *url.URL) (*http.Response, error) {
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
		"Accept":     {"image/*"},
		"User-Agent": {"ocrmux"},
	}}).WithContext(ctx)
	resp, err := f.transport.RoundTrip(req)
	if err != nil { // which may quote what it could not read
		return nil, fmt.Errorf("%w: no answer", ErrUnreachable)
	}
	return resp, nil
}

// read reads a body of at most limit bytes.
func read(resp *http.Response, limit int64) ([]byte, error) {
	if n := resp.ContentLength; n >= 0 {
		body := make([]byte, n)
		if _, err := io.ReadFull(resp.Body, body); err != nil {
			return nil, fmt.Errorf("%w: it ended early", ErrUnreachable)
		}
		return body, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: it ended early", ErrUnreachable)
	case int64(len(body)) > limit:
		return nil, ErrTooLarge
	}
	return body, nil
}
