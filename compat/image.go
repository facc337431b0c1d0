package compat

import (
	"bytes"
	"encoding/binary"
	"errors"
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
