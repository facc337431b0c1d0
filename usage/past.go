package usage

import (
	"maps"
	"slices"
)

const (
	// keptMonths is how many months are kept beside the current one: those with
	// the latest dates. Going by number and not by age, one wrong clock does
	// not cost what was counted under a right one.
	keptMonths = 13
	// maxPastSeries bounds the series of a month that is over, and the memory of
	// all such months to about 30 MB.
	maxPastSeries = 10_000
)

// past holds months that are over. Its slices are never changed.
type past map[period][]record

// add closes a month, and forgets the oldest where there are too many.
func (p past) add(month period, records []record) {
	p[month] = merge(month, slices.Concat(p[month], records), maxPastSeries)
	for months := slices.Sorted(maps.Keys(p)); len(months) > keptMonths; months = months[1:] {
		delete(p, months[0])
	}
}

// merge sums records of one month by Who. Where that gives more than limit, all
// of them tell less: the finest level at which they fit.
func merge(month period, records []record, limit int) []record {
	for level := 0; ; level++ {
		sums := make(map[Who]*Counts, min(len(records), limit+1))
		for i := range records {
			who := records[i].who.coarse(level)
			if sums[who] == nil {
				sums[who] = new(Counts)
			}
			sums[who].add(&records[i].counts)
		}
		if len(sums) > limit && level < coarsest {
			continue
		}
		merged := make([]record, 0, len(sums))
		for who, counts := range sums {
			merged = append(merged, record{period: month, who: who, counts: *counts})
		}
		return merged
	}
}
