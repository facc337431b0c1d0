package usage

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// period is a day or a month of UTC, written as people write it without the
// dashes: 20261122 or 202611.
type period int

// firstDay tells days from months: it is the number of 1000-01-01.
const firstDay period = 1000_01_01

const secondsPerDay = 24 * 60 * 60

// dayOf returns the day of a moment and the second, since 1970, it began with.
func dayOf(t time.Time) (day period, begins int64) {
	t = t.UTC()
	year, month, number := t.Date()
	return period(year*10000 + int(month)*100 + number), time.Date(year, month, number, 0, 0, 0, 0, time.UTC).Unix()
}

// month returns the month that a day is of, and a month itself.
func (p period) month() period {
	if p >= firstDay {
		return p / 100
	}
	return p
}

func (p period) String() string {
	if p >= firstDay {
		return fmt.Sprintf("%04d-%02d-%02d", p/10000, p/100%100, p%100)
	}
	return fmt.Sprintf("%04d-%02d", p/100, p%100)
}

// parsePeriod reads what String writes.
func parsePeriod(text string) (period, error) {
	dashes := []int{4, 7}
	switch len(text) {
	case len("2026-11"):
		dashes = dashes[:1]
	case len("2026-11-22"):
	default:
		return 0, fmt.Errorf("%q is neither a day nor a month", text)
	}
	digits := make([]byte, 0, len(text))
	for i := range len(text) {
		if slices.Contains(dashes, i) != (text[i] == '-') {
			return 0, fmt.Errorf("%q is neither a day nor a month", text)
		}
		if text[i] != '-' {
			digits = append(digits, text[i])
		}
	}
	number, err := strconv.ParseUint(string(digits), 10, 32)
	return period(number), err
}
