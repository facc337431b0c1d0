package legacy

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest file name in bytes that the service's file system
// takes; the time stamp in front of it counts.
const maxName = 255

// SecureFilename is Werkzeug's secure_filename: the ASCII letters, digits,
// underscores, dashes and dots of a name, with underscores for slashes and
// white space between other characters. Other letters lose their accents or
// are dropped.
func SecureFilename(raw string) string {
	ascii := strings.Map(func(r rune) rune {
		switch {
		case r >= 0x80:
			return -1
		case r == '/':
			return ' '
		}
		return r
	}, norm.NFKD.String(raw))
	joined := strings.Join(strings.FieldsFunc(ascii, isSpace), "_")
	kept := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return -1
	}, joined)
	return strings.Trim(kept, "._")
}

// allowed reports whether the name that the client gave (not its secure form)
// ends in the extension of an image.
func allowed(raw string) bool {
	dot := strings.LastIndexByte(raw, '.')
	if dot < 0 {
		return false
	}
	switch lowerASCII(raw[dot+1:]) {
	case "png", "jpg", "jpeg", "gif", "bmp", "webp":
		return true
	}
	return false
}

// savedName is the name under which the service would have kept an upload. It
// names no file here. index is the place in a batch, or single.
func savedName(now time.Time, index int, raw string) string {
	stamp := now.Format("20060102_150405")
	if index == single {
		return stamp + "_" + SecureFilename(raw)
	}
	return fmt.Sprintf("%s_%d_%s", stamp, index, SecureFilename(raw))
}

// single stands for the index of an image that is in no batch.
const single = -1
