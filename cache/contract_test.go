package cache_test

import (
	"testing"

	"ocrmux/cache"
	"ocrmux/cache/cachetest"
)

func TestLRU_KeepsTheContract(t *testing.T) {
	cachetest.Run(t, cachetest.Harness{
		New:     func(_ *testing.T, cfg cache.Config) cachetest.Store { return cache.New(cfg, nil) },
		Size:    func(s cachetest.Store) int64 { return s.(*cache.LRU).Size() },
		Corrupt: func(s cachetest.Store, k cache.Key, bit int) { s.(*cache.LRU).Corrupt(k, bit) },
	})
}
