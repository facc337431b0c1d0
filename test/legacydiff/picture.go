package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// A picture shows a text to models that can read, and carries it in a comment
// (a tEXt chunk of PNG, section 11.3.4.3) for a stub that cannot.

// stubKeyword is the comment's keyword.
const stubKeyword = "legacydiff"

// uncommented is what a stub says of pictures that carry no text.
const uncommented = "A picture of which the stub knows nothing but that it is one, and no echo."

// picture draws a text, as a PNG.
func picture(text string) []byte {
	return withComment(encoded(png.Encode, drawn(text)), text)
}

func encoded(encode func(io.Writer, image.Image) error, m image.Image) []byte {
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		panic(err) // a gray image of this size is always encoded
	}
	return b.Bytes()
}

// drawn has a text's letters; what the font lacks shows as boxes.
func drawn(text string) image.Image {
	canvas := image.NewGray(image.Rect(0, 0, 480, 96))
	draw.Draw(canvas, canvas.Bounds(), image.White, image.Point{}, draw.Src)
	pen := font.Drawer{Dst: canvas, Src: image.NewUniform(color.Black), Face: basicfont.Face7x13}
	for i, line := range strings.Split(text, "\n") {
		pen.Dot = fixed.P(10, 20+16*i)
		pen.DrawString(line)
	}
	return canvas
}

// afterHeader is where a PNG's first chunk, the image's header, ends.
const afterHeader = 8 + 12 + 13

func withComment(png []byte, text string) []byte {
	chunk := append([]byte("tEXt"+stubKeyword+"\x00"), text...)
	out := append([]byte(nil), png[:afterHeader]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(chunk)-4))
	out = append(out, chunk...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(chunk))
	return append(out, png[afterHeader:]...)
}

// comment is what withComment wrote into an image.
func comment(png []byte) (text string, ok bool) {
	if len(png) < afterHeader+8 {
		return "", false
	}
	length := binary.BigEndian.Uint32(png[afterHeader:])
	chunk := png[afterHeader+4:]
	if uint64(length)+4 > uint64(len(chunk)) {
		return "", false
	}
	found, ok := bytes.CutPrefix(chunk[:length+4], []byte("tEXt"+stubKeyword+"\x00"))
	return string(found), ok
}

const pageText = "Invoice No. 10248\nDate 2025-11-10\nTotal amount due 1,234.50\nThank you for your order."

var (
	page     = picture(pageText)
	notImage = []byte("This is no image, whatever its name says.")
	// torn has a header that every reader accepts, and no end.
	torn = page[:len(page)/2]

	asJPEG = encoded(func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, nil) }, drawn(pageText))
	asGIF  = encoded(func(w io.Writer, m image.Image) error { return gif.Encode(w, m, nil) }, drawn(pageText))
	asBMP  = encoded(bmp.Encode, drawn(pageText))
)

// Pictures with which only a stub can do what they ask for.
var (
	consoleText = "=====\nBASE: torch.Size([1])\nInvoice No. 7\n\n   \n  PATCHES: 3\n  two blanks, BASE: kept\n<b>總計</b> & \"5\" / 😀\u2028end\n"
	emptyPage   = picture("")
	blankPage   = picture("\n \n")
	echoPage    = picture("Free OCR.")
	consolePage = picture(consoleText)
	chinesePage = picture("發票號碼 AB12345678\n總計 五百元整，請於三十日內付清，謝謝惠顧。\n地址：臺北市中正區重慶南路一段一百二十二號")
)
