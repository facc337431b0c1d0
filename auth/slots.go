package auth

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
)

// maxWaiting bounds the line in front of one scope's slots.
const maxWaiting = 1024

var errSlotsTaken = errors.New("all slots are taken")

// slots counts the requests in progress of one scope, and keeps the line of those that wait for a slot. Whoever
// gets one releases it once.
type slots struct {
	mu    sync.Mutex
	taken int
	line  list.List // of *waiter, first come first
}

type waiter struct {
	limit int
	ready chan struct{} // closed when the slot is the waiter's
}

// take takes a slot under limit, 0 being no limit, where one is free.
func (s *slots) take(limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := limit <= 0 || s.taken < limit && s.line.Len() == 0
	if free {
		s.taken++
	}
	return free
}

// wait takes a slot, in line where none is free, until ctx ends. It returns
// errSlotsTaken where the line is full.
func (s *slots) wait(ctx context.Context, limit int) error {
	if s.take(limit) {
		return nil
	}
	s.mu.Lock()
	if s.line.Len() >= maxWaiting {
		s.mu.Unlock()
		return errSlotsTaken
	}
	w := &waiter{limit: limit, ready: make(chan struct{})}
	place := s.line.PushBack(w)
	s.serve() // one may have become free in between
	s.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	select {
	case <-w.ready: // the slot came while ctx ended
		s.mu.Unlock()
		s.release()
	default:
		s.line.Remove(place)
		s.serve() // the next in line may have a higher limit
		s.mu.Unlock()
	}
	return fmt.Errorf("waiting for a request in progress to end: %w", context.Cause(ctx))
}

// release gives a slot back, and on to the next in line.
func (s *slots) release() {
	s.mu.Lock()
	s.taken--
	s.serve()
	s.mu.Unlock()
}

// serve gives free slots to the line. The caller holds mu.
func (s *slots) serve() {
	for first := s.line.Front(); first != nil; first = s.line.Front() {
		w := first.Value.(*waiter)
		if s.taken >= w.limit {
			return
		}
		s.taken++
		s.line.Remove(first)
		close(w.ready)
	}
}

// held is how many are taken.
func (s *slots) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// idle reports whether nobody has a slot or waits for one.
func (s *slots) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken == 0 && s.line.Len() == 0
}
