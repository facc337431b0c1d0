package compat

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// isBase64 reports whether text is padded standard base64 without anything
// else in it, and not empty.
func isBase64(text []byte) bool {
	n := base64Run(text)
	padding := len(text) - n
	return n > 0 && len(text)%4 == 0 && padding <= 2 && bytes.Equal(text[n:], []byte("==")[:padding])
}

// base64Run counts the leading bytes of p that are of the standard alphabet,
// eight at a time.
func base64Run(p []byte) int {
	i := 0
	for ; i+8 <= len(p); i += 8 {
		if m := outsideBase64(binary.LittleEndian.Uint64(p[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(p); i++ {
		if outsideBase64(uint64(p[i])|'A'*everyByte&^0xFF) != 0 {
			break
		}
	}
	return i
}

// outsideBase64 marks with its high bit the first byte of w that is not in
// A-Z, a-z, 0-9, + and /, and no byte before it. For a byte below 0x80, adding
// 0x80-low sets its high bit from low on and carries nothing into the next
// byte; a byte from 0x80 on is marked itself and may spoil only those after it.
func outsideBase64(w uint64) uint64 {
	lower := w | 0x20*everyByte // letters become small, nothing else becomes a letter
	letter := (lower + (0x80-'a')*everyByte) &^ (lower + (0x7F-'z')*everyByte)
	digit := (w + (0x80-'/')*everyByte) &^ (w + (0x7F-'9')*everyByte) // / stands right before 0
	plus := ^((w ^ '+'*everyByte) + 0x7F*everyByte)
	return (^(letter | digit | plus) | w) & highBits
}
