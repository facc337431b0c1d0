package usage

import (
	"slices"
	"time"
)

// Filter says whose usage is asked for. Empty fields match everybody.
type Filter struct{ Tenant, Key string }

// Report says what was used.
type Report struct {
	Time  time.Time `json:"time"`
	Today Summary   `json:"today"`
	Month Summary   `json:"month"`
}

// Summary is what was used in a day or a month of UTC.
type Summary struct {
	// Period reads 2026-11-22 or 2026-11.
	Period string `json:"period"`
	Total  Usage  `json:"total"`
	// Rows are sorted by who it was, and never nil.
	Rows []Row `json:"rows"`
}

// Row is the part of one Who.
type Row struct {
	Who
	Usage
}

// Usage is Counts in the units that people use.
type Usage struct {
	Requests        int64    `json:"requests"`
	Images          int64    `json:"images"`
	Megapixels      float64  `json:"megapixels"`
	PromptTokens    int64    `json:"prompt_tokens"`
	ImageTokens     int64    `json:"image_tokens"`
	GeneratedTokens int64    `json:"generated_tokens"`
	GPUSeconds      float64  `json:"gpu_seconds"`
	CacheHits       int64    `json:"cache_hits"`
	Refused         Refusals `json:"refused"`
}

func (c *Counts) usage() Usage {
	return Usage{
		Requests:        c.Requests,
		Images:          c.Images,
		Megapixels:      float64(c.Pixels) / 1e6,
		PromptTokens:    c.PromptTokens,
		ImageTokens:     c.ImageTokens,
		GeneratedTokens: c.GeneratedTokens,
		GPUSeconds:      c.GPU.Seconds(),
		CacheHits:       c.CacheHits,
		Refused:         c.Refused,
	}
}

// Report returns what was used today and this month. What is recorded in the
// meantime may be in it or not.
func (l *Ledger) Report(f Filter) Report {
	now := l.now()
	l.mu.Lock()
	l.turn(now)
	today, current, list := l.today, l.current, &l.current.all
	if f.Tenant != "" {
		list = new([]*series)
		if t, ok := current.tenants[f.Tenant]; ok {
			list = &t.series
		}
	}
	l.mu.Unlock()

	var days, months summing
	l.walk(list, func(s *series) {
		if f.Key != "" && s.who.Key != f.Key {
			return
		}
		day, month := s.today.total(), s.earlier.total()
		month.add(&day)
		months.add(s.who, &month)
		if s.day == today {
			days.add(s.who, &day)
		}
	})
	return Report{Time: now.UTC(), Today: days.summary(today), Month: months.summary(current.month)}
}

// summing collects the rows of a Summary.
type summing struct {
	total Counts
	rows  []Row
}

func (s *summing) add(w Who, c *Counts) {
	if *c == (Counts{}) {
		return
	}
	s.total.add(c)
	s.rows = append(s.rows, Row{Who: w, Usage: c.usage()})
}

func (s *summing) summary(p period) Summary {
	slices.SortFunc(s.rows, func(a, b Row) int { return compareWho(a.Who, b.Who) })
	return Summary{Period: p.String(), Total: s.total.usage(), Rows: append([]Row{}, s.rows...)}
}
