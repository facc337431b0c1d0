package cache

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxPending bounds the results that wait for the disk, in bytes as charged.
const maxPending = 16 << 20

// Tiered is a store in memory with one on disk behind it. A value goes to
// memory at once and to the disk a little later, by Run; what is found on disk
// comes back into memory. Where the disk cannot follow, its writes are left out
// and counted, and nobody waits for it.
type Tiered struct {
	first  *LRU
	second *Disk
	wake   chan struct{} // has room for one: there is something to write

	writing sync.Mutex // held while results are on their way to the disk; taken before mu

	mu      sync.Mutex
	pending map[Key]*entry // guarded by mu; until they are on disk
	order   []Key          // guarded by mu; those of pending that nobody is writing
	bytes   int64          // guarded by mu; the sum of charge over pending
	changes int            // guarded by mu; how often Put and Delete changed what is to be found
}

// NewTiered puts first before second. Both should have the same TTL.
func NewTiered(first *LRU, second *Disk) *Tiered {
	return &Tiered{first: first, second: second, wake: make(chan struct{}, 1), pending: make(map[Key]*entry)}
}

// Run writes to the disk until ctx ends, and then what is left.
func (t *Tiered) Run(ctx context.Context) {
	for {
		select {
		case <-t.wake:
			t.flush()
		case <-ctx.Done():
			t.flush()
			return
		}
	}
}

// Close writes what is left and closes the disk.
func (t *Tiered) Close() error {
	t.flush()
	return t.second.Close()
}

// Get returns the value stored under k and how long ago it was stored, and
// whether there is one in either tier. It must not be changed.
func (t *Tiered) Get(_ context.Context, k Key) (value []byte, age time.Duration, ok bool, err error) {
	e, ok := t.find(k)
	t.first.metrics.count(ok)
	if !ok {
		return nil, 0, false, nil
	}
	return e.value, t.first.age(e), true, nil
}

func (t *Tiered) find(k Key) (e *entry, ok bool) {
	if e, ok := t.first.find(k); ok {
		return e, true
	}
	t.mu.Lock()
	e, ok = t.pending[k]
	changes := t.changes
	t.mu.Unlock()
	if ok { // newer than what the disk has
		return e, t.first.sound(k, e)
	}
	h, value, ok := t.second.read(k)
	if !ok {
		return nil, false
	}
	e = newEntry(k, value, h.label, h.stored)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changes == changes { // else it may have been deleted or replaced while it was read
		t.first.restore(k, e)
	}
	return e, true
}

// Put stores a copy of value under k in memory and, later, on disk. It returns
// ErrTooLarge where it is too large for both.
func (t *Tiered) Put(_ context.Context, k Key, value []byte, tenant, model string) error {
	e := newEntry(k, value, label{tenant, model}, t.first.now())
	behind := t.enqueue(k, e)
	if err := t.first.put(k, e); !behind {
		return err
	}
	return nil
}

// enqueue has e written, unless it is too large or too much is waiting already:
// then nothing older than it is found behind memory any more.
func (t *Tiered) enqueue(k Key, e *entry) bool {
	fits := t.second.fits(headOf(k, e))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes++
	old := t.pending[k]
	bytes := t.bytes + e.charge()
	if old != nil {
		bytes -= old.charge()
	}
	switch {
	case !fits:
		t.second.metrics.tooLarge.Inc()
	case bytes > maxPending:
		t.second.metrics.queueDrops.Inc()
	default:
		t.pending[k], t.bytes = e, bytes
		if old == nil {
			t.order = append(t.order, k)
		}
		select {
		case t.wake <- struct{}{}:
		default: // it will look anyway
		}
		return true
	}
	if t.settle(k, old) {
		t.order = slices.DeleteFunc(t.order, func(o Key) bool { return o == k })
	}
	t.second.unindex(short(k))
	return false
}

// settle takes e out of pending, if it is what waits there. The caller holds mu.
func (t *Tiered) settle(k Key, e *entry) bool {
	if e == nil || t.pending[k] != e {
		return false
	}
	delete(t.pending, k)
	t.bytes -= e.charge()
	return true
}

// flush writes until nothing waits.
func (t *Tiered) flush() {
	for more := true; more; {
		t.writing.Lock()
		more = t.write()
		t.writing.Unlock()
	}
}

// write writes what waits now and reports whether that was anything. The caller
// holds writing.
func (t *Tiered) write() bool {
	batch := t.take()
	if len(batch) == 0 {
		return false
	}
	_ = t.second.store(batch) // counts and tells what it cannot store
	t.written(batch)
	return true
}

// written takes batch out of what waits.
func (t *Tiered) written(batch []result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range batch {
		switch {
		case t.settle(r.key, r.entry):
		case t.pending[r.key] != nil: // replaced while it was being written
			t.order = append(t.order, r.key)
		default: // superseded, by what is not to be on disk
			t.second.unindex(short(r.key))
		}
	}
}

// take returns all that waits. It stays in pending, where it is found, until it
// is on disk.
func (t *Tiered) take() (batch []result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.order {
		batch = append(batch, result{k, t.pending[k]})
	}
	t.order = nil
	return batch
}

// Delete removes what was stored for tenant from model in both tiers and
// returns how many values that were. An empty name stands for any.
func (t *Tiered) Delete(_ context.Context, tenant, model string) (n int, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.write()                     // so that nothing is on its way, nor older than what is
	gone := make(map[uint64]bool) // at most what fits into memory
	t.first.delete(tenant, model, func(k Key) { gone[short(k)] = true })
	err = t.second.delete(tenant, model, func(id uint64) {
		if !gone[id] {
			n++
		}
	})
	t.mu.Lock()
	t.changes++
	t.mu.Unlock()
	t.first.delete(tenant, model, func(Key) {}) // what came back before the disk forgot it
	return len(gone) + n, err
}

// Resize sets other bounds for both tiers, and lets go at once of what is beyond them.
func (t *Tiered) Resize(maxBytes, maxDiskBytes int64, ttl time.Duration) error {
	t.first.Resize(maxBytes, ttl)
	return t.second.Resize(maxDiskBytes, ttl)
}
