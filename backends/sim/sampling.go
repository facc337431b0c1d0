package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// choice is one sampled answer: its tokens in order, some of them silent, and
// why it ends.
type choice struct {
	tokens []string
	finish string // stop or length
	stop   *string
}

func (c choice) text() string { return strings.Join(c.tokens, "") }

// sampling is what the settings of a request do to a page's text.
type sampling struct {
	temperature float64
	skipSpecial bool
	loop        bool // never ends
	limit       int  // tokens
	stop        []string
	rng         *rand.Rand
}

func (s sampling) sample(content string) choice {
	tokens := split(content)
	if s.loop {
		tokens = loop(tokens, content, s.limit)
	}
	c := choice{tokens: tokens, finish: "stop"}
	if len(tokens) >= s.limit {
		c.tokens, c.finish = tokens[:s.limit], "length"
	}
	c.tokens = slices.Clone(c.tokens)
	if s.temperature > 0 {
		perturb(c.tokens, s.temperature, s.rng)
	}
	if s.skipSpecial {
		for i, t := range c.tokens {
			if isSpecial(t) {
				c.tokens[i] = ""
			}
		}
	}
	c.endAt(s.stop)
	return c
}

// loop goes on with the page's repeated line, or its last line, until limit.
func loop(tokens []string, content string, limit int) []string {
	line, ok := repeatedLine(content)
	if !ok {
		trimmed := strings.TrimRight(content, "\n")
		line = trimmed[strings.LastIndexByte(trimmed, '\n')+1:]
	} else if at := strings.Index(content, line); at >= 0 {
		tokens = split(content[:at])
	}
	again := split(line + "\n")
	for len(tokens) < limit {
		tokens = append(tokens, again...)
	}
	return tokens
}

// perturb swaps letters in a share of the tokens that grows with temperature,
// in one token at least.
func perturb(tokens []string, temperature float64, rng *rand.Rand) {
	share := min(0.03*temperature, 0.5)
	var letters []int
	changed := false
	for i, t := range tokens {
		if isSpecial(t) || swapLetter(t, 1) == t {
			continue
		}
		letters = append(letters, i)
		if rng.Float64() < share {
			tokens[i] = swapLetter(t, 1+rng.IntN(5))
			changed = true
		}
	}
	if !changed && len(letters) > 0 {
		i := letters[rng.IntN(len(letters))]
		tokens[i] = swapLetter(tokens[i], 1+rng.IntN(5))
	}
}

// swapLetter moves the token's last letter by steps.
func swapLetter(token string, steps int) string {
	runes := []rune(token)
	r := &runes[len(runes)-1]
	switch {
	case *r >= 'a' && *r <= 'z':
		*r = 'a' + (*r-'a'+rune(steps))%26
	case *r >= 0x4e00 && *r < 0x9f00:
		*r += rune(steps)
	}
	return string(runes)
}

// endAt ends the answer before the first stop string in its text. Later tokens
// were never made; the one that completed the stop string was, and keeps only
// what stands before it.
func (c *choice) endAt(stops []string) {
	text := c.text()
	first, which := len(text), -1
	for i, s := range stops {
		if at := strings.Index(text, s); at >= 0 && at < first {
			first, which = at, i
		}
	}
	if which < 0 {
		return
	}
	c.finish, c.stop = "stop", &stops[which]
	end, at := first+len(stops[which]), 0
	for i, t := range c.tokens {
		c.tokens[i] = t[:min(len(t), max(first-at, 0))]
		if at += len(t); at >= end {
			c.tokens = c.tokens[:i+1]
			return
		}
	}
}
