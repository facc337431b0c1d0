package main

import (
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/cache"
	"ocrmux/completions"
	"ocrmux/fetch"
	"ocrmux/gateway"
)

// rooms are all parts of a router, built from one configuration and wired to
// each other. Nothing in them runs yet.
type rooms struct {
	registry    *prometheus.Registry
	gate        *auth.Gate
	pools       []*backends.Pool
	gateway     *gateway.Server
	certificate *certificate // nil without TLS
}

// build is where everything meets. It opens no listener and starts no loop.
func build(c *Config, log *slog.Logger) (*rooms, error) {
	r := &rooms{registry: newRegistry()}
	var err error
	if r.gate, err = auth.New(
		auth.Config{KeyFile: c.file(c.Keys.File), Pepper: []byte(c.Keys.PepperFile.value)},
		auth.Deps{Logger: log, Registerer: r.registry},
	); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	service, err := r.service(c, log)
	if err != nil {
		return nil, err
	}
	if c.HTTP.TLS.CertFile != "" {
		if r.certificate, err = newCertificate(c.file(c.HTTP.TLS.CertFile), c.file(c.HTTP.TLS.KeyFile), log); err != nil {
			return nil, err
		}
	}
	deps := gateway.Deps{
		Gate:     r.gate,
		Service:  service,
		Pools:    r.pools,
		Log:      log,
		Registry: r.registry,
	}
	if c.Images.Fetch {
		deps.Images = fetch.New(c.fetch(), fetch.Network{}, r.registry)
	}
	r.gateway, err = gateway.New(c.gateway(), deps)
	return r, err
}

func (r *rooms) service(c *Config, log *slog.Logger) (*completions.Service, error) {
	deps := completions.Deps{Pools: map[string]completions.Pool{}, Fallback: map[string]string{}, Log: log}
	for _, name := range slices.Sorted(maps.Keys(c.Pools)) {
		pool, err := backends.New(c.pool(name), backends.Deps{Log: log, Registry: r.registry})
		if err != nil {
			return nil, fmt.Errorf("pools.%s: %w", name, err)
		}
		r.pools = append(r.pools, pool)
		deps.Pools[name] = pool
		if fallback := c.Pools[name].Fallback; fallback != "" {
			deps.Fallback[name] = fallback
		}
	}
	if c.Cache.MaxBytes > 0 {
		deps.Cache = cache.New(cache.Config{MaxBytes: int64(c.Cache.MaxBytes), TTL: c.Cache.TTL}, r.registry)
	}
	return completions.New(c.completions(), deps)
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
