// Package grounding reads what DeepSeek-OCR writes when its prompt begins with
// <|grounding|>: text in blocks, each after a tag that says what it is and where
// on the page it stands.
//
//	<|ref|>title<|/ref|><|det|>[[330, 198, 558, 230]]<|/det|>
//	# Annual report
//
// Parse takes such an output apart, exactly or not at all: what it does not
// know is not guessed at. Text puts the blocks' texts together again without
// the tags, and Strip takes the tags out of an output that could not be parsed,
// because it was cut or is no grounding. Coordinates run from 0 to 999 along
// each side of the image; Box.Pixels scales them.
package grounding

import "strings"

// Box is a rectangle on the page, in thousandths of its sides less one: from 0,
// the left or upper edge, to 999, the right or lower one. The corners are in the
// order in which the model wrote them.
type Box struct{ X1, Y1, X2, Y2 int }

// scale is the highest coordinate: what stands at the far edge.
const scale = 999

// Pixels is the box on an image of that size, as x1, y1, x2, y2. Each value is
// rounded down, as in DeepSeek's own scripts: int(v / 999 * size).
func (b Box) Pixels(width, height int) [4]int {
	return [4]int{b.X1 * width / scale, b.Y1 * height / scale, b.X2 * width / scale, b.Y2 * height / scale}
}

// Block is a part of the page.
type Block struct {
	Label string // such as title, text, table or image; for "OCR this image." the words themselves
	Boxes []Box  // at least one, but none for what stands before the first tag
	Text  string // what follows the tag, without white space around it
}

const (
	refOpen  = "<|ref|>"
	refClose = "<|/ref|>"
	detOpen  = "<|det|>"
	detClose = "<|/det|>"
	// endOfText is the model's last token, which a server that skips no special
	// tokens may leave in.
	endOfText = "<｜end▁of▁sentence｜>"
)

// Parse splits an output into its blocks. It reports false where there is no
// tag at all, or one that is not complete and correct.
func Parse(output string) (blocks []Block, ok bool) {
	text, rest, ok := upToTag(withoutEnd(output))
	if !ok || rest == "" {
		return nil, false
	}
	if text != "" {
		blocks = append(blocks, Block{Text: text})
	}
	for rest != "" {
		label, boxes, n := tag(rest)
		if n == 0 {
			return nil, false
		}
		if text, rest, ok = upToTag(rest[n:]); !ok {
			return nil, false
		}
		blocks = append(blocks, Block{label, boxes, text})
	}
	return blocks, true
}

// withoutEnd is an output without the model's last token.
func withoutEnd(output string) string {
	for {
		output = strings.TrimSpace(output)
		if !strings.HasSuffix(output, endOfText) {
			return output
		}
		output = strings.TrimSuffix(output, endOfText)
	}
}

// upToTag cuts s before its next tag. ok is false where another token of a tag
// comes first.
func upToTag(s string) (text, rest string, ok bool) {
	at, token := next(s)
	return strings.TrimSpace(s[:at]), s[at:], token == "" || token == refOpen
}

// tag reads the tag that s begins with. n is its length, 0 where there is none
// that is complete and correct.
func tag(s string) (label string, boxes []Box, n int) {
	if !strings.HasPrefix(s, refOpen) {
		return "", nil, 0
	}
	rest := s[len(refOpen):]
	end, token := next(rest)
	if token != refClose {
		return "", nil, 0
	}
	label, rest = rest[:end], rest[end+len(refClose):]
	if !strings.HasPrefix(rest, detOpen) {
		return "", nil, 0
	}
	rest = rest[len(detOpen):]
	end, token = next(rest)
	if token != detClose {
		return "", nil, 0
	}
	boxes, ok := readBoxes(rest[:end])
	if !ok {
		return "", nil, 0
	}
	return strings.TrimSpace(label), boxes, len(s) - len(rest) + end + len(detClose)
}

// next finds the next token of a tag; at is the end of s where there is none.
func next(s string) (at int, token string) {
	for {
		i := strings.Index(s[at:], "<|")
		if i < 0 {
			return len(s), ""
		}
		at += i
		for _, token := range [...]string{refOpen, refClose, detOpen, detClose} {
			if strings.HasPrefix(s[at:], token) {
				return at, token
			}
		}
		at += len("<|")
	}
}

// Text is what the page says: the blocks' texts, an empty line between them.
func Text(blocks []Block) string {
	var texts []string
	for _, b := range blocks {
		if b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n\n")
}

// Strip takes out of an output every correct tag, with the line feed behind it,
// and every token of an incorrect one. Without any it is the output itself.
func Strip(output string) string {
	if !strings.Contains(output, "<") {
		return output
	}
	kept := make([]byte, 0, len(output))
	for rest := output; rest != ""; {
		if _, _, n := tag(rest); n > 0 {
			rest = strings.TrimPrefix(rest[n:], "\n")
			continue
		}
		kept, rest = append(kept, rest[0]), rest[1:]
		if kept[len(kept)-1] == '>' {
			kept = kept[:len(kept)-tokenAtEnd(kept)]
		}
	}
	return string(kept)
}

// tokenAtEnd is the length of the token that p ends with, 0 where it is none.
// What is kept is looked at, not what came: taking one token out may have
// joined the halves of another.
func tokenAtEnd(p []byte) int {
	for _, token := range [...]string{refOpen, refClose, detOpen, detClose, endOfText} {
		if len(p) >= len(token) && string(p[len(p)-len(token):]) == token {
			return len(token)
		}
	}
	return 0
}
