package auth

import "time"

// A window counts the charges of one limit in buckets of one second, over the
// bucket in progress and the 60 before it. Every charge of the last 60 seconds
// lies in one of these 61, so their sum is never below the truth, and a charge
// is forgotten at most one second late.
const windowBuckets = 61

const windowSpan = windowBuckets * time.Second

type window struct {
	buckets [windowBuckets]int64
	total   int64
	second  int64 // of the bucket in progress
}

// advance forgets what has left the window by the given second.
func (w *window) advance(second int64) {
	if second-w.second >= windowBuckets {
		*w = window{second: second}
		return
	}
	for w.second < second {
		w.second++
		b := &w.buckets[w.second%windowBuckets]
		w.total -= *b
		*b = 0
	}
}

// charge adds count in the second in progress.
func (w *window) charge(count int64) {
	w.buckets[w.second%windowBuckets] += count
	w.total += count
}

// refund takes count out of the bucket of the given second, as far as it is
// still there.
func (w *window) refund(second, count int64) {
	if w.second-second >= windowBuckets || second > w.second {
		return
	}
	b := &w.buckets[second%windowBuckets]
	count = min(count, *b)
	*b -= count
	w.total -= count
}

// refundOldest takes count out of the oldest buckets, so that what stays counts
// as long as it can: right when nobody knows which charge is given back.
func (w *window) refundOldest(count int64) {
	for s := w.second - windowBuckets + 1; s <= w.second && count > 0; s++ {
		if s < 0 {
			continue
		}
		part := min(count, w.buckets[s%windowBuckets])
		w.refund(s, part)
		count -= part
	}
}

// fits returns the first second in which count more fit under limit: the one in
// progress, or the one in which enough buckets have left the window.
func (w *window) fits(count, limit int64) (second int64, ever bool) {
	if count > limit {
		return 0, false
	}
	total := w.total
	if total+count <= limit {
		return w.second, true
	}
	for s := max(0, w.second-windowBuckets+1); s <= w.second; s++ {
		total -= w.buckets[s%windowBuckets]
		if total+count <= limit {
			return s + windowBuckets, true
		}
	}
	return 0, false // unreachable: without its buckets total is 0
}

// emptyAt returns the second from which the window is empty.
func (w *window) emptyAt() int64 {
	for s := w.second; s >= max(0, w.second-windowBuckets+1); s-- {
		if w.buckets[s%windowBuckets] > 0 {
			return s + windowBuckets
		}
	}
	return w.second
}
