package usage

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
)

const (
	// rewriteBytes is the size below which the journal is never written anew
	// while the router runs.
	rewriteBytes = 64 << 20
	// rewriteFactor is how many times what it needs the journal may take.
	rewriteFactor = 4
)

// rewritten is the journal's content in short, in a file beside it, or why there
// is none.
type rewritten struct {
	file file
	size int64
	from int64 // what the journal got from this offset on is not in it
	err  error
}

// restore reads the journal, and writes it anew where that makes it shorter or
// rids it of damage.
func (l *Ledger) restore() error {
	l.mu.Lock()
	found, err := l.journal.replay(l.apply)
	l.mu.Unlock()
	if err != nil {
		return errors.Join(err, l.journal.close())
	}
	l.metrics.lost.Add(float64(found.damaged))
	if found.damaged > 0 || found.repeated > 0 {
		l.log.Warn("usage journal is damaged, the rest of it counts", slog.Int("lines", found.lines),
			slog.Int("damaged", found.damaged), slog.Int("repeated", found.repeated))
	}
	if tail := found.size - found.good; tail > 0 {
		l.log.Warn("the end of the usage journal was not written completely and is cut off", slog.Int64("bytes", tail))
	}
	l.closeMonths()
	if !found.clean() || found.lines > len(l.written()) {
		if err := l.renew(); err != nil {
			l.metrics.errors.Inc()
			l.log.Warn("usage journal cannot be written anew", slog.Any("error", errors.Join(err, l.journal.cut())))
		}
	}
	l.setBound()
	return nil
}

// apply counts what a line of the journal says. The caller holds mu.
func (l *Ledger) apply(r record) {
	s, _ := l.book(r.period.month()).find(r.who)
	if r.period == l.today {
		s.turn(l.today)
		s.today.written.add(&r.counts)
	} else {
		s.earlier.written.add(&r.counts)
	}
	s.count(&r.counts)
}

// written returns all that is in the journal, in short.
func (l *Ledger) written() (records []record) {
	l.mu.Lock()
	books := slices.Collect(maps.Values(l.books))
	months := slices.Collect(maps.Values(l.past))
	l.mu.Unlock()
	records = slices.Concat(months...)
	for _, b := range books {
		records = append(records, collect(l, &b.all, written)...)
	}
	return records
}

// outgrown says whether the journal is to be written anew.
func (l *Ledger) outgrown() bool {
	return l.journal != nil && !l.failing && l.journal.size > l.bound
}

func (l *Ledger) setBound() {
	l.bound = max(rewriteBytes, rewriteFactor*l.journal.size)
	l.metrics.bytes.Set(float64(l.journal.size))
}

// rewrite begins to write the journal anew, while it is appended to. Nothing may
// be on its way to it at this moment.
func (l *Ledger) rewrite() chan rewritten {
	records, journal, from := l.written(), l.journal, l.journal.size
	done := make(chan rewritten, 1)
	go func() {
		text := newPen().lines(records)
		f, err := journal.rewrite(text)
		done <- rewritten{file: f, size: int64(len(text)), from: from, err: err}
	}()
	return done
}

// adopt ends what rewrite began.
func (l *Ledger) adopt(done rewritten) {
	err := done.err
	if err == nil {
		err = l.journal.adopt(done.file, done.size, done.from)
	}
	if err != nil {
		l.metrics.errors.Inc()
		l.log.Warn("usage journal cannot be written anew", slog.Any("error", err))
		l.bound = l.journal.size + rewriteBytes // and not every second
		return
	}
	l.setBound()
}

// renew writes the journal anew at once, with the batch that is on its way.
func (l *Ledger) renew() error {
	text := newPen().lines(l.written())
	f, err := l.journal.rewrite(text)
	if err != nil {
		return err
	}
	if err := l.journal.adopt(f, int64(len(text)), l.journal.size); err != nil {
		return err
	}
	l.batch = nil
	l.setBound()
	return nil
}
