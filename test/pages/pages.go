// Package pages draws pages of known text, for tests that read them back.
//
// A test asks [Random] for a page of random words, sends its picture through
// the router and compares the answer with the page's own text by
// [CharacterError]. Because the words come from a seed, no file holds the page
// and nobody can answer from memory. [Sheet] is the pen and paper beneath,
// which the program behind samples/ uses for its layouts.
//
// The fonts are Debian's; a missing one is an error that names its package.
package pages

import (
	"bytes"
	_ "embed" // the word lists
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"strings"

	"golang.org/x/image/font"
)

// Script is the writing that a random page is in.
type Script int

const (
	// English is words in Latin letters, separated by spaces.
	English Script = iota
	// Chinese is Traditional Chinese: words without spaces between them.
	Chinese
)

func (s Script) String() string {
	switch s {
	case English:
		return "English"
	case Chinese:
		return "Chinese"
	}
	return fmt.Sprintf("Script(%d)", int(s))
}

// Page is a picture of text together with that text, line by line.
type Page struct {
	Image *image.Gray
	Text  string
}

// PNG is the page's picture as a file. The same page gives the same bytes.
func (p Page) PNG() []byte {
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&file, p.Image); err != nil {
		// A buffer takes every write and a drawn page is never empty or huge.
		panic(fmt.Sprintf("pages: encoding a drawn page: %v", err))
	}
	return file.Bytes()
}

// Random pages look like a paragraph on a sheet of about A5 at 200 dots an
// inch: enough text that one wrong letter stays far below the bounds that tests
// set, and read by Tesseract in about a second.
const (
	randomWidth  = 1240
	randomLines  = 12
	randomMargin = 90
)

// Random draws a page of common words in random order. The same seed and script
// give the same page. It fails only when the script's font is not installed.
func Random(seed uint64, script Script) (Page, error) {
	random := rand.New(rand.NewPCG(seed, uint64(script)))
	name, points, nextLine := Serif, 12.0, englishLine
	if script == Chinese {
		name, points, nextLine = SansChinese, 13.0, chineseLine
	}
	face, err := NewFace(name, points)
	if err != nil {
		return Page{}, err
	}
	defer face.Close()

	leading := face.Metrics().Height.Ceil() * 3 / 2
	sheet := NewSheet(randomWidth, 2*randomMargin+randomLines*leading)
	for line := range randomLines {
		sheet.Write(face, randomMargin, randomMargin+(line+1)*leading, nextLine(random, face))
	}
	return sheet.Page(), nil
}

//go:embed words/english.txt
var englishWords string

// The list leaves out words with a letter that Tesseract misreads more often
// than not (U+611F, U+96E8, U+70AD, U+5319, U+671B, U+98B1): the pages are there
// to test the way to the recogniser and back.
//
//go:embed words/chinese.txt
var chineseWords string

// englishLine is a sentence as long as fits between the margins.
func englishLine(random *rand.Rand, face font.Face) string {
	words := strings.Fields(englishWords)
	line := ""
	for {
		longer := words[random.IntN(len(words))]
		if line != "" {
			longer = line + " " + longer
		}
		if !fits(face, longer+".") {
			return strings.ToUpper(line[:1]) + line[1:] + "."
		}
		line = longer
	}
}

// chineseLine is a sentence of eight to eleven words without spaces. Lines of one
// length, or stops and commas below each other, look like columns to a
// recogniser.
func chineseLine(random *rand.Rand, face font.Face) string {
	words := strings.Fields(chineseWords)
	line := ""
	for range 8 + random.IntN(4) {
		line += words[random.IntN(len(words))]
	}
	return line + "。"
}

func fits(face font.Face, line string) bool {
	return font.MeasureString(face, line).Ceil() <= randomWidth-2*randomMargin
}
