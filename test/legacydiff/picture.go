package main

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// A picture shows a text to models that can read, and carries it in a comment
// (a tEXt chunk of PNG, section 11.3.4.3) for a stub that cannot.

// stubKeyword is the comment's keyword.
const stubKeyword = "legacydiff"

// picture draws a text. What has no letters to draw shows as boxes.
func picture(text string) []byte {
	canvas := image.NewGray(image.Rect(0, 0, 480, 96))
	draw.Draw(canvas, canvas.Bounds(), image.White, image.Point{}, draw.Src)
	pen := font.Drawer{Dst: canvas, Src: image.NewUniform(color.Black), Face: basicfont.Face7x13}
	for i, line := range strings.Split(text, "\n") {
		pen.Dot = fixed.P(10, 20+16*i)
		pen.DrawString(line)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, canvas); err != nil {
		panic(err) // a gray image of this size is always encoded
	}
	return withComment(b.Bytes(), text)
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
