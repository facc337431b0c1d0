package completions

import (
	"crypto/sha256"
	"encoding/base64"
	"hash"
)

// digest names an image by its bytes. Whoever could make two images with one
// digest could make one tenant see a wrong answer of its own: it must be safe
// against chosen collisions. Another hash is chosen here and nowhere else.
type digest [sha256.Size]byte

func newDigest() hash.Hash { return sha256.New() }

func digestOf(p []byte) digest { return sha256.Sum256(p) }

// digestBase64 is the digest of what text decodes to, block by block: neither a
// copy of the image nor base64.NewDecoder's search for line breaks, which cost
// more than the rest of a remembered answer.
func digestBase64(text []byte) (sum digest, err error) {
	const block = 16 << 10 // a multiple of four characters
	var decoded [block / 4 * 3]byte
	h := newDigest()
	for len(text) > 0 {
		n, err := base64.StdEncoding.Decode(decoded[:], text[:min(block, len(text))])
		if err != nil {
			return sum, err
		}
		h.Write(decoded[:n])
		text = text[min(block, len(text)):]
	}
	h.Sum(sum[:0])
	return sum, nil
}
