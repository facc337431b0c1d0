package sim

import (
	"image"
	"strconv"
	"strings"
	"unicode/utf8"
)

// block is a paragraph that Tesseract found, in pixels.
type block struct {
	bounds image.Rectangle
	text   string
}

// parseLayout reads Tesseract's TSV: a line per page, block, paragraph, line and
// word (levels 1 to 5), each with left, top, width, height, and words with
// their text.
func parseLayout(table string) []block {
	const (
		paragraph = 3
		line      = 4
		word      = 5
	)
	var blocks []block
	for row := range strings.Lines(table) {
		f := strings.Split(strings.TrimRight(row, "\n"), "\t")
		if len(f) != 12 {
			continue
		}
		level, err := strconv.Atoi(f[0])
		if err != nil { // the heading
			continue
		}
		switch {
		case level == paragraph:
			blocks = append(blocks, block{bounds: bounds(f[6:10])})
		case len(blocks) == 0:
		case level == line:
			blocks[len(blocks)-1].text += "\n"
		case level == word:
			last := &blocks[len(blocks)-1]
			last.text = joinWord(last.text, f[11])
		}
	}
	return blocks
}

// joinWord puts a word behind text, with a space unless both are Chinese: each
// Chinese character is a word to Tesseract.
func joinWord(text, word string) string {
	before, _ := utf8.DecodeLastRuneInString(text)
	after, _ := utf8.DecodeRuneInString(word)
	if isHan(before) && isHan(after) {
		return text + word
	}
	return text + " " + word
}

// isHan covers ideographs, CJK punctuation and full-width forms.
func isHan(r rune) bool {
	return r >= 0x2e80 && r <= 0x9fff || r >= 0xf900 && r <= 0xfaff || r >= 0xff00 && r <= 0xffef || r >= 0x20000 && r <= 0x3ffff
}

func bounds(f []string) image.Rectangle {
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(f[i]) // Tesseract writes integers here
	}
	return image.Rect(n[0], n[1], n[0]+n[2], n[1]+n[3])
}

// grounded writes the blocks as the model does: a tag with the block's kind and
// its box in thousandths of the page, then its text.
func grounded(blocks []block, size image.Point) string {
	var b strings.Builder
	for _, bl := range blocks {
		text := tidy(bl.text)
		if text == "" {
			continue
		}
		b.WriteString(groundingTag("text", box{
			left:   thousandths(bl.bounds.Min.X, size.X),
			top:    thousandths(bl.bounds.Min.Y, size.Y),
			right:  thousandths(bl.bounds.Max.X, size.X),
			bottom: thousandths(bl.bounds.Max.Y, size.Y),
		}))
		b.WriteString(text + "\n\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// thousandths is the inverse of the model's pixel = int(v / 999 · size).
func thousandths(pixel, size int) int { return min(max(pixel*999/size, 0), 999) }
