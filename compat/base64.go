package compat

import "encoding/binary"

// base64Run counts the leading bytes of p that are of the standard alphabet.
func base64Run(p []byte) int {
	rest := p
	for ; len(rest) >= 32; rest = rest[32:] {
		a, b := binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])
		c, d := binary.LittleEndian.Uint64(rest[16:]), binary.LittleEndian.Uint64(rest[24:])
		ok := inBase64(a) & inBase64(b) & inBase64(c) & inBase64(d)
		if (^ok|a|b|c|d)&highBits != 0 {
			break
		}
	}
	for ; len(rest) > 0; rest = rest[1:] {
		if c := rest[0]; c >= 0x80 || inBase64(uint64(c))&0x80 == 0 {
			break
		}
	}
	return len(p) - len(rest)
}

// inBase64 marks with their high bits those bytes of w that are in A-Z, a-z,
// 0-9, + and /. All must be below 0x80: then byte+(0x80-low) has its high bit
// from low on, (0x80+high)-byte up to high, and neither carries into the next.
func inBase64(w uint64) uint64 {
	lower := w | 0x20*everyByte // letters become small, nothing else becomes a letter
	letter := (lower + (0x80-'a')*everyByte) & ((0x80+'z')*everyByte - lower)
	digit := (w + (0x80-'/')*everyByte) & ((0x80+'9')*everyByte - w) // / stands right before 0
	plus := 0x80*everyByte - (w ^ '+'*everyByte)
	return letter | digit | plus
}
