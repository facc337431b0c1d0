// Package completions answers one exchange with a model, whoever asked.
//
// A route hands over a Request: a client's own body, or a page that the gateway
// was sent. Service finds the model, adds what its recipe says and the client
// left out, looks into the cache where the answer can only be one, and lets a
// pool of backends do the rest. Whole waits for the complete answer; Stream
// hands out events while they come. Nothing in here knows HTTP.
package completions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ocrmux/backends"
	"ocrmux/balancer"
	"ocrmux/compat"
)

// Pool is what Service needs of a backends.Pool.
type Pool interface {
	Do(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error)
	MaxModelLen(model string) int
	Usable(model string) bool
}

// Cache remembers encoded results. An error is a miss that is worth a log line.
type Cache interface {
	Get(ctx context.Context, key [32]byte) (value []byte, age time.Duration, ok bool, err error)
	Put(ctx context.Context, key [32]byte, value []byte, tenant, model string) error
}

// Config names the models.
type Config struct {
	Models []Model
}

// Deps are the rooms below.
type Deps struct {
	Pools    map[string]Pool   // by name
	Fallback map[string]string // pool that is asked where no backend of the first one is usable
	Cache    Cache             // nil: results are not remembered
	Log      *slog.Logger
}

// Service is safe for concurrent use.
type Service struct {
	models map[string]*Model // by name and by alias
	listed []*Model
	deps   Deps
}

// New checks that every model has a pool and that no name means two models.
func New(cfg Config, deps Deps) (*Service, error) {
	s := &Service{models: make(map[string]*Model), deps: deps}
	for i := range cfg.Models {
		m := &cfg.Models[i]
		if deps.Pools[m.Pool] == nil {
			return nil, fmt.Errorf("model %q: there is no pool %q", m.Name, m.Pool)
		}
		if err := m.prepare(); err != nil {
			return nil, fmt.Errorf("model %q: %w", m.Name, err)
		}
		for _, name := range m.Names() {
			if s.models[name] != nil {
				return nil, fmt.Errorf("the model name %q stands for two models", name)
			}
			s.models[name] = m
		}
		s.listed = append(s.listed, m)
	}
	return s, nil
}

// Models returns the models in the order of the configuration.
func (s *Service) Models() []*Model { return s.listed }

// Model finds a model by its name or one of its aliases; nil where there is none.
func (s *Service) Model(name string) *Model { return s.models[name] }

// Usable reports whether a backend could take work for m now.
func (s *Service) Usable(m *Model) bool {
	return s.deps.Pools[m.Pool].Usable(m.ServedAs) || (s.fallback(m) != nil && s.fallback(m).Usable(m.ServedAs))
}

func (s *Service) fallback(m *Model) Pool { return s.deps.Pools[s.deps.Fallback[m.Pool]] }

// Whole returns the complete answer: from the cache, or from a backend that has
// ended it. The receipt is filled as far as the exchange came, also with an error.
func (s *Service) Whole(ctx context.Context, r *Request) (*Answer, error) {
	key, state := s.key(r)
	if state == Miss {
		if a := s.recall(ctx, key); a != nil {
			return a, nil
		}
	}
	c := &collector{stream: r.Page != nil, text: state != Bypass, guard: r.guard()}
	a := &Answer{Cache: state}
	var err error
	a.Receipt, err = s.do(ctx, r, c.stream, c)
	if err != nil && !errors.Is(err, errCut) {
		return a, err
	}
	c.into(a)
	if state != Bypass {
		s.remember(ctx, r, key, a)
	}
	return a, nil
}

// do sends r to its model's pool, or to the fallback where the first has nobody.
// Both together get the time that r may wait for a slot.
func (s *Service) do(ctx context.Context, r *Request, stream bool, sink backends.Sink) (backends.Receipt, error) {
	pool := s.deps.Pools[r.Model.Pool]
	receipt, err := pool.Do(ctx, s.outgoing(r, pool, stream), sink)
	fallback := s.fallback(r.Model)
	if !errors.Is(err, backends.ErrUnavailable) || fallback == nil {
		return receipt, err
	}
	waited := receipt.Queue
	rest := *r
	rest.QueueFor = max(0, r.QueueFor-waited)
	receipt, err = fallback.Do(ctx, s.outgoing(&rest, fallback, stream), sink)
	receipt.Queue += waited
	return receipt, err
}

func (s *Service) outgoing(r *Request, pool Pool, stream bool) *backends.Request {
	class := balancer.Interactive
	if r.Batch {
		class = balancer.Batch
	}
	return &backends.Request{
		Dialect:  r.Dialect,
		Body:     r.body(pool.MaxModelLen(r.Model.ServedAs), stream),
		Stream:   stream,
		Model:    r.Model.ServedAs,
		Tenant:   r.Tenant,
		Class:    class,
		Weight:   r.Weight,
		QueueFor: r.QueueFor,
	}
}

// Answer is a complete answer and how it came about.
type Answer struct {
	JSON    []byte       // the backend's whole body; nil where the answer was collected from a stream
	Text    string       // of the first choice; empty where nobody needed it decoded
	Finish  string       // finish_reason of the first choice
	Usage   compat.Usage // zero where the answer was cut
	Quality Quality
	Receipt backends.Receipt
	Cache   CacheState
	Age     time.Duration // of a remembered answer
}
