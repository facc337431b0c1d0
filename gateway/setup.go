package gateway

import (
	"sync/atomic"

	"ocrmux/backends"
	"ocrmux/completions"
	"ocrmux/fetch"
)

// setup is all that a reload may change, in one piece that itself is never
// changed. An exchange takes the one in force when it is opened and keeps it to
// its end, so that no request is treated by two configurations.
type setup struct {
	cfg       Config
	service   *completions.Service
	pools     []*backends.Pool
	fetcher   *fetch.Fetcher // nil: image URLs are refused
	memory    *memory
	images    *imageMemory // where image URLs are fetched
	maxImages int          // of the model that takes most

	// users counts the exchanges, the server while this is in force, and the
	// setup before this one while that has users: so one that has none is the
	// oldest, too. It never grows again from 0.
	users atomic.Int64
	next  *setup // written before the server lets go of this one
	ended chan struct{}
}

// Apply puts a configuration in force for all requests whose head comes from now
// on, as a whole; those in progress end as they have begun. The channel is closed
// when the last of these has ended: from then on nobody calls what was replaced.
//
// Memory for bodies that changes its size is new memory: until then both count.
func (s *Server) Apply(cfg Config, service *completions.Service, pools []*backends.Pool, images *fetch.Fetcher) (ended <-chan struct{}) {
	cfg.fill()
	c := &setup{cfg: cfg, service: service, pools: pools, fetcher: images, maxImages: 1, ended: make(chan struct{})}
	for _, m := range service.Models() {
		c.maxImages = max(c.maxImages, m.Recipe.MaxImages)
	}
	before := s.setup.Load()
	c.inherit(before)
	s.buffers.garbage.Store(cfg.BodiesBytes / 4)
	c.users.Store(1)
	if before == nil {
		s.setup.Store(c)
		return c.ended
	}
	c.users.Add(1)
	before.next = c
	s.setup.Store(c)
	before.leave()
	return before.ended
}

// inherit takes over the memory of the setup before, where it stays as large.
func (c *setup) inherit(before *setup) {
	images := int64(0)
	if c.fetcher != nil {
		images = c.cfg.BodiesBytes / 4
	}
	bodies := c.cfg.BodiesBytes - images
	switch {
	case before == nil:
		c.memory, c.images = newMemory(bodies, new(atomic.Int64)), newImageMemory(images, new(atomic.Int64))
	case before.memory.limit == bodies && before.images.size == images:
		c.memory, c.images = before.memory, before.images
	default:
		c.memory, c.images = newMemory(bodies, before.memory.held), newImageMemory(images, before.images.held)
	}
}

// enter returns the setup in force, for an exchange that will leave it.
func (s *Server) enter() *setup {
	for {
		c := s.setup.Load()
		for n := c.users.Load(); n > 0; n = c.users.Load() {
			if c.users.CompareAndSwap(n, n+1) {
				return c
			}
		} // it was replaced in between, and nobody was left
	}
}

// leave ends one use. The last one ends the setup, and its use of the next.
func (c *setup) leave() {
	for c != nil && c.users.Add(-1) == 0 {
		close(c.ended)
		c = c.next
	}
}
