package auth

import "time"

// A window counts the charges of one limit in buckets of one second. A bucket
// counts until its last charge is a minute old, and then is forgotten as a
// whole: no charge of the last 60 seconds is ever missing from the sum, and none
// counts for longer than 61.
type window struct {
	buckets [windowBuckets]bucket
	total   int64
	second  int64 // of the bucket in progress
}

type bucket struct {
	count int64
	last  time.Duration // when it was last charged
}

const (
	windowBuckets = 61
	windowSpan    = windowBuckets * time.Second
)

// advance forgets what has left the window by the given time.
func (w *window) advance(now time.Duration) {
	second := int64(now / time.Second)
	if second-w.second >= windowBuckets {
		*w = window{second: second}
		return
	}
	for w.second < second {
		w.second++
		w.forget(w.at(w.second))
	}
	if oldest := w.at(w.second + 1); oldest.count > 0 && now >= oldest.last+time.Minute {
		w.forget(oldest)
	}
}

// at returns the bucket of a second. That of the second to come is the oldest one.
func (w *window) at(second int64) *bucket { return &w.buckets[second%windowBuckets] }

func (w *window) forget(b *bucket) {
	w.total -= b.count
	*b = bucket{}
}

// charge adds count in the second in progress. The window is at now.
func (w *window) charge(now time.Duration, count int64) {
	if count == 0 {
		return
	}
	b := w.at(w.second)
	b.count += count
	b.last = now
	w.total += count
}

// refund takes count out of the bucket of the given second, as far as it is
// still there.
func (w *window) refund(second, count int64) {
	if w.second-second >= windowBuckets || second > w.second {
		return
	}
	b := w.at(second)
	count = min(count, b.count)
	b.count -= count
	w.total -= count
}

// refundOldest takes count out of the oldest buckets, so that what stays counts
// as long as it can: right when nobody knows which charge is given back.
func (w *window) refundOldest(count int64) {
	for s := max(0, w.second-windowBuckets+1); s <= w.second && count > 0; s++ {
		part := min(count, w.at(s).count)
		w.refund(s, part)
		count -= part
	}
}

// fits returns when count more fit under limit: now, or when enough buckets have
// left the window.
func (w *window) fits(now time.Duration, count, limit int64) (at time.Duration, ever bool) {
	if count > limit {
		return 0, false
	}
	total := w.total
	if total+count <= limit {
		return now, true
	}
	for s := max(0, w.second-windowBuckets+1); s <= w.second; s++ {
		b := w.at(s)
		if total -= b.count; b.count > 0 && total+count <= limit {
			return b.last + time.Minute, true
		}
	}
	return 0, false // unreachable: without its buckets total is 0
}

// emptyAt returns when the window is empty: now, or later.
func (w *window) emptyAt(now time.Duration) time.Duration {
	if w.total == 0 {
		return now
	}
	for s := w.second; s >= max(0, w.second-windowBuckets+1); s-- {
		if b := w.at(s); b.count > 0 {
			return b.last + time.Minute
		}
	}
	return now
}
