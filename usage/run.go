package usage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	// writeInterval is how much a crash may cost.
	writeInterval = time.Second
	// retryInterval is the time between attempts while the journal cannot be
	// written.
	retryInterval = 3 * time.Second
)

// Run writes what is new to the journal, at most every second, until ctx ends,
// and then once more. It returns an error where that last time fails. What is
// recorded later is not written: end the callers of Record first.
func (l *Ledger) Run(ctx context.Context) error {
	ticker := time.NewTicker(writeInterval)
	defer ticker.Stop()
	var rewriting chan rewritten // nil while nobody writes the journal anew
	for {
		select {
		case <-ctx.Done():
			if rewriting != nil {
				l.adopt(<-rewriting)
			}
			return l.end()
		case done := <-rewriting:
			rewriting = nil
			l.adopt(done)
		case <-ticker.C:
			failed := l.failing
			l.tell(l.write(rewriting == nil))
			switch {
			case l.failing && !failed:
				ticker.Reset(retryInterval)
			case !l.failing && failed:
				ticker.Reset(writeInterval)
			}
			l.closeMonths()
			if rewriting == nil && l.outgrown() {
				rewriting = l.rewrite()
			}
		}
	}
}

// end writes for the last time.
func (l *Ledger) end() error {
	if l.journal == nil {
		return nil
	}
	err := l.write(true)
	l.tell(err)
	return errors.Join(err, l.journal.close())
}

// write appends to the journal what an earlier attempt left, and what is fresh.
// Where somebody took the journal away, it writes all of it anew, if it may.
func (l *Ledger) write(renew bool) error {
	err := l.append()
	if err == nil {
		if records := l.take(); l.journal != nil {
			l.batch = l.pen.lines(records)
		}
		err = l.append()
	}
	if errors.Is(err, errReplaced) && renew {
		l.log.Warn("usage journal is gone and is written anew", slog.Any("error", err))
		return l.renew()
	}
	return err
}

func (l *Ledger) append() error {
	if len(l.batch) == 0 {
		return nil
	}
	if err := l.journal.append(l.batch); err != nil {
		return err
	}
	l.batch = nil
	l.metrics.bytes.Set(float64(l.journal.size))
	return nil
}

// take returns what is fresh, which counts as written from here on.
func (l *Ledger) take() []record {
	l.mu.Lock()
	l.dirty, l.taken = l.taken[:0], l.dirty
	l.mu.Unlock()
	records := collect(l, &l.taken, take)
	clear(l.taken) // months that are over shall not hang on it
	return records
}

// JournalError returns why the journal was not written the last time, or nil.
func (l *Ledger) JournalError() error {
	if err := l.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// tell logs a change for the worse or the better.
func (l *Ledger) tell(err error) {
	switch {
	case err != nil && !l.failing:
		l.log.Error("usage journal cannot be written, what is counted stays in memory", slog.Any("error", err))
	case err == nil && l.failing:
		l.log.Info("usage journal is written again")
	}
	l.failing = err != nil
	if err != nil {
		l.trouble.Store(&err)
		l.metrics.errors.Inc()
		l.metrics.writable.Set(0)
	} else {
		l.trouble.Store(nil)
		l.metrics.writable.Set(1)
	}
}

// closeMonths keeps of the months that are over their sums alone, once all of
// them is written.
func (l *Ledger) closeMonths() {
	l.mu.Lock()
	l.turn() // also where nobody asks for anything any more
	var over []*book
	for month, b := range l.books {
		fresh := func(s *series) bool { return s.month == month }
		if b != l.current && !slices.ContainsFunc(l.dirty, fresh) {
			over = append(over, b)
			delete(l.books, month)
		}
	}
	l.mu.Unlock()
	for _, b := range over {
		var records []record
		for _, s := range b.all {
			records = written(records, s)
		}
		records = merge(b.month, records, maxPastSeries)
		l.mu.Lock()
		l.past.add(b.month, records)
		l.mu.Unlock()
	}
}
