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

// Add adds v to u.
func (u *Usage) Add(v *Usage) {
	u.Requests += v.Requests
	u.Images += v.Images
	u.Megapixels += v.Megapixels
	u.PromptTokens += v.PromptTokens
	u.ImageTokens += v.ImageTokens
	u.GeneratedTokens += v.GeneratedTokens
	u.GPUSeconds += v.GPUSeconds
	u.CacheHits += v.CacheHits
	u.Refused.add(&v.Refused)
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
	l.mu.Lock()
	now := l.turn()
	today, current, list := l.today, l.current, &l.current.all
	if f.Tenant != "" {
		list = new([]*series)
		if t, ok := current.tenants[f.Tenant]; ok {
			list = &t.series
		}
	}
	l.mu.Unlock()

	found := collect(l, list, func(found []used, s *series) []used {
		if f.Key != "" && s.who.Key != f.Key {
			return found
		}
		u := used{who: s.who, month: s.earlier.total()}
		latest := s.today.total()
		u.month.add(&latest)
		if s.day == today {
			u.today = latest
		}
		return append(found, u)
	})
	slices.SortFunc(found, func(a, b used) int { return compareWho(a.who, b.who) })
	r := Report{Time: now.UTC(), Today: Summary{Period: today.String()}, Month: Summary{Period: current.month.String()}}
	r.Today.fill(found, func(u *used) *Counts { return &u.today })
	r.Month.fill(found, func(u *used) *Counts { return &u.month })
	return r
}

// used is what one Who used.
type used struct {
	who          Who
	today, month Counts
}

func (s *Summary) fill(found []used, of func(*used) *Counts) {
	var total Counts
	s.Rows = []Row{}
	for i := range found {
		if c := of(&found[i]); *c != (Counts{}) {
			total.add(c)
			s.Rows = append(s.Rows, Row{Who: found[i].who, Usage: c.usage()})
		}
	}
	s.Total = total.usage()
}
