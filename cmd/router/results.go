package main

import (
	"context"
	"crypto/rand"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/admin"
	"ocrmux/cache"
	"ocrmux/completions"
)

// results is where answers are remembered: in memory, also where that may hold
// nothing, and behind it on a disk where there is a directory for them.
type results struct {
	store interface {
		completions.Cache
		admin.Cache
	}
	digest completions.Digest
	memory *cache.LRU
	tiered *cache.Tiered // nil without a disk
}

func newResults(c *Config, dir string, log *slog.Logger, registry prometheus.Registerer) (*results, error) {
	r := &results{memory: cache.New(cache.Config{MaxBytes: int64(c.Cache.MaxBytes), TTL: c.Cache.TTL}, registry)}
	r.store = r.memory
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	if dir != "" {
		disk, err := cache.OpenDisk(cache.DiskConfig{Dir: dir, MaxBytes: int64(c.Cache.DiskBytes), TTL: c.Cache.TTL, Log: log}, registry)
		if err != nil {
			return nil, err
		}
		if secret, err = disk.Secret(); err != nil {
			return nil, err
		}
		r.tiered = cache.NewTiered(r.memory, disk)
		r.store = r.tiered
	}
	r.digest = cache.NewDigest(secret)
	return r, nil
}

// run writes to the disk until ctx ends, and then what is left.
func (r *results) run(ctx context.Context) error {
	if r.tiered == nil {
		return nil
	}
	r.tiered.Run(ctx)
	return r.tiered.Close()
}

// resize puts changed bounds in force.
func (r *results) resize(c *Config) error {
	if r.tiered != nil {
		return r.tiered.Resize(int64(c.Cache.MaxBytes), int64(c.Cache.DiskBytes), c.Cache.TTL)
	}
	r.memory.Resize(int64(c.Cache.MaxBytes), c.Cache.TTL)
	return nil
}
