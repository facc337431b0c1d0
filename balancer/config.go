package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Config describes one pool. Zero means the default where one is named.
type Config struct {
	Backends []Backend
	Policy   Policy // default LeastLoaded
	MaxQueue int    // tickets that wait for their first start at most; 0: nobody waits

	DownAfter    int           // failed probes in a row that take a backend down, default 3
	UpAfter      int           // good probes in a row that bring it back, default 2
	ByteWindow   time.Duration // a byte of an answer this recent makes a failed probe good, default 2 s
	StallSilence time.Duration // no byte of any kind for this long ...
	StallProbe   time.Duration // ... and a probe unanswered for this long make a backend suspect, default 2.5 s and 1.5 s

	BreakerOpenMin time.Duration // how long a tripped backend gets nothing, default 2 s ...
	BreakerOpenMax time.Duration // ... doubling up to this, default 60 s

	RetryShare float64 // of the tickets in progress that may be on their retry, default 0.2 ...
	RetryMin   int     // ... and how many may be in any case, default 3
}

// WithDefaults puts a default where c has zero.
func (c Config) WithDefaults() Config {
	c.Policy = cmp.Or(c.Policy, LeastLoaded)
	c.DownAfter = cmp.Or(c.DownAfter, 3)
	c.UpAfter = cmp.Or(c.UpAfter, 2)
	c.ByteWindow = cmp.Or(c.ByteWindow, 2*time.Second)
	c.StallSilence = cmp.Or(c.StallSilence, 2500*time.Millisecond)
	c.StallProbe = cmp.Or(c.StallProbe, 1500*time.Millisecond)
	c.BreakerOpenMin = cmp.Or(c.BreakerOpenMin, 2*time.Second)
	c.BreakerOpenMax = cmp.Or(c.BreakerOpenMax, 60*time.Second)
	c.RetryShare = cmp.Or(c.RetryShare, 0.2)
	c.RetryMin = cmp.Or(c.RetryMin, 3)
	return c
}

// Validate names everything that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Backends) == 0 {
		wrong("a pool needs at least one backend")
	}
	seen := make(map[string]bool, len(c.Backends))
	for _, be := range c.Backends {
		if be.Name == "" || seen[be.Name] {
			wrong("backend name %q is empty or used twice", be.Name)
		}
		if be.MaxInFlight < 1 {
			wrong("backend %q: max_in_flight is %d, must be at least 1", be.Name, be.MaxInFlight)
		}
		seen[be.Name] = true
	}
	if c.Policy != "" && choosers[c.Policy] == nil {
		wrong("policy %q is unknown, must be %s or %s", c.Policy, LeastLoaded, RoundRobin)
	}
	if c.MaxQueue < 0 {
		wrong("max_queue is %d, must not be negative", c.MaxQueue)
	}
	if c.DownAfter < 0 || c.UpAfter < 0 || c.RetryMin < 0 || c.RetryShare < 0 ||
		min(c.ByteWindow, c.StallSilence, c.StallProbe, c.BreakerOpenMin, c.BreakerOpenMax) < 0 {
		wrong("counts, shares and times must not be negative")
	}
	return errors.Join(errs...)
}
