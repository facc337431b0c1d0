// Package cache stores results: bytes under a fixed-size key, bounded in bytes
// and in age. It knows nothing of what it stores.
package cache

import (
	"context"
	"time"
)

// Key names a result. It is a digest: whoever builds it makes sure that it covers all that makes results differ.
type Key [32]byte

/*
LRU over hashicorp/golang-lru/v2/simplelru:
type Config struct { MaxBytes int64; TTL time.Duration }
func New(cfg Config, reg prometheus.Registerer) *LRU   (clock injectable)
func (c *LRU) Get(ctx context.Context, k Key) (value []byte, age time.Duration, ok bool, err error)
func (c *LRU) Put(ctx context.Context, k Key, value []byte) error
*/
var _ = context.Background
var _ time.Duration
