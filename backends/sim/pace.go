package sim

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// pace turns phases of a request into time.
type pace struct {
	fixed *Timing
	speed float64
	seed  uint64
}

// The modelled times fit published figures of DeepSeek-OCR and a model served
// by the same vLLM code on one large GPU: 1.1 s for a page alone, 3.4 s for
// sixteen side by side, 4.2 pages a second at best. Preprocessing is serial.
const (
	preprocessMin  = 50 * time.Millisecond
	preprocessSpan = 20 * time.Millisecond
	firstTokenMin  = 200 * time.Millisecond
	firstTokenSpan = 150 * time.Millisecond
	perTokenFloor  = 150 * time.Microsecond
	perTokenBatch  = 1200 * time.Microsecond // times the root of the batch size
)

func (p pace) preprocess(id uint64) time.Duration {
	if p.fixed != nil {
		return p.scale(p.fixed.Preprocess)
	}
	return p.scale(preprocessMin + time.Duration(p.roll(id, 1)*float64(preprocessSpan)))
}

func (p pace) firstToken(id uint64) time.Duration {
	if p.fixed != nil {
		return p.scale(p.fixed.FirstToken)
	}
	return p.scale(firstTokenMin + time.Duration(p.roll(id, 2)*float64(firstTokenSpan)))
}

// perToken grows with the root of the number of requests that run.
func (p pace) perToken(running int64) time.Duration {
	if p.fixed != nil {
		return p.scale(p.fixed.PerToken)
	}
	return p.scale(perTokenFloor + time.Duration(math.Sqrt(float64(running))*float64(perTokenBatch)))
}

func (p pace) scale(d time.Duration) time.Duration { return time.Duration(float64(d) / p.speed) }

// roll is a number in [0,1) that depends on the request and the purpose alone.
func (p pace) roll(id, purpose uint64) float64 {
	return rand.New(rand.NewPCG(p.seed^id, purpose)).Float64()
}

// metronome spaces the tokens of one answer. It keeps the due time of the next
// token, so that late timers do not add up, and pays small debts together:
// below grain the caller is not put to sleep.
type metronome struct {
	due   time.Time
	grain time.Duration
}

// wait advances by d and sleeps until then, or until ctx ends.
func (m *metronome) wait(ctx context.Context, d time.Duration) error {
	m.due = m.due.Add(d)
	if left := time.Until(m.due); left > m.grain {
		return sleep(ctx, left)
	}
	return ctx.Err()
}

// settle sleeps what is left.
func (m *metronome) settle(ctx context.Context) error { return sleep(ctx, time.Until(m.due)) }

// sleep waits for d or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
