// Package cache stores results: bytes under a fixed-size key, bounded in bytes
// and in age. It knows nothing of what it stores.
//
// LRU is the store of one process. Put copies a value and adds a checksum; Get
// checks it and hands the value out, so that a damaged value is a miss and
// never an answer. When the budget is spent, the values that nobody has asked
// for longest make room. Disk is slower, keeps what a process leaves behind and
// lets go of what was stored first. Tiered puts the one before the other.
package cache

import (
	"errors"
	"time"
)

// Key names a result. It is a digest: whoever builds it makes sure that it
// covers everything that makes results differ.
type Key = [32]byte

// Overhead is what an entry is charged beyond its value, in bytes: key, list
// element and map slot, 222 as measured with 100,000 entries, and some for a map
// that has just grown.
const Overhead = 256

// maxShare is the part of the budget that one value may take, as a divisor: a
// value above an eighth would cost every eighth result its place for one.
const maxShare = 8

// ErrTooLarge says that a value is too large for the store and was not stored.
// Nothing is wrong with the value: the caller carries on without the cache.
var ErrTooLarge = errors.New("value is too large for the cache")

// Config bounds a store.
type Config struct {
	// MaxBytes bounds the values and Overhead for each of them. One entry may
	// take an eighth of it. At 0 nothing is ever stored.
	MaxBytes int64
	// TTL is how long a value is handed out. 0 sets no bound.
	TTL time.Duration
	// Now is the clock, time.Now where nil.
	Now func() time.Time
}
