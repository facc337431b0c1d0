package backends

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"ocrmux/balancer"
)

// Config describes one pool. Zero means the default that is named.
type Config struct {
	Name     string
	Backends []Backend
	Policy   string   // "least_loaded" (default) or "round_robin"
	MaxQueue int      // requests waiting for a slot at most, default 1024
	Models   []string // names that the backends are to serve; one that lacks some is logged

	// ProbeInterval is the time between the starts of two health probes of a
	// backend, default 1 s; ProbeTimeout is the longest that one may take,
	// default 2 s. At most three are under way.
	ProbeInterval time.Duration
	ProbeTimeout  time.Duration
	// ModelsInterval is how often /v1/models is read, default 30 s. It is also
	// read whenever a backend comes up.
	ModelsInterval time.Duration
	// Tick is how often the balancer looks at the clock: nothing that depends on
	// time happens later than that. Default 50 ms.
	Tick time.Duration

	DownAfter    int           // failed probes in a row that take a backend down, default 3
	UpAfter      int           // good probes in a row that bring it back, default 2
	ByteWindow   time.Duration // a byte of an answer this recent makes a failed probe good, default 2 s
	StallSilence time.Duration // no byte of any kind for this long, default 2.5 s ...
	StallProbe   time.Duration // ... and a probe unanswered for this long make a backend suspect, default 1.5 s

	BreakerOpenMin time.Duration // how long a backend gets nothing after failing, default 2 s ...
	BreakerOpenMax time.Duration // ... doubling up to this, default 60 s

	RetryShare float64 // of the requests in progress that may be on a retry, default 0.2 ...
	RetryMin   int     // ... and how many may be in any case, default 3
}

// Backend is one server.
type Backend struct {
	Name        string
	URL         string // http://host:port, without a path
	APIKey      string // sent as a bearer token; "" for none
	MaxInFlight int    // requests on it at once, default 48
}

// DefaultMaxInFlight is a Backend's MaxInFlight where it says nothing.
const DefaultMaxInFlight = 48

// Defaults is what holds where a Config says nothing.
func Defaults() Config {
	b := balancer.Config{}.WithDefaults()
	return Config{
		Policy:         b.Policy,
		MaxQueue:       1024,
		ProbeInterval:  time.Second,
		ProbeTimeout:   2 * time.Second,
		ModelsInterval: 30 * time.Second,
		Tick:           50 * time.Millisecond,
		DownAfter:      b.DownAfter,
		UpAfter:        b.UpAfter,
		ByteWindow:     b.ByteWindow,
		StallSilence:   b.StallSilence,
		StallProbe:     b.StallProbe,
		BreakerOpenMin: b.BreakerOpenMin,
		BreakerOpenMax: b.BreakerOpenMax,
		RetryShare:     b.RetryShare,
		RetryMin:       b.RetryMin,
	}
}

// Validate names everything that is wrong with c, as New and Update do.
func (c Config) Validate() error { return c.prepare() }

// prepare fills in defaults and names everything that is wrong.
func (c *Config) prepare() error {
	d := Defaults() // of what is not the balancer's
	c.MaxQueue = cmp.Or(c.MaxQueue, d.MaxQueue)
	c.ProbeInterval = cmp.Or(c.ProbeInterval, d.ProbeInterval)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, d.ProbeTimeout)
	c.ModelsInterval = cmp.Or(c.ModelsInterval, d.ModelsInterval)
	c.Tick = cmp.Or(c.Tick, d.Tick)
	var errs []error
	if min(c.ProbeInterval, c.ProbeTimeout, c.ModelsInterval, c.Tick) <= 0 {
		errs = append(errs, errors.New("intervals must be positive"))
	}
	c.Models = slices.Clone(c.Models)
	backends := make([]Backend, len(c.Backends)) // the caller's stay as they are
	for i, b := range c.Backends {
		b.MaxInFlight = cmp.Or(b.MaxInFlight, DefaultMaxInFlight)
		backends[i] = b
		if _, err := b.base(); err != nil {
			errs = append(errs, err)
		}
	}
	c.Backends = backends
	return errors.Join(append(errs, c.balancer().Validate())...)
}

// base is the URL below which the backend answers.
func (b Backend) base() (*url.URL, error) {
	u, err := url.Parse(b.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("backend %q: its url must be http://host:port", b.Name)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("backend %q: its url must have a scheme, a host and a port only", b.Name)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func (c *Config) balancer() balancer.Config {
	cfg := balancer.Config{
		Policy:         c.Policy,
		MaxQueue:       c.MaxQueue,
		DownAfter:      c.DownAfter,
		UpAfter:        c.UpAfter,
		ByteWindow:     c.ByteWindow,
		StallSilence:   c.StallSilence,
		StallProbe:     c.StallProbe,
		BreakerOpenMin: c.BreakerOpenMin,
		BreakerOpenMax: c.BreakerOpenMax,
		RetryShare:     c.RetryShare,
		RetryMin:       c.RetryMin,
	}
	for _, b := range c.Backends {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: b.Name, MaxInFlight: b.MaxInFlight})
	}
	return cfg
}
