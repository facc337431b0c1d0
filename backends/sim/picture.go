package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
	"math"
	"strings"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
)

// maxPixels is where Pillow, which decodes images for vLLM, suspects a
// decompression bomb (twice its warning limit) and refuses.
const maxPixels = 2 * 89478485

// fetchImage decodes a data URL as strictly as vLLM: exactly
// data:<mime>;base64,<no line ends>; the MIME type is not looked at.
func fetchImage(url string) ([]byte, *apiError) {
	spec, data, found := strings.Cut(url, ",")
	mime, ok := strings.CutPrefix(spec, "data:")
	switch {
	case !ok && (strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://")):
		return nil, badRequest("", "The URL must be from one of the allowed domains: [].")
	case !ok && strings.HasPrefix(url, "file:"):
		return nil, badRequest("", "Cannot load local files without `--allowed-local-media-path`.")
	case !ok:
		return nil, badRequest("", "The URL must be either a HTTP, data or file URL.")
	case !found:
		return nil, badRequest("", "Invalid data URL: missing ',' separator.")
	}
	if _, encoding, _ := strings.Cut(mime, ";"); encoding != "base64" {
		return nil, notImplemented("Only base64 data URLs are supported for now.")
	}
	if strings.ContainsAny(data, "\r\n") {
		return nil, badRequest("", "Only base64 data is allowed")
	}
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil, badRequest("", "Only base64 data is allowed")
	}
	return raw, nil
}

// inspect decodes the image in full, because vLLM would notice a file that is
// cut short too, and fills in the page.
func (p *Page) inspect(raw []byte) *apiError {
	head, format, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil {
		return badRequest("", "Failed to load image: cannot identify image file")
	}
	if head.Width*head.Height > maxPixels {
		return badRequest("", "Failed to load image: image size exceeds limit, could be decompression bomb")
	}
	if _, _, err := image.Decode(bytes.NewReader(raw)); err != nil {
		return badRequest("", "Failed to load image: image file is truncated or broken")
	}
	p.Image, p.Format = raw, format
	p.Size = image.Pt(head.Width, head.Height)
	p.SHA256 = sha256.Sum256(raw)
	return nil
}

// vision is how a model sees a page: one global view and, where the page is
// larger than a tile, two to six tiles. A tile's side is in pixels; the rest is
// in tokens.
type vision struct {
	tile     int
	global   int
	tileSide int  // tokens along a tile's side
	lineEnds bool // one more token after every row of tiles' tokens
}

// Gundam mode of both models, as vLLM always runs them: DeepSeek-OCR 1024 px +
// tiles of 640 px, 273 to 933 tokens, an A4 page in portrait 903; DeepSeek-OCR-2
// tiles of 768 px, 257 to 1121 tokens.
var (
	deepseekOCR  = vision{tile: 640, global: 273, tileSide: 10, lineEnds: true}
	deepseekOCR2 = vision{tile: 768, global: 257, tileSide: 12}
)

func visionOf(model string) vision {
	if strings.Contains(model, "OCR-2") {
		return deepseekOCR2
	}
	return deepseekOCR
}

// imageTokens is the number of tokens that an image of this size becomes.
func (v vision) imageTokens(size image.Point) int {
	if size.X <= v.tile && size.Y <= v.tile {
		return v.global
	}
	across, down := v.tiling(size)
	row := across * v.tileSide
	if v.lineEnds {
		row++
	}
	return v.global + row*down*v.tileSide
}

// tiling picks the grid of two to six tiles whose shape is nearest the image's;
// of equally near ones the larger, if the image has the pixels for it.
func (v vision) tiling(size image.Point) (across, down int) {
	ratio := float64(size.X) / float64(size.Y)
	best := math.Inf(1)
	for tiles := 2; tiles <= 6; tiles++ {
		for x := 1; x <= tiles; x++ {
			if tiles%x != 0 {
				continue
			}
			y := tiles / x
			diff := math.Abs(ratio - float64(x)/float64(y))
			large := 2*size.X*size.Y > v.tile*v.tile*tiles
			if diff < best || diff == best && large {
				best, across, down = diff, x, y
			}
		}
	}
	return across, down
}
