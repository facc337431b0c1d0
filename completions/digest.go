package completions

import (
	"crypto/sha256"
	"encoding/base64"
)

// Digest names images by their bytes. Whoever could make two images with one
// name could have a wrong answer remembered for one of them: it must be safe
// against chosen collisions. The names are part of keys in the cache, and go
// nowhere else.
type Digest interface {
	Sum(image []byte) [32]byte
	SumBase64(text []byte) ([32]byte, error) // of what text stands for; see compat.Rules.Sum
}

// plainDigest is SHA-256, for a service that was given nothing faster.
type plainDigest struct{}

func (plainDigest) Sum(image []byte) [32]byte { return sha256.Sum256(image) }

// SumBase64 decodes block by block: neither a copy of the image nor
// base64.NewDecoder's search for line breaks, which cost more than the rest of a
// remembered answer.
func (plainDigest) SumBase64(text []byte) (sum [32]byte, err error) {
	const block = 16 << 10 // a multiple of four characters
	var decoded [block / 4 * 3]byte
	h := sha256.New()
	for len(text) > 0 {
		n, err := base64.StdEncoding.Decode(decoded[:], text[:min(block, len(text))])
		if err != nil {
			return sum, err
		}
		h.Write(decoded[:n])
		if text = text[min(block, len(text)):]; len(text) > 0 && n < len(decoded) {
			return sum, base64.CorruptInputError(n / 3 * 4) // an end, or a line break, within the text
		}
	}
	h.Sum(sum[:0])
	return sum, nil
}
