package compat_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/image/bmp"

	"ocrmux/compat"
)

func encode(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

// encoded is an image of the size in a format.
func encoded(t *testing.T, format string, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	size := image.Rect(0, 0, width, height)
	switch format {
	case "png":
		err = png.Encode(&b, image.NewRGBA(size))
	case "jpeg":
		err = jpeg.Encode(&b, image.NewRGBA(size), nil)
	case "gif":
		err = gif.Encode(&b, image.NewPaletted(size, palette.Plan9), nil)
	case "bmp":
		err = bmp.Encode(&b, image.NewRGBA(size))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// webpLossless is the head of a lossless WebP: its size stands in 14 bits each.
func webpLossless(width, height uint32) []byte {
	b := []byte("RIFF\x20\x00\x00\x00WEBPVP8L\x14\x00\x00\x00\x2f")
	return append(binary.LittleEndian.AppendUint32(b, width-1|(height-1)<<14), make([]byte, 20)...)
}

// bitmap is the head of a BMP with the older header, or with negative height.
func bitmap(length uint32, width, height int32) []byte {
	b := append([]byte("BM"), make([]byte, 12)...)
	b = binary.LittleEndian.AppendUint32(b, length)
	if length == 12 {
		b = binary.LittleEndian.AppendUint16(b, uint16(width))
		b = binary.LittleEndian.AppendUint16(b, uint16(height))
		return append(b, 0, 0, 0, 0)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(width))
	return binary.LittleEndian.AppendUint32(b, uint32(height))
}

// pngHead is the head of a PNG that claims to be of any size.
func pngHead(t *testing.T, width, height uint32) []byte {
	b := encoded(t, "png", 1, 1)
	binary.BigEndian.PutUint32(b[16:], width)
	binary.BigEndian.PutUint32(b[20:], height)
	binary.BigEndian.PutUint32(b[29:], crc(b[12:29]))
	return b
}

func crc(p []byte) uint32 {
	c := ^uint32(0)
	for _, b := range p {
		c ^= uint32(b)
		for range 8 {
			c = c>>1 ^ 0xEDB88320&-(c&1)
		}
	}
	return ^c
}

func TestSniff(t *testing.T) {
	jpegWithExif := encoded(t, "jpeg", 30, 20)
	exif := append([]byte{0xFF, 0xE1, 0xFF, 0xFF}, make([]byte, 0xFFFF-2)...)
	jpegWithExif = append(append(bytes.Clone(jpegWithExif[:2]), exif...), jpegWithExif[2:]...)
	for _, c := range []struct {
		name          string
		raw           []byte
		mime          string
		width, height int
		err           error
	}{
		{"png", encoded(t, "png", 30, 20), "image/png", 30, 20, nil},
		{"jpeg", encoded(t, "jpeg", 30, 20), "image/jpeg", 30, 20, nil},
		{"jpeg behind 64 kB of EXIF", jpegWithExif, "image/jpeg", 30, 20, nil},
		{"gif", encoded(t, "gif", 30, 20), "image/gif", 30, 20, nil},
		{"bmp", encoded(t, "bmp", 30, 20), "image/bmp", 30, 20, nil},
		{"bmp of OS/2", bitmap(12, 30, 20), "image/bmp", 30, 20, nil},
		{"bmp from the top", bitmap(40, 30, -20), "image/bmp", 30, 20, nil},
		{"bmp of negative width", bitmap(40, -30, 20), "image/bmp", 0, 0, compat.ErrNotImage},
		{"bmp of the lowest height", bitmap(40, 30, -1<<31), "image/bmp", 30, 1 << 31, compat.ErrImageTooLarge},
		{"bmp with a strange header", bitmap(1000, 30, 20), "image/bmp", 0, 0, compat.ErrNotImage},
		{"webp", webpLossless(30, 20), "image/webp", 30, 20, nil},
		{"webp cut", webpLossless(30, 20)[:16], "image/webp", 0, 0, compat.ErrNotImage},
		{"a side at the limit", pngHead(t, 16384, 1), "image/png", 16384, 1, nil},
		{"a side above it", pngHead(t, 16385, 1), "image/png", 16385, 1, compat.ErrImageTooLarge},
		{"a tall side above it", pngHead(t, 1, 16385), "image/png", 1, 16385, compat.ErrImageTooLarge},
		{"pixels at the limit", pngHead(t, 10000, 5000), "image/png", 10000, 5000, nil},
		{"pixels above it", pngHead(t, 10000, 5001), "image/png", 10000, 5001, compat.ErrImageTooLarge},
		{"a size of 0", bitmap(40, 0, 20), "image/bmp", 0, 0, compat.ErrNotImage},
		{"png cut", encoded(t, "png", 30, 20)[:20], "image/png", 0, 0, compat.ErrNotImage},
		{"jpeg cut", encoded(t, "jpeg", 30, 20)[:20], "image/jpeg", 0, 0, compat.ErrNotImage},
		{"nothing", nil, "", 0, 0, compat.ErrNotImage},
		{"text", []byte("hello, world"), "", 0, 0, compat.ErrNotImage},
		{"svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), "", 0, 0, compat.ErrNotImage},
		{"pdf", []byte("%PDF-1.7"), "", 0, 0, compat.ErrNotImage},
		{"tiff", []byte("II*\x00\x08\x00\x00\x00"), "", 0, 0, compat.ErrNotImage},
		{"sound", []byte("RIFF\x00\x00\x00\x00WAVEfmt "), "", 0, 0, compat.ErrNotImage},
	} {
		t.Run(c.name, func(t *testing.T) {
			mime, width, height, err := compat.Sniff(c.raw)
			if mime != c.mime || width != c.width || height != c.height || !errors.Is(err, c.err) {
				t.Errorf("got %s %dx%d %v, want %s %dx%d %v", mime, width, height, err, c.mime, c.width, c.height, c.err)
			}
			body := chat(`{"type":"image_url","image_url":{"url":"data:image/x;base64,` + encode(c.raw) + `"}}`)
			if c.err == nil {
				i := parse(t, compat.Chat, body, rules).Images[0]
				if i.MIME != c.mime || i.Width != c.width || i.Height != c.height || string(i.Base64) != encode(c.raw) {
					t.Errorf("in a request: got %s %dx%d", i.MIME, i.Width, i.Height)
				}
				return
			}
			want := map[error]string{compat.ErrImageTooLarge: "image_too_large"}[c.err]
			if want == "" && c.mime == "" {
				want = "invalid_image_format"
			} else if want == "" {
				want = "image_parse_error"
			}
			if len(c.raw) == 0 {
				want = "invalid_base64"
			}
			if e := refusal(t, compat.Chat, body, rules); e.Code != want || e.Status != 400 {
				t.Errorf("in a request: got %d %s, want 400 %s", e.Status, e.Code, want)
			}
		})
	}
}

// What stands behind the header is not read: a broken image of the right form
// is for the backend to refuse.
func TestParse_ReadsNoMoreOfAnImageThanItsHeader(t *testing.T) {
	raw := append(encoded(t, "png", 30, 20)[:40], bytes.Repeat([]byte{0}, 5000)...)
	i := parse(t, compat.Chat, chat(`{"type":"image_url","image_url":{"url":"data:image/png;base64,`+encode(raw)+`"}}`), rules).Images[0]
	if i.Width != 30 {
		t.Errorf("got %d pixels", i.Width)
	}
}

func TestParse_UnescapesADataURL(t *testing.T) {
	raw := encoded(t, "jpeg", 30, 20)
	for len(raw)%3 == 0 { // so that the text ends in =
		raw = append(raw, 0)
	}
	text := encode(raw)
	if !strings.Contains(text, "/") {
		t.Fatal("the image has no slash to escape")
	}
	for _, url := range []string{
		strings.ReplaceAll("data:image/jpeg;base64,"+text, "/", `\/`),
		`\u0064ata:image/jpeg;base64,` + text,
		"data:image/jpeg;base64," + text[:len(text)-1] + `\u003d`,
	} {
		body := []byte(chat(`{"type":"image_url","image_url":{"url":"` + url + `"}}`))
		r := parse(t, compat.Chat, string(body), rules)
		if got := string(r.Images[0].Base64); got != text {
			t.Errorf("%.40s: got %.40s", url, got)
		}
		if got := read(t, r.Rewrite(nil, nil)); got != string(body) {
			t.Errorf("%.40s: the body has changed", url)
		}
	}
}

// TestParse_NamesAnImageAndChangesNothingElse holds a reader that names images
// to one that does not, also where decoders take more than a data URL may hold,
// which is line breaks.
func TestParse_NamesAnImageAndChangesNothingElse(t *testing.T) {
	raw := encoded(t, "jpeg", 30, 20)
	for len(raw)%3 != 1 { // so that the text ends in ==
		raw = append(raw, 0)
	}
	text := encode(raw)
	half := len(text) / 8 * 4
	sum := func(text []byte) (sum [32]byte, err error) {
		decoded, err := base64.StdEncoding.AppendDecode(nil, text)
		return sha256.Sum256(decoded), err
	}
	for name, text := range map[string]string{
		"padded":                   text,
		"not padded":               encode(append(bytes.Clone(raw), 0, 0)),
		"slashes escaped":          strings.ReplaceAll(text, "/", `\/`),
		"padding escaped":          text[:len(text)-1] + `\u003d`,
		"a letter escaped":         text[:half] + fmt.Sprintf(`\u%04x`, text[half]) + text[half+1:],
		"a line break":             text[:half] + "\n" + text[half:],
		"four line breaks":         text[:half] + "\n\n\n\n" + text[half:],
		"four returns":             text[:half] + "\r\r\r\r" + text[half:],
		"four line breaks escaped": text[:half] + `\n\n\n\n` + text[half:],
		"a line break at the end":  text + "\n",
		"padding in the middle":    text[:half] + "==" + text[half:],
		"three paddings":           text + "=",
		"no padding":               strings.TrimRight(text, "="),
		"a quote escaped":          text[:half] + `\"` + text[half:],
		"the other alphabet":       text[:half] + "--__" + text[half:],
		"not ASCII":                text[:half] + "é" + text[half:],
		"a zero byte":              text[:half] + "\x00" + text[half:],
		"an end":                   text[:half] + `"`,
		"nothing":                  "",
		"only padding":             "==",
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(chat(`{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,` + text + `"}}`))
			named := rules
			named.Sum = sum
			want, wantErr := compat.Parse(compat.Chat, body, rules)
			got, err := compat.Parse(compat.Chat, body, named)
			if !reflect.DeepEqual(err, wantErr) {
				t.Fatalf("got %v, want %v", err, wantErr)
			}
			if err != nil {
				return
			}
			if name := got.Images[0].Sum; name == nil || *name != sha256.Sum256(decode(t, got.Images[0].Base64)) {
				t.Errorf("the image is named %x", name)
			}
			got.Images[0].Sum = nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// A request of several images is not known by theirs, so the others are not named.
func TestParse_NamesTheFirstImageOnly(t *testing.T) {
	part := `{"type":"image_url","image_url":{"url":"data:image/png;base64,` + encode(encoded(t, "png", 30, 20)) + `"}}`
	asked := 0
	r := parse(t, compat.Chat, chat(part+","+part), compat.Rules{MaxImages: 2, Sum: func([]byte) (sum [32]byte, err error) {
		asked++
		return sum, nil
	}})
	if asked != 1 || r.Images[0].Sum == nil || r.Images[1].Sum != nil {
		t.Errorf("asked for %d names, got %v and %v", asked, r.Images[0].Sum, r.Images[1].Sum)
	}
}

func decode(t *testing.T, text []byte) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
