package backends

import (
	"context"
	"errors"
	"io"
	"time"

	"ocrmux/balancer"
	"ocrmux/compat"
)

// Body is what is sent: it is opened once an attempt. compat.Body is one.
type Body interface {
	Size() int64
	Open() io.ReadCloser
}

// Request is one exchange with a model, whoever asked.
type Request struct {
	Dialect  compat.Dialect
	Body     Body
	Stream   bool   // the body asks for a stream
	Model    string // the name the backend serves it under
	Tenant   string
	Class    balancer.Class
	Weight   float64
	Cost     float64
	QueueFor time.Duration // longest wait for a slot
	// Urgent may be closed while the request waits, or before: it is interactive
	// from then on. nil: it stays in its Class.
	Urgent <-chan struct{}
}

// Start says where an attempt's answer comes from.
type Start struct {
	Backend  string
	Attempts int           // 1 for the first
	Queue    time.Duration // waited for a slot so far, all attempts together

	attempt *attempt
}

// Commit must be called before anybody outside sees a byte of this attempt's
// answer. True: the answer stays on its backend from now on, and what goes
// wrong is final. False: the attempt was taken off its backend and is void;
// give nothing out, Restart and another Begin follow (Take may return any error
// until then). It may be called from any goroutine, holding the sink's own
// locks, any number of times. A zero Start has nothing to commit and is true.
func (s Start) Commit() bool { return s.attempt == nil || s.attempt.commit() }

// Sink takes an answer as it arrives. Its methods are called from the
// goroutine that called Do, one at a time and never under a lock of the pool.
//
// A backend that falls silent has its uncommitted requests moved elsewhere at
// once, whatever they had received. A sink that lets somebody see the answer
// before its end must therefore ask Start.Commit first.
type Sink interface {
	// Begin is told that a backend has begun to answer with 200. Whatever an
	// earlier attempt gave is void.
	Begin(Start)
	// Take gets the next event of a stream (raw, with its blank line), [DONE]
	// included, or the whole of a JSON answer. Error events are not given: Do
	// returns them. Both arguments are valid during the call only. An error
	// ends the exchange: Do returns it, and nothing is held against the backend.
	Take(raw []byte, c *compat.Chunk) error
	// Restart asks the sink to forget what it was given, because the attempt
	// failed or was moved. It reports false where somebody has seen some of
	// it: then the failure is final.
	Restart() bool
}

// Receipt is what an exchange took, for headers, log and accounts. It is
// filled as far as the exchange came, also where Do returns an error.
type Receipt struct {
	Start
	FirstByte time.Duration // from the last attempt's sending to its first event; 0: none
	Busy      time.Duration // time holding a slot, all attempts together
	Sent      bool          // some attempt's request was written to its end: its backend has had the work
	Usage     compat.Usage  // the backend's own count; zero where it gave none
}

// Do brings r's answer into s. It returns nil after a complete answer only.
// When it returns, the slot is free, r.Body is closed and s is not used again.
func (p *Pool) Do(ctx context.Context, r *Request, s Sink) (Receipt, error) {
	if ctx.Err() != nil {
		return Receipt{}, context.Cause(ctx)
	}
	x := p.newExchange(r, s)
	defer x.leave()
	var failed error // what the last attempt failed with
	for {
		a, err := x.await(ctx)
		if errors.Is(err, balancer.ErrNoRetry) {
			return x.receipt, failed
		}
		if err != nil {
			return x.receipt, err
		}
		again, err := a.run()
		if !again {
			return x.receipt, err
		}
		failed = err
	}
}

// exchange is one call of Do: a ticket at the balancer and the goroutine that
// waits for what becomes of it.
type exchange struct {
	ticket  balancer.Ticket
	pool    *Pool
	request *Request
	sink    Sink
	receipt Receipt

	// Under pool.mu:
	grant   *backend      // the slot that was given and not yet taken up
	refusal error         // the ticket is over
	running *attempt      // from the taking up of a grant to the attempt's end
	ready   chan struct{} // holds a token when grant or refusal was set; nil while nobody has waited
}

// newExchange queues r.
func (p *Pool) newExchange(r *Request, s Sink) *exchange {
	now := time.Now()
	x := &exchange{pool: p, request: r, sink: s}
	x.ticket.Tenant, x.ticket.Class, x.ticket.Weight = r.Tenant, r.Class, r.Weight
	x.ticket.Cost, x.ticket.Model, x.ticket.Deadline = r.Cost, r.Model, now.Add(r.QueueFor)
	p.mu.Lock()
	p.exchanges[&x.ticket] = x
	p.apply(p.balancer.Arrive(now, &x.ticket))
	p.mu.Unlock()
	return x
}

// await waits for a slot, for a refusal or for ctx.
func (x *exchange) await(ctx context.Context) (*attempt, error) {
	began := time.Now()
	urgent := x.request.Urgent
	a, err := x.next(ctx)
	for a == nil && err == nil {
		select {
		case <-x.ready:
			a, err = x.next(ctx)
		case <-urgent:
			urgent = nil
			x.raise()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	waited := time.Since(began)
	x.receipt.Queue += waited
	x.pool.metrics.waited(x.ticket.Class, waited) // only raise, which runs here, changes it
	if a != nil {
		x.receipt.Backend = a.backend.Name
		x.receipt.Attempts++
		x.receipt.FirstByte = 0
	}
	return a, err
}

// raise makes the request interactive.
func (x *exchange) raise() {
	p := x.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply(p.balancer.Raise(time.Now(), &x.ticket, balancer.Interactive))
}

// next takes up the grant, if there is one. In one step with it the attempt
// becomes the running one: from then on a move cancels it.
func (x *exchange) next(ctx context.Context) (*attempt, error) {
	x.pool.mu.Lock()
	defer x.pool.mu.Unlock()
	switch {
	case x.refusal != nil:
		return nil, translate(x.refusal)
	case x.grant != nil:
		x.running = newAttempt(ctx, x, x.grant)
		x.grant = nil
		return x.running, nil
	case x.ready == nil:
		x.ready = make(chan struct{}, 1)
	}
	return nil, nil
}

// wake tells the waiting goroutine that grant or refusal was set. pool.mu is held.
func (x *exchange) wake() {
	if x.ready == nil {
		return
	}
	select {
	case x.ready <- struct{}{}:
	default:
	}
}

// move takes the exchange off its backend; the balancer has it back in the
// queue already. pool.mu is held.
func (x *exchange) move() {
	if x.grant != nil { // not yet taken up
		x.grant = nil
		return
	}
	x.running.void = true
	x.running.interrupt(errMoved)
}

// leave gives back whatever the exchange still holds: its place in the queue,
// or its slot after a panic of the sink.
func (x *exchange) leave() {
	p := x.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exchanges[&x.ticket] == nil {
		return
	}
	delete(p.exchanges, &x.ticket)
	p.apply(p.balancer.Cancel(time.Now(), &x.ticket))
}
