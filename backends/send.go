package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"

	"ocrmux/balancer"
)

// wire is what an attempt knows of its connection.
type wire struct {
	reused   bool // the connection had been used before
	sent     bool // the request was written to its end
	answered bool // a byte of an answer came
}

// send returns the head of the backend's answer.
//
// A backend closes idle connections when it likes. A request that is on its
// way just then meets a closed connection, which says nothing about the
// backend: it is sent once more, at once, on a connection that was never used.
func (a *attempt) send() (*answer, error) {
	resp, err := a.exchangeOn(false)
	if err != nil && a.wire.reused && !a.wire.answered && a.interrupted() == nil {
		a.pool.metrics.replays.Inc()
		resp, err = a.exchangeOn(true)
	}
	return resp, err
}

func (a *attempt) exchangeOn(fresh bool) (*answer, error) {
	k, err := a.connect(fresh)
	if err != nil {
		return nil, err
	}
	a.wire.reused = k.used
	stream := 0
	if a.request.Stream {
		stream = 1
	}
	var space [512]byte
	head := append(space[:0], a.backend.heads[a.request.Dialect][stream]...)
	head = appendRequest(head, rand.Uint64(), a.request.Body.Size())
	return a.backend.conns.exchange(k, head, a)
}

// connect returns an idle connection or a new one, to be closed by an
// interruption.
func (a *attempt) connect(fresh bool) (*conn, error) {
	if !fresh {
		if k := a.backend.conns.take(); k != nil {
			a.using(k.hangUp)
			return k, nil
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.using(cancel)
	k, err := a.backend.conns.dial(ctx)
	if err == nil {
		a.using(k.hangUp)
	}
	return k, err
}

// broken sorts an error of the connection, while sending or reading.
func (a *attempt) broken(err error) (balancer.Outcome, error) {
	if cause := a.interrupted(); cause != nil {
		return balancer.Aborted, cause
	}
	if a.wire.answered && !cut(err) {
		// net/http quotes what it could not read: that stays out of our errors.
		return balancer.Failed, fmt.Errorf("%w: not HTTP", ErrMalformed)
	}
	return balancer.Lost, fmt.Errorf("%w: %s: %w", ErrLost, a.backend.Name, err)
}

// cut reports whether err is the connection's end rather than nonsense on it.
func cut(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.As(err, &op)
}
