package gateway

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// memory bounds the bytes of request bodies that are held at once. Who finds no
// room waits before its body is read, so that TCP holds the client back.
type memory struct {
	room  *semaphore.Weighted
	limit int64
	held  atomic.Int64
}

func newMemory(limit int64) *memory {
	return &memory{room: semaphore.NewWeighted(limit), limit: limit}
}

// try takes n bytes if they are there and nobody waits.
func (m *memory) try(n int64) (int64, bool) {
	n = min(n, m.limit)
	if !m.room.TryAcquire(n) {
		return 0, false
	}
	m.held.Add(n)
	return n, true
}

// take waits for n bytes, in the order of arrival, until ctx ends. What is
// larger than all there is counts as all there is.
func (m *memory) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, m.limit)
	if err := m.room.Acquire(ctx, n); err != nil {
		return 0, err
	}
	m.held.Add(n)
	return n, nil
}

func (m *memory) give(n int64) {
	if n > 0 {
		m.held.Add(-n)
		m.room.Release(n)
	}
}
