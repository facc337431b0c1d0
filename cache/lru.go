package cache

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
)

// LRU is a store in memory. Its methods may be called at the same time and
// never return an error but ErrTooLarge.
type LRU struct {
	now     func() time.Time
	ttl     atomic.Int64 // a time.Duration
	metrics *metrics

	mu       sync.Mutex
	maxBytes int64                       // guarded by mu
	entries  *simplelru.LRU[Key, *entry] // guarded by mu
	bytes    int64                       // guarded by mu; the sum of charge over entries
}

// entry is never changed once it is stored.
type entry struct {
	value    []byte
	checksum uint32
	stored   time.Time
	label    unique.Handle[label] // held once for all entries that share it
}

// label says whose result an entry is and which model's.
type label struct{ tenant, model string }

// within reports whether l is one of those that tenant and model name; an empty
// name stands for any.
func (l label) within(tenant, model string) bool {
	return (tenant == "" || tenant == l.tenant) && (model == "" || model == l.model)
}

// newEntry copies value without spare capacity: what is charged is what is held,
// and the caller may use its buffer again.
func newEntry(k Key, value []byte, l label, stored time.Time) *entry {
	held := append(make([]byte, 0, len(value)), value...)
	return &entry{value: held, checksum: checksum(k, value), stored: stored, label: unique.Make(l)}
}

func (e *entry) charge() int64 { return int64(len(e.value)) + Overhead }

// New returns an empty store whose metrics are registered on reg, unless that is nil.
func New(cfg Config, reg prometheus.Registerer) *LRU {
	// The count is unbounded because the bytes are not: Overhead makes even
	// empty values cost something.
	entries, err := simplelru.NewLRU[Key, *entry](math.MaxInt, nil)
	if err != nil {
		panic(err) // only a size of 0 or less is refused
	}
	c := &LRU{maxBytes: cfg.MaxBytes, now: cfg.Now, entries: entries}
	c.ttl.Store(int64(cfg.TTL))
	if c.now == nil {
		c.now = time.Now
	}
	c.metrics = newMetrics(reg, c)
	return c
}

// Get returns the value stored under k and how long ago it was stored, and
// whether there is one. The value is shared with other callers and must not be
// changed; a change would be noticed, and turn the entry into a miss.
func (c *LRU) Get(_ context.Context, k Key) (value []byte, age time.Duration, ok bool, err error) {
	e, ok := c.find(k)
	c.metrics.count(ok)
	if !ok {
		return nil, 0, false, nil
	}
	return e.value, c.age(e), true, nil
}

// find returns the entry of k, where there is a sound and young one.
func (c *LRU) find(k Key) (e *entry, ok bool) {
	c.mu.Lock()
	e, found := c.entries.Get(k)
	c.mu.Unlock()
	if !found || !c.sound(k, e) {
		return nil, false
	}
	return e, true
}

// sound reports whether e may answer for k, and drops it where it may not.
func (c *LRU) sound(k Key, e *entry) bool {
	if ttl := time.Duration(c.ttl.Load()); ttl > 0 && c.age(e) >= ttl {
		c.drop(k, e, c.metrics.expired)
		return false
	}
	if checksum(k, e.value) != e.checksum { // outside the lock: a large value takes microseconds
		c.drop(k, e, c.metrics.corrupt)
		return false
	}
	return true
}

func (c *LRU) age(e *entry) time.Duration { return max(0, c.now().Sub(e.stored)) }

// Put stores a copy of value under k in place of what was there, as a result of
// tenant's from model, by which Delete finds it. It returns ErrTooLarge where the
// value would take more than an eighth of the budget; what was stored under k is
// gone then too, because it is no longer the newest result.
func (c *LRU) Put(_ context.Context, k Key, value []byte, tenant, model string) error {
	return c.put(k, newEntry(k, value, label{tenant, model}, c.now()))
}

func (c *LRU) put(k Key, e *entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.entries.Peek(k); ok {
		c.remove(k, old)
	}
	if !c.add(k, e) {
		c.metrics.rejections.Inc()
		return ErrTooLarge
	}
	return nil
}

// add stores e under k, where there is nothing, unless it is too large. The
// caller holds mu.
func (c *LRU) add(k Key, e *entry) bool {
	if e.charge() > c.maxBytes/maxShare {
		return false
	}
	c.entries.Add(k, e)
	c.bytes += e.charge()
	c.makeRoom()
	return true
}

// restore stores e, which was stored before, unless something newer is there.
func (c *LRU) restore(k Key, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.entries.Contains(k) {
		c.add(k, e)
	}
}

// Delete removes what was stored for tenant from model and returns how many
// values that were. An empty name stands for any: two of them empty the store.
func (c *LRU) Delete(_ context.Context, tenant, model string) (n int, err error) {
	c.delete(tenant, model, func(Key) { n++ })
	return n, nil
}

func (c *LRU) delete(tenant, model string, gone func(Key)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.entries.Keys() {
		if e, ok := c.entries.Peek(k); ok && e.label.Value().within(tenant, model) {
			c.remove(k, e)
			c.metrics.deleted.Inc()
			gone(k)
		}
	}
}

// Resize sets other bounds, and lets go at once of what is beyond maxBytes. What
// is older than ttl goes when somebody asks for it.
func (c *LRU) Resize(maxBytes int64, ttl time.Duration) {
	c.ttl.Store(int64(ttl))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.maxBytes = maxBytes
	c.makeRoom()
}

// makeRoom removes the entries that nobody has asked for longest, until the
// rest is within the budget. The caller holds mu.
func (c *LRU) makeRoom() {
	for c.bytes > c.maxBytes && c.entries.Len() > 0 {
		k, oldest, _ := c.entries.GetOldest()
		c.remove(k, oldest)
		c.metrics.space.Inc()
	}
}

// drop removes e and counts it, unless it has been replaced in the meantime.
func (c *LRU) drop(k Key, e *entry, counter prometheus.Counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if current, ok := c.entries.Peek(k); ok && current == e {
		c.remove(k, e)
		counter.Inc()
	}
}

// remove takes an entry out. The caller holds mu.
func (c *LRU) remove(k Key, e *entry) {
	c.entries.Remove(k)
	c.bytes -= e.charge()
}

// Bytes is what the entries are charged, at most MaxBytes.
func (c *LRU) Bytes() int64 {
	bytes, _ := c.size()
	return bytes
}

// size returns the bytes charged and the number of entries.
func (c *LRU) size() (bytes int64, entries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, c.entries.Len()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum begins with the key, so that a value never answers for another one.
// CRC-32C finds every single flipped bit and every burst of up to 32; it guards
// against damage, not against somebody who can write to this memory.
func checksum(k Key, value []byte) uint32 {
	var seed uint32
	for i := 0; i < len(k); i += 4 {
		seed ^= binary.LittleEndian.Uint32(k[i:])
	}
	return crc32.Update(seed, castagnoli, value)
}
