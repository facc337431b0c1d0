package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ocrmux/auth"
	"ocrmux/completions"
	"ocrmux/fetch"
	"ocrmux/gateway"
	"ocrmux/usage"
)

// rooms are all parts of a router, built from one configuration and wired to
// each other. Nothing in them runs yet.
type rooms struct {
	log         *slog.Logger
	level       *slog.LevelVar
	registry    *prometheus.Registry
	gate        *auth.Gate
	ledger      *usage.Ledger
	fleet       *fleet
	results     *results
	service     *completions.Service // guarded by reloads.mu
	images      images
	gateway     *gateway.Server
	certificate *certificate // nil without TLS
	reloads     *reloads
	interval    time.Duration // from one look at the configuration file to the next
}

// build is where everything meets. It opens no listener and starts no loop. What
// outlasts a router is taken up again.
func build(c *Config, kept durable, log *slog.Logger, level *slog.LevelVar) (*rooms, error) {
	registry := newRegistry()
	r := &rooms{
		log:      log,
		level:    level,
		registry: registry,
		fleet:    newFleet(log, registry),
		images:   images{registry: registry},
		reloads:  newReloads(c, registry),
		interval: configInterval,
	}
	var err error
	if r.ledger, err = usage.Open(usage.Config{Path: kept.journal}, usage.Deps{Log: log, Registerer: registry}); err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	if r.results, err = newResults(c, kept.cache, log, registry); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if r.gate, err = auth.New(
		auth.Config{KeyFile: c.file(c.Keys.File), Pepper: []byte(c.Keys.PepperFile.value)},
		auth.Deps{Logger: log, Registerer: registry, Month: r.ledger.Month},
	); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	r.gate.SetCeilings(c.ceilings())
	if _, err := r.fleet.update(c); err != nil {
		return nil, err
	}
	r.service, err = newService(c, r.fleet, r.results, log)
	if err != nil {
		return nil, err
	}
	if c.HTTP.TLS.CertFile != "" {
		if r.certificate, err = newCertificate(c.file(c.HTTP.TLS.CertFile), c.file(c.HTTP.TLS.KeyFile), log); err != nil {
			return nil, err
		}
	}
	r.gateway, err = gateway.New(c.gateway(), gateway.Deps{
		Gate:     r.gate,
		Ledger:   r.ledger,
		Service:  r.service,
		Pools:    inOrder(r.fleet.of(c)),
		Images:   r.images.fetcher(c),
		Log:      log,
		Registry: registry,
	})
	return r, err
}

// rehearse builds what a reload would, and lets nothing of it work.
func rehearse(c *Config) error {
	log := slog.New(slog.DiscardHandler)
	f := newFleet(log, prometheus.NewRegistry())
	if _, err := f.update(c); err != nil {
		return err
	}
	_, err := newService(c, f, new(results), log)
	return err
}

// newService joins the models to the pools and the cache.
func newService(c *Config, f *fleet, found *results, log *slog.Logger) (*completions.Service, error) {
	deps := completions.Deps{
		Pools: map[string]completions.Pool{}, Fallback: map[string]string{}, Digest: found.digest, Log: log,
	}
	for name, pool := range f.of(c) {
		deps.Pools[name] = pool
		if fallback := c.Pools[name].Fallback; fallback != "" {
			deps.Fallback[name] = fallback
		}
	}
	if c.Cache.MaxBytes > 0 {
		deps.Cache = found.store
	}
	return completions.New(c.completions(), deps)
}

// images is the fetcher of image URLs, made anew where its settings change.
type images struct {
	registry prometheus.Registerer
	cfg      fetch.Config
	current  *fetch.Fetcher
	metrics  *prometheus.Registry // of the current one
}

// fetcher is nil where image URLs are refused.
func (i *images) fetcher(c *Config) *fetch.Fetcher {
	if cfg := c.fetch(); c.Images.Fetch && (i.current == nil || !reflect.DeepEqual(cfg, i.cfg)) {
		i.forget()
		i.cfg, i.metrics = cfg, prometheus.NewRegistry()
		i.current = fetch.New(cfg, fetch.Network{}, i.metrics)
		i.registry.MustRegister(i.metrics)
	}
	if !c.Images.Fetch {
		i.forget()
	}
	return i.current
}

func (i *images) forget() {
	if i.current != nil {
		i.registry.Unregister(i.metrics)
		i.current, i.metrics = nil, nil
	}
}

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ocrmux_build_info",
		Help: "Always 1; the labels say what is running.",
	}, []string{"version", "go_version"})
	info.WithLabelValues(buildVersion(), runtime.Version()).Set(1)
	registry.MustRegister(
		info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}
