package sim_test

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The fonts are Debian's fonts-liberation and fonts-noto-cjk; face 3 of the
// Noto collection is Traditional Chinese.
const (
	latinFont   = "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf"
	chineseFont = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
	chineseFace = 3
)

var commonHan = []rune("的一是不了人在有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作里用道行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意無力它與長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什二等產或新己制身果加西斯月話合回特代內信表化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量再感建務做接必場件計管期市直德資命山金指克許統區保至隊形社便空決治展馬科司五基眼書非則聽白卻界達光放強即像難且權思王象完設式色路記南品住告類求據程北邊死張該交規萬取拉格望覺術領共確傳師觀清今切院讓識候帶導爭運")

var commonEnglish = strings.Fields("about above after again almost along always amount annual answer area around balance before began being below between board book both branch bring building business careful carry center century change children city clear close color common company complete consider country course cover current customer decide delivery detail develop different direct during early earth either energy enough evening every example expect family father figure final first follow force found fresh front garden general glass gold green ground group happen heavy history house human hundred idea important inside interest island itself keep kind knowledge known language large later learn letter level light little local machine market matter measure member middle minute moment money morning mother mountain nature near never night north nothing notice number object often order other page paper part pass pattern people person picture place plain plant point possible power present problem produce public question quick quiet rather reach ready reason receive record remember report rest result return right river road round rule school science second sentence several shape short should simple since small soft some sound south space special stand start state station still stone story street strong study such summer sure system table teach test thing think those thought through together town travel tree under unit until usual value voice walk watch water weather week weight west which while white whole window winter within without wonder word work world write year young")

// drawnPage is a strip of a page, A4 wide at 200 dpi, and the text on it.
type drawnPage struct {
	png  []byte
	text string
}

func englishPage(t testing.TB, rng *rand.Rand) drawnPage {
	return draw200dpi(t, loadFace(t, latinFont, 0, 34), randomLines(rng, 12, func() string {
		return commonEnglish[rng.IntN(len(commonEnglish))] + " "
	}, 62))
}

func chinesePage(t testing.TB, rng *rand.Rand) drawnPage {
	return draw200dpi(t, loadFace(t, chineseFont, chineseFace, 38), randomLines(rng, 10, func() string {
		word := make([]rune, 1+rng.IntN(3))
		for i := range word {
			word[i] = commonHan[rng.IntN(len(commonHan))]
		}
		return string(word)
	}, 32))
}

// randomLines makes lines of words, none wider than width characters, with a
// blank line now and then.
func randomLines(rng *rand.Rand, lines int, word func() string, width int) []string {
	out := make([]string, 0, lines)
	for len(out) < lines {
		if len(out) > 0 && rng.IntN(8) == 0 {
			out = append(out, "")
			continue
		}
		line := ""
		for {
			next := line + word()
			if len([]rune(next)) > width {
				break
			}
			line = next
		}
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// pageTop is the first base line, in pixels.
const pageTop = 200

func draw200dpi(t testing.TB, face font.Face, lines []string) drawnPage {
	t.Helper()
	leading := face.Metrics().Height.Ceil() * 13 / 10
	page := image.NewGray(image.Rect(0, 0, 1654, pageTop+len(lines)*leading))
	draw.Draw(page, page.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	pen := font.Drawer{Dst: page, Src: image.NewUniform(color.Black), Face: face}
	y := pageTop
	for _, line := range lines {
		pen.Dot = fixed.P(160, y)
		pen.DrawString(line)
		y += leading
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, page); err != nil {
		t.Fatal(err)
	}
	return drawnPage{buf.Bytes(), strings.Join(lines, "\n")}
}

func loadFace(t testing.TB, path string, index int, size float64) font.Face {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("install Debian's fonts-liberation and fonts-noto-cjk: %v", err)
	}
	collection, err := opentype.ParseCollection(data)
	if err != nil {
		t.Fatal(err)
	}
	f, err := collection.Font(index)
	if err != nil {
		t.Fatal(err)
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		t.Fatal(err)
	}
	return face
}

// charError is the edit distance between got and want as a share of want's
// length, white space set aside.
func charError(got, want string) float64 {
	a, b := []rune(strings.Join(strings.Fields(got), "")), []rune(strings.Join(strings.Fields(want), ""))
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return float64(row[len(b)]) / float64(len(b))
}
