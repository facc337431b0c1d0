package main

import (
	"image"
	"math"
	"math/rand/v2"
	"strings"

	"ocrmux/test/pages"
)

// scan is a letter that lay crooked on a dusty scanner: turned by two degrees,
// slightly out of focus, on grey paper, with noise.
func scan() (pages.Page, error) {
	face, err := pages.NewFace(pages.Serif, 13)
	if err != nil {
		return pages.Page{}, err
	}
	defer face.Close()

	const width, margin = 1240, 140
	lines := strings.Split(strings.TrimSpace(letterText), "\n")
	leading := face.Metrics().Height.Ceil() * 4 / 3
	sheet := pages.NewSheet(width, 2*margin+len(lines)*leading)
	for row, line := range lines {
		if line != "" {
			sheet.Write(face, margin, margin+(row+1)*leading-leading/4, line)
		}
	}
	page := sheet.Page()
	page.Image = soil(turn(page.Image, 2))
	return page, nil
}

const letterText = `
Dear Margaret,

Thank you for your letter about the summer concert. The
committee met on Monday evening and agreed to your plan
for the garden behind the old library. The orchestra will
arrive at four, and the first piece begins at half past six.

We have ordered two hundred chairs and a small stage. If
the weather turns bad we shall move into the main hall,
where there is room for everyone but the brass band.

Please tell the caterers that we expect one hundred and
eighty guests, of whom twelve do not eat meat.

With kind regards,
Robert Ellison
`

// turn rotates a picture about its middle by the given degrees, counter-clockwise
// to the eye, mixing the four nearest dots so that edges come out soft. What
// was outside the picture is white.
func turn(from *image.Gray, degrees float64) *image.Gray {
	to := image.NewGray(from.Bounds())
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	middleX, middleY := float64(from.Rect.Dx())/2, float64(from.Rect.Dy())/2
	for y := range to.Rect.Dy() {
		for x := range to.Rect.Dx() {
			dx, dy := float64(x)-middleX, float64(y)-middleY
			to.Pix[to.PixOffset(x, y)] = between(from, middleX+dx*cos-dy*sin, middleY+dx*sin+dy*cos)
		}
	}
	return to
}

// between is the brightness at a place between dots.
func between(picture *image.Gray, x, y float64) uint8 {
	left, top := math.Floor(x), math.Floor(y)
	right, below := x-left, y-top
	mixed := 0.0
	for _, corner := range []struct{ x, y, weight float64 }{
		{left, top, (1 - right) * (1 - below)},
		{left + 1, top, right * (1 - below)},
		{left, top + 1, (1 - right) * below},
		{left + 1, top + 1, right * below},
	} {
		brightness := 255.0
		if at := image.Pt(int(corner.x), int(corner.y)); at.In(picture.Rect) {
			brightness = float64(picture.GrayAt(at.X, at.Y).Y)
		}
		mixed += corner.weight * brightness
	}
	return uint8(math.Round(mixed))
}

// soil greys the paper unevenly and adds noise, from a fixed seed.
func soil(picture *image.Gray) *image.Gray {
	const seed, ink, paper, noise = 20481, 45, 225, 17
	random := rand.New(rand.NewPCG(seed, 0))
	for y := range picture.Rect.Dy() {
		for x := range picture.Rect.Dx() {
			dot := picture.PixOffset(x, y)
			shadow := 20 * x / picture.Rect.Dx()
			brightness := ink + int(picture.Pix[dot])*(paper-shadow-ink)/255
			grain := random.IntN(2*noise+1) - noise
			picture.Pix[dot] = uint8(max(0, min(255, brightness+grain)))
		}
	}
	return picture
}
