package auth_test

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/ulule/limiter/v3"

	"ocrmux/auth"
	"ocrmux/auth/authtest"
)

func TestMemoryStore_KeepsTheContract(t *testing.T) {
	authtest.RunStore(t, func(_ *testing.T, now func() time.Time) auth.Store { return auth.NewMemoryStore(now) })
}

func TestMemoryStore_ForgetsIdleLimits(t *testing.T) {
	clock := authtest.NewClock()
	store := auth.NewMemoryStore(clock.Now)
	rate := limiter.Rate{Period: time.Minute, Limit: 1}
	base := heapBytes()
	for round := range 20 {
		for i := range 2000 {
			if _, err := store.Get(context.Background(), strconv.Itoa(round*2000+i), rate); err != nil {
				t.Fatal(err)
			}
		}
		clock.Advance(61 * time.Second)
	}
	// 40,000 limits came and went; 2,000 at a time cost about 1.4 MB.
	grown := heapBytes() - base
	runtime.KeepAlive(store)
	if grown > 4<<20 {
		t.Errorf("%d bytes are held for limits that are idle", grown)
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
