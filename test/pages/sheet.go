package pages

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// DotsPerInch is the resolution at which pages are drawn: that of an office
// scanner's usual setting.
const DotsPerInch = 200

// Font is one of the fonts that pages are drawn with.
type Font int

const (
	// Serif is Liberation Serif, which has the measures of Times New Roman.
	Serif Font = iota
	// SansBold is Liberation Sans Bold.
	SansBold
	// Mono is DejaVu Sans Mono, for columns that line up.
	Mono
	// SansChinese is Noto Sans CJK in its Traditional Chinese form.
	SansChinese
	// SansChineseBold is the same in bold.
	SansChineseBold
)

// fontFile says where Debian puts a font. The index counts inside a collection:
// Debian's Noto CJK files hold Japanese, Korean, Simplified, Traditional (3) and
// Hong Kong forms in this order.
type fontFile struct {
	path          string
	index         int
	debianPackage string
}

func (f Font) file() fontFile {
	switch f {
	case SansBold:
		return fontFile{"/usr/share/fonts/truetype/liberation/LiberationSans-Bold.ttf", 0, "fonts-liberation"}
	case Mono:
		return fontFile{"/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf", 0, "fonts-dejavu-core"}
	case SansChinese:
		return fontFile{"/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 3, "fonts-noto-cjk"}
	case SansChineseBold:
		return fontFile{"/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc", 3, "fonts-noto-cjk"}
	default:
		return fontFile{"/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf", 0, "fonts-liberation"}
	}
}

// NewFace opens a font at a size in points (1/72 inch). The caller closes it.
func NewFace(name Font, points float64) (font.Face, error) {
	source := name.file()
	data, err := os.ReadFile(source.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("font %s is missing: apt-get install %s", source.path, source.debianPackage)
	}
	if err != nil {
		return nil, err
	}
	collection, err := opentype.ParseCollection(data) // a single font is a collection of one
	if err != nil {
		return nil, fmt.Errorf("font %s: %w", source.path, err)
	}
	parsed, err := collection.Font(source.index)
	if err != nil {
		return nil, fmt.Errorf("font %s, index %d: %w", source.path, source.index, err)
	}
	return opentype.NewFace(parsed, &opentype.FaceOptions{Size: points, DPI: DotsPerInch, Hinting: font.HintingNone})
}

// Sheet is white paper that remembers what was written on it.
type Sheet struct {
	image *image.Gray
	lines []string
}

// NewSheet is an empty sheet; width and height are in dots.
func NewSheet(width, height int) *Sheet {
	paper := image.NewGray(image.Rect(0, 0, width, height))
	draw.Draw(paper, paper.Bounds(), image.White, image.Point{}, draw.Src)
	return &Sheet{image: paper}
}

// Write puts a new line of text on the sheet; x and y are where its first
// letter stands on its baseline.
func (s *Sheet) Write(face font.Face, x, y int, text string) {
	s.lines = append(s.lines, text)
	s.ink(face, x, y, text)
}

// Continue writes further to the right in the line that Write began, as the
// next column does. In the true text one space separates the two.
func (s *Sheet) Continue(face font.Face, x, y int, text string) {
	s.lines[len(s.lines)-1] += " " + text
	s.ink(face, x, y, text)
}

func (s *Sheet) ink(face font.Face, x, y int, text string) {
	pen := font.Drawer{Dst: s.image, Src: image.Black, Face: face, Dot: fixed.P(x, y)}
	pen.DrawString(text)
}

// Bar fills a rectangle with ink: a rule, or one line of a table's frame.
func (s *Sheet) Bar(x0, y0, x1, y1 int) {
	draw.Draw(s.image, image.Rect(x0, y0, x1, y1), image.NewUniform(color.Gray{Y: 40}), image.Point{}, draw.Src)
}

// Page is what the sheet shows and says.
func (s *Sheet) Page() Page {
	return Page{Image: s.image, Text: strings.Join(s.lines, "\n") + "\n"}
}
