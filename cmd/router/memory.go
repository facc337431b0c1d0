package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The runtime is told how much memory the configured budgets can need, so that
// it collects garbage early enough when they are spent and rarely when they
// are not.
//
//	GOMEMLIMIT = 64 MiB + 9/8 * (memory.bodies + cache.max_bytes + the index of cache.dir)
//
// 64 MiB is for what no budget counts: stacks, connections' buffers, tables and
// metrics. The eighth is garbage that may lie around while both budgets are
// full; it is enough because bodies and results hold no pointers, so that a
// collection is cheap however much they weigh. The limit is soft: it makes
// collections frequent, it refuses nothing.
//
// The heap may grow between two collections to five times what lives, less where
// GOMEMLIMIT is small:
//
//	growth = 100 * (GOMEMLIMIT/2 - 32 MiB) / 32 MiB per cent, within 50 and 400
//
// Without work about 32 MiB live. They may grow to half of the limit before the
// first collection, but not by more than four times: beyond that fewer
// collections save little, and memory that was touched once stays taken. But
// what the cache holds lives long and makes no garbage: taken for what works, a
// full cache would let five times its budget pile up. So GOGC is set anew as the
// cache fills (followHeap), and the heap grows by
//
//	growth * (live - cached) - cached, and at least by a twelfth of cached
const (
	memoryBase = 64 << 20
	memoryIdle = 32 << 20
)

func memoryLimit(c *Config) int64 {
	budgets := int64(c.Memory.Bodies) + int64(c.Cache.MaxBytes)
	if c.durable().cache != "" {
		budgets += min(int64(c.Cache.DiskBytes)>>6, 112<<20) + 16<<20 // the index of what is on disk, and what is on its way there
	}
	return memoryBase + budgets + budgets/8
}

// heapGrowth is per cent of what lives.
func heapGrowth(limit int64) int64 {
	return min(max(100*(limit/2-memoryIdle)/memoryIdle, 50), 400)
}

// gcPercent is GOGC for a heap of which so many bytes live, and so many of these
// are cached.
func gcPercent(growth, live, cached int64) int {
	live = max(live, memoryIdle/2)
	cached = min(cached, live)
	grows := max(growth*(live-cached)/100-cached, cached/12, memoryIdle/4)
	return int(min(100*grows/live, growth))
}

// boundMemory sets GOMEMLIMIT for the process, except where the operator set it
// in the environment.
func boundMemory(c *Config, env func(string) (string, bool), log *slog.Logger) {
	if _, set := env("GOMEMLIMIT"); !set {
		limit := memoryLimit(c)
		debug.SetMemoryLimit(limit)
		log.Info("GOMEMLIMIT follows from the configuration", "bytes", limit)
	}
}

// heapInterval is how often GOGC is looked at: a cache takes seconds to fill.
const heapInterval = 500 * time.Millisecond

// followHeap sets GOGC by what the cache holds until ctx ends, except where the
// operator set it in the environment.
func (r *rooms) followHeap(ctx context.Context) error {
	if _, set := r.config().from.env("GOGC"); set {
		return nil
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	look := time.NewTicker(heapInterval)
	defer look.Stop()
	for now := 0; ; {
		metrics.Read(live)
		next := gcPercent(heapGrowth(memoryLimit(r.config())), int64(live[0].Value.Uint64()), r.results.memory.Bytes())
		if next != now { // it stops the world for a moment
			debug.SetGCPercent(next)
			now = next
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}
