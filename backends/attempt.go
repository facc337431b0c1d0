package backends

import (
	"context"
	"net/http"
	"time"

	"ocrmux/balancer"
)

// attempt is one sending of an exchange's request to one backend.
type attempt struct {
	*exchange
	backend *backend
	ctx     context.Context // the caller's
	began   time.Time
	heard   time.Time // when the balancer was last told of a sign of life
	interruption

	// Under pool.mu. A void attempt is no longer the balancer's: nothing of its
	// answer may be given out, and its end is not reported.
	void  bool
	ended bool

	wire wire
}

// newAttempt is called under pool.mu.
func newAttempt(ctx context.Context, x *exchange, b *backend) *attempt {
	return &attempt{exchange: x, backend: b, ctx: ctx, began: time.Now()}
}

// run sends, reads and settles. again: the exchange is back in the queue (or
// refused there) because of err.
func (a *attempt) run() (again bool, err error) {
	defer context.AfterFunc(a.ctx, func() { a.interrupt(context.Cause(a.ctx)) })()
	outcome, err := a.perform()
	return a.settle(outcome, err)
}

// perform brings the answer into the sink. When it returns, nothing of the
// attempt is left: the answer is closed and so is the request's body.
func (a *attempt) perform() (balancer.Outcome, error) {
	resp, err := a.send()
	if err != nil {
		return a.broken(err)
	}
	defer resp.close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return a.readRefusal(resp)
	case a.request.Stream:
		return a.readStream(resp)
	default:
		return a.readWhole(resp)
	}
}

// settle tells the balancer how the attempt ended and whether another is wanted.
func (a *attempt) settle(outcome balancer.Outcome, err error) (again bool, _ error) {
	x, p := a.exchange, a.pool
	if outcome == balancer.Failed || outcome == balancer.Lost || err == errMoved {
		again = x.sink.Restart()
	}
	now := time.Now()
	x.receipt.Busy += now.Sub(a.began)
	x.receipt.Sent = x.receipt.Sent || a.wire.sent || a.wire.answered
	result := a.result(outcome, err)
	a.backend.metrics.attempts[result].Inc()

	p.mu.Lock()
	moved := a.void
	switch {
	case moved && again: // the ticket is in the queue already
	case moved: // it is not wanted there
		delete(p.exchanges, &x.ticket)
		p.apply(p.balancer.Cancel(now, &x.ticket))
	default:
		if !again {
			delete(p.exchanges, &x.ticket)
		}
		p.apply(p.balancer.Done(now, &x.ticket, outcome, again))
	}
	x.running = nil
	a.ended, a.void = true, again
	var changes []change
	if outcome == balancer.Failed || outcome == balancer.Lost {
		changes = p.changes()
	}
	p.mu.Unlock()
	p.report(changes)

	if again {
		p.metrics.retries.WithLabelValues(result).Inc()
	}
	return again, err
}

// result is the outcome as metrics name it.
func (a *attempt) result(o balancer.Outcome, err error) string {
	if err == errMoved {
		return "moved"
	}
	return outcomeNames[o]
}

// heardEvery is how often the balancer is told that a backend is alive: seldom
// enough that hundreds of streams do not queue for the pool's lock with every
// token, often enough for rules that count in seconds.
const heardEvery = 100 * time.Millisecond

// progress tells the balancer that the backend gave a sign of life. It returns
// false where the attempt was moved meanwhile.
func (a *attempt) progress() bool {
	now := time.Now()
	if now.Sub(a.heard) < heardEvery {
		return a.interrupted() != errMoved
	}
	a.heard = now
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.void {
		return false
	}
	p.apply(p.balancer.Progress(now, &a.ticket))
	return true
}

// commit is Start.Commit.
func (a *attempt) commit() bool {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !a.void && !a.ended {
		p.balancer.Commit(&a.ticket)
	}
	return !a.void
}

// firstByte is called with the first event of the answer.
func (a *attempt) firstByte() {
	a.receipt.FirstByte = time.Since(a.began)
	a.backend.metrics.firstByte.Observe(a.receipt.FirstByte.Seconds())
}

func (a *attempt) isVoid() bool {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	return a.void
}
