package sim

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// specialToken matches the added tokens of DeepSeek-OCR's vocabulary that
// skip_special_tokens drops from the text.
var specialToken = regexp.MustCompile(`^(?:<\|/?(?:ref|det|grounding)\|>|</?t[dr]>|<image>)`)

// lettersPerToken is about what a byte-pair vocabulary makes of Latin words.
const lettersPerToken = 5

// split cuts text into token-like pieces that join to the same text: special
// tokens, single Han characters, line ends, and word pieces of at most
// lettersPerToken letters that carry the space before them. No piece splits a
// UTF-8 character.
func split(text string) []string {
	pieces := make([]string, 0, len(text)/4+1)
	for len(text) > 0 {
		n := pieceLen(text)
		pieces = append(pieces, text[:n])
		text = text[n:]
	}
	return pieces
}

// pieceLen returns the length in bytes of the first piece of text.
func pieceLen(text string) int {
	if text[0] == '<' {
		if m := specialToken.FindString(text); m != "" {
			return len(m)
		}
	}
	r, n := utf8.DecodeRuneInString(text)
	if r == ' ' && len(text) > 1 && text[1] != ' ' && text[1] != '\n' && text[1] != '<' {
		r, n = utf8.DecodeRuneInString(text[1:])
		n++
	}
	if !isWordRune(r) {
		return n
	}
	for letters := 1; letters < lettersPerToken && n < len(text); letters++ {
		r, size := utf8.DecodeRuneInString(text[n:])
		if !isWordRune(r) {
			break
		}
		n += size
	}
	return n
}

// isWordRune reports whether r joins its neighbours in one piece.
func isWordRune(r rune) bool {
	return r < 0x2e80 && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

func isSpecial(piece string) bool { return specialToken.FindString(piece) == piece && piece != "" }

// countTokens estimates how many tokens a text is.
func countTokens(text string) int {
	n := 0
	for len(text) > 0 {
		text = text[pieceLen(text):]
		n++
	}
	return n
}

// repeatedLine returns a line that follows itself at least twice, the kind of
// page on which the model loops when its n-gram guard is off.
func repeatedLine(text string) (string, bool) {
	last, run := "", 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
		case line == last:
			if run++; run == 3 {
				return line, true
			}
		default:
			last, run = line, 1
		}
	}
	return "", false
}
