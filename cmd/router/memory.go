package main

import (
	"log/slog"
	"runtime/debug"
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
//	GOGC = 100 * (GOMEMLIMIT/2 - 32 MiB) / 32 MiB, within 50 and 400
//
// Without work about 32 MiB live. They may grow to half of the limit before the
// first collection, but not by more than four times: beyond that fewer
// collections save little, and memory that was touched once stays taken.
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

func gcPercent(limit int64) int {
	return int(min(max(100*(limit/2-memoryIdle)/memoryIdle, 50), 400))
}

// boundMemory sets both for the process, except what the operator set in the
// environment.
func boundMemory(c *Config, env func(string) (string, bool), log *slog.Logger) {
	limit := memoryLimit(c)
	if _, set := env("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(limit)
		log.Info("GOMEMLIMIT follows from the configuration", "bytes", limit)
	}
	if _, set := env("GOGC"); !set {
		debug.SetGCPercent(gcPercent(limit))
	}
}
