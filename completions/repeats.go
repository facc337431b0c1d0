package completions

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// What counts as repeating. A pattern that stands more than Guard.Repeats times
// in a row is the model's and not the page's, with two exceptions that pages do
// have: a short pattern counts by its length in a row, as if it were
// shortPattern bytes long (leaders of dots, rows of empty cells), and one
// without a letter or a digit outside of tags (empty rows of a form, rules) may
// stand blankFactor times as often.
const (
	maxPeriod    = 2048 // bytes of the longest pattern that is found: some 500 tokens
	shortPattern = 32   // bytes
	blankFactor  = 4
)

// repeats finds out while a text grows whether its end repeats itself. It holds
// the text's last bytes, at most memory of them. Where no pattern is known it
// searches for one each time searchEvery more bytes have come; of a pattern
// that is known every byte costs one comparison with the byte a period before.
// A search costs at most some operations for each of window bytes, and most end
// at a first glance, so the cost for a byte of text is bounded by a constant.
type repeats struct {
	limit  int // Guard.Repeats
	text   []byte
	fresh  int // bytes since the last search
	period int // of the text's end; 0 where none is known
	run    int // bytes at the text's end that have the period
	loop   int // what run is to be then for a loop
}

const (
	window      = 2 * maxPeriod // in which a search looks for a pattern that stands twice
	memory      = 2 * window
	searchEvery = 512
)

// add appends to the text and reports whether it repeats beyond the limit.
func (r *repeats) add(p []byte) (beyond bool) {
	for _, c := range p {
		if len(r.text) == memory {
			r.text = r.text[:copy(r.text, r.text[memory-window:])]
		}
		if r.period > 0 {
			if r.text[len(r.text)-r.period] == c {
				r.run++
			} else {
				r.period = 0
			}
		}
		r.text = append(r.text, c)
		if r.fresh++; r.period == 0 && r.fresh >= searchEvery {
			r.search()
		}
		if r.period > 0 && r.run >= r.loop {
			return true
		}
	}
	return false
}

// search looks for the longest end of the text that repeats itself, which is
// one that a period fits into twice.
func (r *repeats) search() {
	r.fresh = 0
	tail := r.text[max(0, len(r.text)-window):]
	if !mayRepeat(tail) {
		return
	}
	r.period, r.run = longestRepeat(tail)
	if r.period == 0 {
		return
	}
	limit := r.limit
	if blank(tail[len(tail)-2*r.period:]) {
		limit *= blankFactor
	}
	r.loop = (limit + 1) * max(r.period, shortPattern)
}

// mayRepeat is the first glance: where the end has a period, its last bytes
// stand a period earlier too.
func mayRepeat(tail []byte) bool {
	const glance = 16
	if len(tail) <= glance {
		return false
	}
	last := tail[len(tail)-glance:]
	return bytes.Contains(tail[max(0, len(tail)-glance-maxPeriod):len(tail)-1], last)
}

// longestRepeat returns the length of the longest end of p that has a period of
// at most half of it, and its smallest period; 0 where there is none. It is the
// failure function of Knuth, Morris and Pratt, from the end: where the first i
// bytes begin as they end for k bytes, they have the period i-k.
func longestRepeat(p []byte) (period, run int) {
	var border [window]uint16 // of the last i+1 bytes
	n := len(p)
	for i := 1; i < n; i++ {
		c := p[n-1-i]
		k := int(border[i-1])
		for k > 0 && p[n-1-k] != c {
			k = int(border[k-1])
		}
		if p[n-1-k] == c {
			k++
		}
		border[i] = uint16(k)
		if q := i + 1 - k; 2*q <= i+1 {
			period, run = q, i+1
		}
	}
	return period, run
}

// blank reports whether a pattern, given twice in a row, has neither a letter
// nor a digit outside of tags. Where it begins is chance: it is read from the
// beginning of a tag, if it has one.
func blank(twice []byte) bool {
	if start := bytes.IndexByte(twice[:len(twice)/2], '<'); start >= 0 {
		twice = twice[start : start+len(twice)/2]
	}
	for len(twice) > 0 {
		if twice[0] == '<' {
			if end := bytes.IndexByte(twice, '>'); end > 0 {
				twice = twice[end+1:]
				continue
			}
		}
		c, n := utf8.DecodeRune(twice)
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			return false
		}
		twice = twice[n:]
	}
	return true
}
