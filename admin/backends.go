package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// A drain waits defaultDrain unless it is asked otherwise, and maxDrain at most.
const (
	defaultDrain = 30 * time.Second
	maxDrain     = 10 * time.Minute
)

func (s *server) listBackends(*call) (any, error) {
	pools := []backends.Status{}
	for _, p := range s.deps.Pools() {
		pools = append(pools, p.Status())
	}
	return map[string]any{"pools": pools}, nil
}

func (s *server) cordon(c *call) (any, error) { return s.turnBackend(c, (*backends.Pool).Cordon) }

func (s *server) uncordon(c *call) (any, error) { return s.turnBackend(c, (*backends.Pool).Uncordon) }

func (s *server) turnBackend(c *call, turn func(p *backends.Pool, name string) error) (any, error) {
	c.names("backend", c.PathValue("name"))
	pool, backend, err := s.onBackend(c, turn)
	return map[string]any{"pool": pool, "backend": backend}, err
}

// drain cordons a backend and says how much of its work was left at the end of
// the wait. The cordon stays either way.
func (s *server) drain(c *call) (any, error) {
	c.names("backend", c.PathValue("name"))
	wait := defaultDrain
	if text := c.query["timeout"]; text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxDrain {
			return nil, compat.Invalid("timeout", "", fmt.Sprintf("The query parameter \"timeout\" must be a duration such as 30s, and at most %s.", maxDrain))
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), wait)
	defer cancel()
	pool, backend, err := s.onBackend(c, func(p *backends.Pool, name string) error {
		if err := p.Drain(ctx, name); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	if err == nil {
		c.names("in_flight", strconv.Itoa(backend.InFlight))
	}
	return map[string]any{"pool": pool, "backend": backend, "in_flight": backend.InFlight, "drained": backend.InFlight == 0}, err
}

// onBackend does something with the backend that the path names, whose name no
// other pool has, and returns its pool's name and how it is afterwards.
func (s *server) onBackend(c *call, do func(p *backends.Pool, name string) error) (pool string, status backends.BackendStatus, err error) {
	name := c.PathValue("name")
	for _, p := range s.deps.Pools() {
		err := do(p, name)
		if errors.Is(err, backends.ErrUnknownBackend) {
			continue
		}
		now := p.Status()
		for _, be := range append(now.Backends, now.Leaving...) {
			if be.Name == name {
				return now.Pool, be, err
			}
		}
		return now.Pool, backends.BackendStatus{Name: name}, cmp.Or(err, error(notFound("backend_not_found", "The backend has left the configuration.")))
	}
	return "", backends.BackendStatus{}, notFound("backend_not_found", fmt.Sprintf("There is no backend %q.", clip(name, 100)))
}
