package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
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
