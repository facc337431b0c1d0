package sim

import (
	"context"
	"crypto/sha256"
	"image"
)

// Engine writes what the model would write for a page.
type Engine interface {
	// Read returns the whole text, special tokens included. It may take its
	// time and must return soon after ctx ends.
	Read(ctx context.Context, page Page) (Text, error)
}

// Page is what the model sees: a prompt and at most one image.
type Page struct {
	Prompt string
	// Grounding asks for the layout: <|ref|>kind<|/ref|><|det|>boxes<|/det|>
	// before every block, coordinates from 0 to 999.
	Grounding bool
	// Image is the encoded image exactly as it was sent; nil without one.
	Image  []byte
	Format string // as the image package names it: png, jpeg, gif, bmp, webp, tiff
	Size   image.Point
	SHA256 [sha256.Size]byte // of Image
}

// Text is an engine's answer.
type Text struct {
	Content string
	// Loops says that the model would not find an end on this page, with or
	// without its n-gram guard.
	Loops bool
}
