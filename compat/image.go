package compat

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/webp"
)

// What an image may measure. Its size is read from its header before anybody
// decodes it, so that a few bytes cannot make a backend allocate gigabytes.
const (
	MaxPixels = 50_000_000
	MaxSide   = 16_384 // pixels
)

// Errors of Sniff.
var (
	ErrNotImage      = errors.New("not a PNG, JPEG, GIF, WebP or BMP image")
	ErrImageTooLarge = errors.New("image has too many pixels")
)

// Sniff tells what an image is by its content: its MIME type, "" where the
// content is none of those that are known, and width and height in pixels. No
// more than the header is decoded. The error is ErrNotImage, also for a header
// that is broken, or ErrImageTooLarge.
func Sniff(raw []byte) (mime string, width, height int, err error) {
	return sniff(raw[:min(len(raw), 16)], func() io.Reader { return bytes.NewReader(raw) })
}

// sniff is Sniff of an image that open reads and that begins with head.
func sniff(head []byte, open func() io.Reader) (mime string, width, height int, err error) {
	mime, decode := format(head)
	if decode == nil {
		return "", 0, 0, ErrNotImage
	}
	c, err := decode(open())
	switch {
	case err != nil || c.Width <= 0 || c.Height <= 0:
		return mime, 0, 0, ErrNotImage
	case c.Width > MaxSide || c.Height > MaxSide || c.Width*c.Height > MaxPixels:
		return mime, c.Width, c.Height, ErrImageTooLarge
	}
	return mime, c.Width, c.Height, nil
}

// format knows an image by its first bytes. SVG is not among them: it is a
// program that names other files.
func format(head []byte) (mime string, decode func(io.Reader) (image.Config, error)) {
	starts := func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }
	switch {
	case starts("\x89PNG\r\n\x1a\n"):
		return "image/png", png.DecodeConfig
	case starts("\xff\xd8\xff"):
		return "image/jpeg", jpeg.DecodeConfig
	case starts("GIF87a"), starts("GIF89a"):
		return "image/gif", gif.DecodeConfig
	case starts("RIFF") && len(head) >= 12 && string(head[8:12]) == "WEBP":
		return "image/webp", webp.DecodeConfig
	case starts("BM"):
		return "image/bmp", bmpConfig
	}
	return "", nil
}

// bmpConfig reads a bitmap's size. x/image/bmp would do, but refuses kinds of
// bitmaps (16 bits, run-length, OS/2) that a backend reads.
func bmpConfig(r io.Reader) (c image.Config, err error) {
	var b [26]byte // file header of 14 bytes, then length, width and height
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return c, err
	}
	switch length := binary.LittleEndian.Uint32(b[14:]); {
	case length == 12: // BITMAPCOREHEADER
		c.Width = int(binary.LittleEndian.Uint16(b[18:]))
		c.Height = int(binary.LittleEndian.Uint16(b[20:]))
	case length >= 40 && length <= 124: // BITMAPINFOHEADER and its successors
		c.Width = int(int32(binary.LittleEndian.Uint32(b[18:])))
		c.Height = int(int32(binary.LittleEndian.Uint32(b[22:])))
		c.Height = max(c.Height, -c.Height) // negative: top row first
	default:
		return c, ErrNotImage
	}
	return c, nil
}

// Image is one data URL of a request: its base64 text and what the image's own
// header says.
type Image struct {
	MIME          string // "image/png", as sniffed, not as claimed
	Base64        []byte // valid standard base64, padded; a span of the body, or a copy where the body had escapes in it
	Width, Height int    // pixels
}

// readDataURL reads a data URL in the one form that vLLM takes,
// data:image/<subtype>;base64,<text>. The error's Param is left to the caller.
func readDataURL(url []byte) (Image, *Error) {
	text, problem := base64Of(url)
	if problem != nil {
		return Image{}, problem
	}
	var head [18]byte
	n, _ := base64.StdEncoding.Decode(head[:], text[:min(len(text), 24)]) // valid, base64Of has seen to it
	mime, width, height, err := sniff(head[:n], func() io.Reader {
		return base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text))
	})
	switch {
	case errors.Is(err, ErrImageTooLarge):
		return Image{}, Invalid("", "image_too_large", fmt.Sprintf("The image is too large: %d by %d pixels. At most %d pixels and %d a side are accepted.", width, height, MaxPixels, MaxSide))
	case mime == "":
		return Image{}, Invalid("", "invalid_image_format", "You uploaded an unsupported image. Please make sure your image is of one of the following formats: ['png', 'jpeg', 'gif', 'webp', 'bmp'].")
	case err != nil:
		return Image{}, Invalid("", "image_parse_error", "The image data you provided does not represent a valid image. Please check your input and try again.")
	}
	return Image{MIME: mime, Base64: text, Width: width, Height: height}, nil
}

// base64Of returns the base64 text of a data URL.
func base64Of(url []byte) ([]byte, *Error) {
	rest, ok := bytes.CutPrefix(url, []byte("data:image/"))
	switch {
	case ok:
	case hasScheme(url, "http:"), hasScheme(url, "https:"):
		return nil, Invalid("", "invalid_image_url", "Image URLs are not fetched by this server. Send the image itself as a data URL (data:image/png;base64,...), or ask the operator to switch fetching on (images.fetch in the configuration).")
	default:
		return nil, Invalid("", "invalid_image_url", "Invalid image URL: it must begin with data:image/.")
	}
	subtype, text, ok := bytes.Cut(rest[:min(len(rest), 64)], []byte(";base64,"))
	if !ok || !isSubtype(subtype) {
		return nil, Invalid("", "invalid_image_url", "Invalid image URL: it must have the form data:image/<type>;base64,<data>, without other parameters.")
	}
	text = rest[len(rest[:min(len(rest), 64)])-len(text):]
	if !isBase64(text) {
		return nil, Invalid("", "invalid_base64", "Invalid image URL: its data is not valid base64 (standard alphabet, padded, no line breaks).")
	}
	return text, nil
}

func hasScheme(url []byte, scheme string) bool {
	return len(url) >= len(scheme) && bytes.EqualFold(url[:len(scheme)], []byte(scheme))
}

// isSubtype reports whether s is a plausible subtype of image/, such as
// "png", "x-ms-bmp", "svg+xml". It is not believed, but it is forwarded.
func isSubtype(s []byte) bool {
	for _, c := range s {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.') {
			return false
		}
	}
	return len(s) > 0
}
