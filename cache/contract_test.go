package cache_test

import (
	"context"
	"testing"

	"ocrmux/cache"
	"ocrmux/cache/cachetest"
)

func TestLRU_KeepsTheContract(t *testing.T) {
	cachetest.Run(t, cachetest.Harness{
		New:     func(_ *testing.T, cfg cache.Config) cachetest.Store { return cache.New(cfg, nil) },
		Size:    func(s cachetest.Store) int64 { return s.(*cache.LRU).Size() },
		Exact:   true,
		Corrupt: func(s cachetest.Store, k cache.Key, bit int) { s.(*cache.LRU).Corrupt(k, bit) },
	})
}

func TestDisk_KeepsTheContract(t *testing.T) {
	cachetest.Run(t, cachetest.Harness{
		New:     func(t *testing.T, cfg cache.Config) cachetest.Store { return disk(t, cfg) },
		Size:    func(s cachetest.Store) int64 { return s.(*cache.Disk).Size() },
		Corrupt: func(s cachetest.Store, k cache.Key, bit int) { s.(*cache.Disk).Corrupt(k, bit) },
	})
}

func TestTiered_KeepsTheContract(t *testing.T) {
	cachetest.Run(t, cachetest.Harness{
		New:     func(t *testing.T, cfg cache.Config) cachetest.Store { return tiered(t, cfg, cfg) },
		Size:    func(s cachetest.Store) int64 { return s.(*cache.Tiered).Size() },
		Corrupt: func(s cachetest.Store, k cache.Key, bit int) { s.(*cache.Tiered).Corrupt(k, bit) },
	})
}

// What memory cannot hold comes from the disk, and the other way round.
func TestTiered_KeepsTheContractWithoutMemory(t *testing.T) {
	cachetest.Run(t, cachetest.Harness{
		New: func(t *testing.T, cfg cache.Config) cachetest.Store {
			return tiered(t, cache.Config{TTL: cfg.TTL, Now: cfg.Now}, cfg)
		},
		Size:    func(s cachetest.Store) int64 { return s.(*cache.Tiered).Size() },
		Corrupt: func(s cachetest.Store, k cache.Key, bit int) { s.(*cache.Tiered).Corrupt(k, bit) },
	})
}

func disk(t *testing.T, cfg cache.Config) *cache.Disk {
	t.Helper()
	d, err := cache.OpenDisk(cache.DiskConfig{
		Dir: t.TempDir(), MaxBytes: cfg.MaxBytes, TTL: cfg.TTL, Now: cfg.Now,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func tiered(t *testing.T, memory, behind cache.Config) *cache.Tiered {
	t.Helper()
	s := cache.NewTiered(cache.New(memory, nil), disk(t, behind))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return s
}
