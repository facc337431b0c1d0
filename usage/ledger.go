package usage

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says where the journal is.
type Config struct {
	// Path is the journal's, in a directory where more files can be made. Where
	// it is empty, counts are in memory only.
	Path string
}

// Deps is what a Ledger works with. Each may be left out.
type Deps struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Now is the clock; time.Now where nil.
	Now func() time.Time
}

// Ledger knows what was used. Its methods may be called at the same time, but
// for Run, which is called once.
type Ledger struct {
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time

	mu        sync.Mutex
	today     period           // guarded by mu, as all down to past
	dayBegins int64            // of today, seconds since 1970
	current   *book            // of today's month
	books     map[period]*book // current, and months that were over a moment ago
	dirty     []*series        // with fresh counts, in any of the books
	past      past

	trouble atomic.Pointer[error] // why the last write failed; nil where it did not

	// What follows is used by Open, and then by Run alone.
	journal *journal // nil where counts are in memory only
	pen     *pen
	batch   []byte    // lines on their way to the journal
	taken   []*series // what dirty was before; kept for its room
	failing bool      // the last write failed
	bound   int64     // the size at which the journal is written anew
}

// Open reads the journal and holds a lock on it until Run returns, or the
// process ends. Damage costs the damaged lines and is no error; ErrLocked is
// one, and a file that cannot be opened or read.
func Open(cfg Config, deps Deps) (*Ledger, error) {
	return open(cfg, deps, openFile)
}

func open(cfg Config, deps Deps, open opener) (*Ledger, error) {
	l := &Ledger{
		log:     deps.Log,
		metrics: newMetrics(),
		now:     deps.Now,
		books:   make(map[period]*book),
		past:    make(past),
		pen:     newPen(),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.turn()
	if cfg.Path != "" {
		var err error
		if l.journal, err = openJournal(cfg.Path, open); err != nil {
			return nil, fmt.Errorf("usage journal: %w", err)
		}
		if err := l.restore(); err != nil {
			return nil, fmt.Errorf("usage journal: %w", err)
		}
	}
	l.metrics.register(deps.Registerer, l)
	return l, nil
}

// Record counts c for w. It does not wait for the journal, and allocates only
// where w is new this month.
func (l *Ledger) Record(w Who, c Counts) {
	l.mu.Lock()
	l.turn()
	s, coarse := l.current.find(w)
	s.turn(l.today)
	s.today.fresh.add(&c)
	s.count(&c)
	if !s.dirty {
		s.dirty = true
		l.dirty = append(l.dirty, s)
	}
	l.mu.Unlock()
	if coarse {
		l.metrics.coarse.Inc()
	}
}

// Month returns what a tenant used in the current month of UTC: images, and
// tokens of prompts (with those of images) and answers.
func (l *Ledger) Month(tenant string) (pages, tokens int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	t, ok := l.current.tenants[tenant]
	if !ok {
		return 0, 0
	}
	return t.images, t.tokens
}

// series returns how many series the current month has.
func (l *Ledger) series() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.current.all)
}

// turn begins a new day or month where one has begun, and returns the time. A
// clock that is set back only opens the old ones again. The caller holds mu: two
// callers at midnight shall not turn back and forth.
func (l *Ledger) turn() time.Time {
	now := l.now()
	if since := now.Unix() - l.dayBegins; since >= 0 && since < secondsPerDay && l.current != nil {
		return now
	}
	l.today, l.dayBegins = dayOf(now)
	l.current = l.book(l.today.month())
	return now
}

// book returns the book of a month. The caller holds mu.
func (l *Ledger) book(month period) *book {
	if b, ok := l.books[month]; ok {
		return b
	}
	b := newBook(month)
	for i := range l.past[month] {
		r := &l.past[month][i]
		s, _ := b.find(r.who)
		s.earlier.written.add(&r.counts)
		s.count(&r.counts)
	}
	delete(l.past, month)
	l.books[month] = b
	return b
}

// walkStep is how many series are looked at while Record waits, some ten
// microseconds.
const walkStep = 128

// collect looks at a list of series that only grows, and lets Record go on in
// between every few. What look appends for a series is at most two things.
func collect[T any](l *Ledger, list *[]*series, look func([]T, *series) []T) (all []T) {
	part := make([]T, 0, 2*walkStep) // all may have to move to grow, which takes long
	for from := 0; ; from += walkStep {
		l.mu.Lock()
		rest := (*list)[from:]
		for _, s := range rest[:min(walkStep, len(rest))] {
			part = look(part, s)
		}
		l.mu.Unlock()
		all, part = append(all, part...), part[:0]
		if len(rest) <= walkStep {
			return all
		}
	}
}
