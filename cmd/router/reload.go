package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// configInterval is how often the configuration file is looked at.
const configInterval = time.Second

// reloads is what has been read of the configuration file and what came of it.
type reloads struct {
	current atomic.Pointer[Config] // what is in force
	broken  atomic.Pointer[error]  // why the file as it was last read is not; nil where it is
	over    atomic.Bool            // the router stops, with what it has

	mu   sync.Mutex
	read [sha256.Size]byte // guarded by mu; digest of the file when it was last read
	seen [sha256.Size]byte // the same when it was last looked at; follow's alone

	valid   prometheus.Gauge
	results *prometheus.CounterVec
}

// What a reload can come to.
const (
	applied   = "applied"
	unchanged = "unchanged"
	refused   = "refused"
)

func newReloads(c *Config, registry prometheus.Registerer) *reloads {
	r := &reloads{
		valid: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ocrmux_config_valid",
			Help: "1 where the configuration file, as it was last read, could be used; 0 where an earlier one is in force.",
		}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ocrmux_config_reloads_total",
			Help: "Times that the configuration was read again, by result: applied, unchanged, refused.",
		}, []string{"result"}),
	}
	registry.MustRegister(r.valid, r.results)
	for _, result := range []string{applied, unchanged, refused} {
		r.results.WithLabelValues(result)
	}
	r.valid.Set(1)
	r.current.Store(c)
	r.read = c.from.digest
	return r
}

// config is what is in force.
func (r *rooms) config() *Config { return r.reloads.current.Load() }

// configError is why the configuration file, as it was last read, is not what is
// in force, or nil.
func (r *rooms) configError() error {
	if err := r.reloads.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// follow reloads at every hangup and whenever the file has changed, until ctx
// ends.
func (r *rooms) follow(ctx context.Context, hangups <-chan struct{}) {
	look := time.NewTicker(r.interval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		case <-look.C:
			if !r.reloads.changed(r.config().from.path) {
				continue
			}
		}
		_, _ = r.Reload(ctx) // which has logged what went wrong
	}
}

// changed reports whether the file holds something else than when it was last
// read, and held the same a look ago: one that is being written is left alone.
func (r *reloads) changed(path string) bool {
	var now [sha256.Size]byte // of a file that cannot be read
	if data, err := os.ReadFile(path); err == nil {
		now = sha256.Sum256(data)
	}
	still := now == r.seen
	r.seen = now
	r.mu.Lock()
	defer r.mu.Unlock()
	return still && now != r.read
}

// Reload reads the configuration file and puts in force what it says, as a whole
// or not at all. Requests in progress end as they have begun.
func (r *rooms) Reload(ctx context.Context) (Report, error) {
	r.reloads.mu.Lock()
	defer r.reloads.mu.Unlock()
	if r.reloads.over.Load() {
		return Report{}, errors.New("the router is stopping")
	}
	current := r.config()
	next, err := r.reloads.again(current)
	var report Report
	if err == nil {
		report = merge(current, next)
		err = r.change(ctx, next, report)
	}
	result := applied
	switch {
	case err != nil:
		result = refused
	case len(report.Changed) == 0:
		result = unchanged
	}
	r.reloads.results.WithLabelValues(result).Inc()
	r.reloads.tell(r.log, report, err)
	if err != nil {
		return Report{}, err
	}
	return report, nil
}

// again reads the file of a configuration once more.
func (r *reloads) again(c *Config) (*Config, error) {
	r.read = [sha256.Size]byte{}
	data, err := os.ReadFile(c.from.path)
	if err != nil {
		return nil, err
	}
	r.read = sha256.Sum256(data)
	return parse(data, c.from.path, c.from.env)
}

// tell notes and logs what came of a reload.
func (r *reloads) tell(log *slog.Logger, report Report, err error) {
	if err != nil {
		r.valid.Set(0)
		r.broken.Store(&err)
		var found *problems
		if !errors.As(err, &found) {
			log.Error("the configuration cannot be used, the one before stays in force", "error", err)
			return
		}
		for _, p := range found.list {
			log.Error("the configuration cannot be used, the one before stays in force",
				"file", found.file, "line", p.line, "key", p.key, "error", p.text)
		}
		return
	}
	r.valid.Set(1)
	r.broken.Store(nil)
	log.Info("the configuration was read again", "changed", report.Changed)
	if len(report.Unchangeable) > 0 {
		log.Warn("settings have changed that take a restart", "settings", report.Unchangeable)
	}
}

// change puts next in force.
func (r *rooms) change(ctx context.Context, next *Config, report Report) error {
	if err := rehearse(next); err != nil {
		return err
	}
	if len(report.Changed) == 0 {
		return nil
	}
	added, err := r.fleet.update(next)
	if err != nil {
		return err
	}
	var looks sync.WaitGroup
	for _, p := range added {
		looks.Go(func() { p.settle(ctx) })
	}
	looks.Wait()
	service, err := newService(next, r.fleet, r.results, r.log)
	if err != nil {
		return err
	}
	r.level.Set(next.Log.level())
	if err := r.results.resize(next); err != nil {
		r.log.Warn("the cache's directory could not be made smaller", "error", err)
	}
	r.gate.SetCeilings(next.ceilings())
	r.service, service = service, r.service
	ended := r.gateway.Apply(next.gateway(), r.service, inOrder(r.fleet.of(next)), r.images.fetcher(next))
	if current := r.config(); memoryLimit(current) != memoryLimit(next) {
		boundMemory(next, next.from.env, r.log)
	}
	r.reloads.current.Store(next)
	r.fleet.dismiss(service, ended)
	r.fleet.retire(next, ended, next.HTTP.Drain)
	return nil
}
