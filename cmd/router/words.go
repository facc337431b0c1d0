package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"ocrmux/auth"
)

// setLimit sets the limit that NAME=NUMBER names.
func setLimit(l *auth.Limits, text string) error {
	name, number, _ := strings.Cut(text, "=")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not of the form NAME=NUMBER", text)
	}
	switch name {
	case "requests_per_minute":
		l.RequestsPerMinute = n
	case "images_per_minute":
		l.ImagesPerMinute = n
	case "megapixels_per_minute":
		l.MegapixelsPerMinute = n
	case "tokens_per_minute":
		l.TokensPerMinute = n
	case "in_progress":
		l.InProgress = int(n)
	default:
		return fmt.Errorf("there is no limit %q", name)
	}
	return nil
}

// bound is a number with the words that say of what.
type bound struct {
	number int64
	of     string
}

func inShort(bounds ...bound) string {
	var words []string
	for _, b := range bounds {
		if b.number > 0 {
			words = append(words, strconv.FormatInt(b.number, 10)+b.of)
		}
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

func limitsInShort(l auth.Limits) string {
	return inShort(
		bound{l.RequestsPerMinute, " requests/min"},
		bound{l.ImagesPerMinute, " images/min"},
		bound{l.MegapixelsPerMinute, " MP/min"},
		bound{l.TokensPerMinute, " tokens/min"},
		bound{int64(l.InProgress), " at once"},
	)
}

func quotaInShort(q auth.Quota) string {
	return inShort(bound{q.PagesPerMonth, " pages/month"}, bound{q.TokensPerMonth, " tokens/month"})
}

func date(t time.Time) string { return timeAs(time.DateOnly, t) }

func moment(t time.Time) string { return timeAs(time.RFC3339, t) }

func timeAs(layout string, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(layout)
}

// printable is a text that cannot break a table or steer a terminal.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func choose(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
