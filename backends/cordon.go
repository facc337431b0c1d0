package backends

import (
	"context"
	"fmt"
	"time"
)

// Cordon keeps new work from a backend until Uncordon; what runs there goes on.
// Where no other backend can take it, what waits gets ErrUnavailable. Without
// such a backend it returns ErrUnknownBackend, as the others do.
func (p *Pool) Cordon(name string) error {
	_, err := p.cordon(name, true)
	return err
}

// Uncordon lets a backend have new work again.
func (p *Pool) Uncordon(name string) error {
	_, err := p.cordon(name, false)
	return err
}

// Drain cordons a backend and returns when nothing runs on it any more, or
// ctx's cause when ctx ends before. The cordon stays in either case.
func (p *Pool) Drain(ctx context.Context, name string) error {
	b, err := p.cordon(name, true)
	if err != nil {
		return err
	}
	return p.until(ctx, func() bool { return p.inFlight(b) == 0 })
}

func (p *Pool) cordon(name string, on bool) (*backend, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.named(name)
	if b == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownBackend, name)
	}
	p.apply(p.balancer.Cordon(time.Now(), b.id, on))
	return b, nil
}

// inFlight counts what runs on b. p.mu is held.
func (p *Pool) inFlight(b *backend) int {
	for _, be := range p.balancer.Status(time.Now()).Backends {
		if be.Name == b.id {
			return be.InFlight
		}
	}
	return 0
}
