package usage

// seriesLimits bound the series of a month, and with them its memory (about
// 90 MB) and its part of the journal (about 40 MB). Up to the first limit a Who
// gets a series of its own; up to the second, a new one is counted without its
// model and route; up to the third, without its key; what comes then is counted
// for nobody. Tenants, keys, models and routes are all from the configuration:
// nobody can fill a month from outside.
var seriesLimits = [...]int{80_000, 90_000, 100_000}

// book holds the series of one month.
type book struct {
	month   period
	rows    map[Who]*series
	all     []*series // in the order of opening; only grows
	tenants map[string]*tenant
}

// tenant is what the series of one tenant have in common.
type tenant struct {
	images, tokens int64 // of the month
	series         []*series
}

// series is what one Who used in one month.
type series struct {
	tenant         *tenant
	day            period // what today stands for
	dirty          bool   // is listed as one with fresh counts
	today, earlier account
	who            Who
	month          period
}

// account tells apart what the journal has and what it does not have yet. The
// sum of both is what was used.
type account struct {
	fresh   Counts
	written Counts // in the journal, or in the batch on its way there
}

func (a *account) total() Counts {
	sum := a.written
	sum.add(&a.fresh)
	return sum
}

func newBook(month period) *book {
	return &book{month: month, rows: make(map[Who]*series), tenants: make(map[string]*tenant)}
}

// find returns the series that w is counted in, and whether it tells less than w.
func (b *book) find(w Who) (s *series, coarse bool) {
	if s, ok := b.rows[w]; ok {
		return s, false
	}
	w = w.cut()
	for level, limit := range seriesLimits {
		coarser := w.coarse(level)
		if s, ok := b.rows[coarser]; ok {
			return s, coarser != w
		}
		if len(b.rows) < limit {
			return b.open(coarser), coarser != w
		}
	}
	if s, ok := b.rows[Who{}]; ok {
		return s, true
	}
	return b.open(Who{}), true
}

func (b *book) open(w Who) *series {
	w = w.clone()
	t, ok := b.tenants[w.Tenant]
	if !ok {
		t = new(tenant)
		b.tenants[w.Tenant] = t
	}
	s := &series{who: w, month: b.month, tenant: t}
	b.rows[w] = s
	b.all = append(b.all, s)
	t.series = append(t.series, s)
	return s
}

// turn begins a new day where one has begun.
func (s *series) turn(day period) {
	if s.day == day {
		return
	}
	s.earlier.written.add(&s.today.written)
	s.earlier.fresh.add(&s.today.fresh)
	s.today, s.day = account{}, day
}

// count adds to the month's sums what has been added to one of the accounts.
func (s *series) count(c *Counts) {
	s.tenant.images += c.Images
	s.tenant.tokens += c.PromptTokens + c.GeneratedTokens
}

// record is a part of a series as the journal has it. Days before today are
// kept as a part of their month.
type record struct {
	period period
	who    Who
	counts Counts
}

// take appends what of s is fresh, which is written from here on.
func take(records []record, s *series) []record {
	records = s.appendRecords(records, s.today.fresh, s.earlier.fresh)
	s.today = account{written: s.today.total()}
	s.earlier = account{written: s.earlier.total()}
	s.dirty = false
	return records
}

// written appends what of s is written.
func written(records []record, s *series) []record {
	return s.appendRecords(records, s.today.written, s.earlier.written)
}

func (s *series) appendRecords(records []record, today, earlier Counts) []record {
	if today != (Counts{}) {
		records = append(records, record{period: s.day, who: s.who, counts: today})
	}
	if earlier != (Counts{}) {
		records = append(records, record{period: s.month, who: s.who, counts: earlier})
	}
	return records
}
