package gateway

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// memory bounds the bytes of request bodies that are held at once. Who finds no
// room waits before its body is read, so that TCP holds the client back.
//
// An eighth is kept for short bodies and the beginnings of long ones. So nobody
// with a short request waits behind long ones, and whoever announces a long body
// must have sent some of it before the rest is set aside for them.
type memory struct {
	short, long room
	limit       int64
	held        *atomic.Int64 // by this and earlier ones
}

type room struct {
	all  *memory
	size int64
	free *semaphore.Weighted
}

func newMemory(limit int64, held *atomic.Int64) *memory {
	m := &memory{limit: limit, held: held}
	m.short = room{m, limit / 8, semaphore.NewWeighted(limit / 8)}
	m.long = room{m, limit - limit/8, semaphore.NewWeighted(limit - limit/8)}
	return m
}

// share is memory that is held; the zero value is none.
type share struct {
	room  *room
	bytes int64
}

// take waits for n bytes, in the order of arrival, until ctx ends. What is
// larger than all there is counts as all there is.
func (r *room) take(ctx context.Context, n int64) (sh share, err error) {
	sh = share{r, min(n, r.size)}
	if err := r.free.Acquire(ctx, sh.bytes); err != nil {
		return share{}, err
	}
	r.all.held.Add(sh.bytes)
	return sh, nil
}

// try takes n bytes if they are there and nobody waits.
func (r *room) try(n int64) (share, bool) {
	n = min(n, r.size)
	if !r.free.TryAcquire(n) {
		return share{}, false
	}
	r.all.held.Add(n)
	return share{r, n}, true
}

// keep gives back all but n bytes.
func (sh *share) keep(n int64) {
	if back := sh.bytes - n; back > 0 {
		sh.bytes = n
		sh.room.all.held.Add(-back)
		sh.room.free.Release(back)
	}
}
