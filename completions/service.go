// Package completions answers one exchange with a model, whoever asked.
//
// A route hands over a Request: a client's own body, or a page that the gateway
// was sent. Service finds the model and adds what its recipe says and the client
// left out. Whole waits for the complete answer; Stream hands out events while
// they come. Nothing in here knows HTTP.
//
// Where the answer can only be one, the cache may have it, and those who ask
// while it is made share it: an upstream answer in progress is a flight, which
// one pump records as the pool of backends gives it, and which any number of
// Streams read. Other requests have a flight of their own, or none where a
// backend's body is passed on as it is.
package completions

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	Cache    Cache             // nil: answers are neither remembered nor shared
	Digest   Digest            // of images; nil: SHA-256
	Log      *slog.Logger
}

// Service is safe for concurrent use.
type Service struct {
	models map[string]*Model // by name and by alias
	listed []*Model
	deps   Deps

	flights *flights
}

// New checks that every model has a pool and that no name means two models.
func New(cfg Config, deps Deps) (*Service, error) {
	s := &Service{models: make(map[string]*Model), deps: deps, flights: newFlights()}
	if deps.Digest == nil {
		s.deps.Digest = plainDigest{}
	}
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

// Close ends all shared work in progress because of cause, and waits for it. It
// is called when no request is left that somebody waits for.
func (s *Service) Close(cause error) { s.flights.close(cause) }

// Whole returns the complete answer: a remembered one, or one that a backend has
// ended, for this request or for an equal one. What is not an error is filled as
// far as the exchange came, also with an error.
func (s *Service) Whole(ctx context.Context, r *Request) (*Answer, error) {
	if key, ok := s.key(r); ok {
		return s.board(ctx, key, r, true).whole()
	}
	c := &collector{stream: r.Page != nil, guard: r.guard()}
	a := &Answer{}
	var err error
	a.Receipt, err = s.do(ctx, r, c.stream, c)
	a.Away = a.Receipt.Queue + a.Receipt.Busy
	if err != nil && !errors.Is(err, errCut) {
		return a, err
	}
	c.into(a)
	return a, nil
}

// Stream begins an answer whose events are read while they come. It returns at
// once; errors are told by Await and Next.
func (s *Service) Stream(ctx context.Context, r *Request) *Stream {
	if key, ok := s.key(r); ok {
		return s.board(ctx, key, r, false)
	}
	f := newFlight(r)
	st := &f.first
	st.init(ctx, r)
	f.add(st)
	ctx, f.cancel = context.WithCancelCause(ctx)
	go func() {
		receipt, err := s.pump(ctx, r, f)
		f.end(receipt, err, nil)
	}()
	return st
}

// board makes r's caller a reader of the flight for key, and sees to it that
// there is one.
func (s *Service) board(ctx context.Context, key [32]byte, r *Request, waits bool) *Stream {
	st := s.flights.board(ctx, key, r, waits)
	if st.opened {
		s.launch(ctx, st.flight, r)
	}
	return st
}

// launch answers a new flight from the cache, or sends it to a backend.
func (s *Service) launch(ctx context.Context, f *flight, r *Request) {
	var remembered *Answer
	err := s.catch(func() error {
		if r.Control != NoCache {
			remembered = s.recall(ctx, f.shared.key)
		}
		return nil
	})
	var work context.Context
	if err == nil && remembered == nil {
		work, err = s.flights.depart(f)
	}
	if err != nil || remembered != nil {
		s.flights.land(f)
		f.end(backends.Receipt{}, err, remembered)
		return
	}
	go func() {
		defer s.flights.pumps.Done()
		s.fly(work, f, *r)
	}()
}

// fly brings a shared flight to its end. What it leaves behind is in the cache
// before it is no longer among the flights, and it is not among them any more
// when somebody learns that it has failed.
func (s *Service) fly(ctx context.Context, f *flight, r Request) {
	defer f.cancel(nil)
	r.flight, r.QueueFor = f, unbounded
	receipt, err := s.pump(ctx, &r, f)
	var answer *Answer
	if err == nil {
		answer = f.collected()
		if s.flights.arrive(f) {
			_ = s.catch(func() error { s.remember(ctx, &r, f.shared.key, answer); return nil })
		}
	}
	s.flights.land(f)
	if f.end(receipt, err, answer) && r.Account != nil {
		_ = s.catch(func() error { r.Account(receipt); return nil })
	}
}

// pump lets the pool write f's record.
func (s *Service) pump(ctx context.Context, r *Request, f *flight) (receipt backends.Receipt, err error) {
	err = s.catch(func() (err error) {
		receipt, err = s.do(ctx, r, true, f)
		return err
	})
	if errors.Is(err, errCut) {
		err = nil
	}
	return receipt, err
}

// do sends r to its model's pool, or to the fallback where the first has nobody.
// Both together get the time that r may wait for a slot.
func (s *Service) do(ctx context.Context, r *Request, stream bool, sink backends.Sink) (backends.Receipt, error) {
	pool := s.deps.Pools[r.Model.Pool]
	first, err := pool.Do(ctx, s.outgoing(r, pool, stream), sink)
	fallback := s.fallback(r.Model)
	if !errors.Is(err, backends.ErrUnavailable) || fallback == nil {
		return first, err
	}
	rest := *r
	rest.QueueFor = max(0, r.QueueFor-first.Queue)
	receipt, err := fallback.Do(ctx, s.outgoing(&rest, fallback, stream), sink)
	receipt.Queue += first.Queue
	receipt.Busy += first.Busy
	return receipt, err
}

func (s *Service) outgoing(r *Request, pool Pool, stream bool) *backends.Request {
	class := balancer.Interactive
	if r.Batch {
		class = balancer.Batch
	}
	out := &backends.Request{
		Dialect:  r.Dialect,
		Body:     r.body(pool.MaxModelLen(r.Model.ServedAs), stream),
		Stream:   stream,
		Model:    r.Model.ServedAs,
		Tenant:   r.Tenant,
		Class:    class,
		Weight:   r.Weight,
		Cost:     r.Cost,
		QueueFor: r.QueueFor,
	}
	if r.flight != nil {
		out.Body, out.Urgent = sending{out.Body, r.flight}, r.flight.shared.urgent
	}
	return out
}

// sending is the body of a shared flight, which learns from it that an attempt
// begins.
type sending struct {
	backends.Body
	flight *flight
}

func (b sending) Open() io.ReadCloser {
	b.flight.sending()
	return b.Body.Open()
}

// Answer is a complete answer and how it came about.
type Answer struct {
	JSON    []byte       // the whole body for a client's request: the backend's, or made of what follows
	Text    string       // of the first choice; empty where nobody needed it decoded
	Finish  string       // finish_reason of the first choice
	Usage   compat.Usage // zero where the answer was cut
	Quality Quality
	Cache   CacheState
	Age     time.Duration    // of a remembered answer
	Away    time.Duration    // passed in the queue and at the backends, or with another's flight
	Receipt backends.Receipt // see Request.Account
	Ongoing bool             // r opened a flight that goes on without it: Request.Account is still to be called
}
