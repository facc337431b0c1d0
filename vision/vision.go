// Package vision knows how a model sees a page: in how many tokens.
package vision

import (
	"math"
	"strings"
)

// Model is one way to see a page: one global view and, where the page is larger
// than a tile, two to six tiles beside it.
type Model struct {
	tile     int  // side, in pixels
	global   int  // tokens of the global view
	tileSide int  // tokens along a tile's side
	lineEnds bool // one more token after every row of tiles' tokens
}

// Gundam mode of both models, as vLLM always runs them: DeepSeek-OCR 1024 px +
// tiles of 640 px, 273 to 933 tokens, an A4 page in portrait 903; DeepSeek-OCR-2
// tiles of 768 px, 257 to 1121 tokens.
var (
	deepseekOCR  = Model{tile: 640, global: 273, tileSide: 10, lineEnds: true}
	deepseekOCR2 = Model{tile: 768, global: 257, tileSide: 12}
)

// Of returns how the model of this name sees. An unknown one is taken for DeepSeek-OCR.
func Of(model string) Model {
	if strings.Contains(model, "OCR-2") {
		return deepseekOCR2
	}
	return deepseekOCR
}

// Tokens is how many tokens an image of so many pixels becomes.
func (m Model) Tokens(width, height int) int {
	if width <= m.tile && height <= m.tile {
		return m.global
	}
	across, down := m.tiling(width, height)
	row := across * m.tileSide
	if m.lineEnds {
		row++
	}
	return m.global + row*down*m.tileSide
}

// tiling picks the grid of two to six tiles whose shape is nearest the image's;
// of equally near ones the larger, if the image has the pixels for it.
func (m Model) tiling(width, height int) (across, down int) {
	ratio := float64(width) / float64(height)
	best := math.Inf(1)
	for tiles := 2; tiles <= 6; tiles++ {
		for x := 1; x <= tiles; x++ {
			if tiles%x != 0 {
				continue
			}
			y := tiles / x
			diff := math.Abs(ratio - float64(x)/float64(y))
			large := 2*width*height > m.tile*m.tile*tiles
			if diff < best || diff == best && large {
				best, across, down = diff, x, y
			}
		}
	}
	return across, down
}
