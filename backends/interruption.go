package backends

import "sync"

// interruption ends an attempt from outside: because its caller's context has
// ended, because it is moved, or because it takes too long. Whatever the attempt
// is using at that moment is closed, and what then fails, fails for this cause.
//
// It stands where a derived context would, which would cost more than the rest
// of a small request's bookkeeping.
type interruption struct {
	mu    sync.Mutex
	cause error
	end   func()
}

// interrupt ends the attempt. The first cause counts.
func (i *interruption) interrupt(cause error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cause != nil {
		return
	}
	i.cause = cause
	if i.end != nil {
		i.end()
	}
}

// using says what end is for from now on; nil: for nothing. It reports false
// where the attempt was interrupted already; end has been called then.
func (i *interruption) using(end func()) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cause != nil && end != nil {
		end()
	}
	i.end = end
	return i.cause == nil
}

// interrupted is the cause, nil while there is none.
func (i *interruption) interrupted() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cause
}
