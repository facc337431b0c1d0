package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// Synthetic invents a page's text from the image's hash (from the prompt's,
// where there is no image) and Seed: the same picture always has the same text,
// which begins with the first eight digits of that hash.
type Synthetic struct {
	Seed uint64
	// Tokens fixes the length of the text: at least Min, at most Max, evenly
	// spread; such pages neither loop nor repeat lines. The zero value gives
	// real pages' lengths: log-normal with median 650 and σ 0.8, three in a
	// hundred without an end, one in eight with repeated lines.
	Tokens Range
}

// Range is a closed interval.
type Range struct{ Min, Max int }

const (
	medianTokens = 650
	sigmaTokens  = 0.8
	maxTokens    = 7000
	loopShare    = 0.03
	repeatShare  = 0.125
	chatTokens   = 24 // of an answer without image
)

// Read implements Engine; it takes no time, which is the pace's matter.
func (s Synthetic) Read(_ context.Context, page Page) (Text, error) {
	sum := page.SHA256
	if page.Image == nil {
		sum = sha256.Sum256([]byte(page.Prompt))
	}
	rng := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum[:8]), s.Seed))
	length, loops, repeats := s.shape(rng, page.Image != nil)
	w := writer{rng: rng, chinese: rng.IntN(2) == 1, grounding: page.Grounding}
	w.heading("Page " + hex.EncodeToString(sum[:4]))
	if repeats {
		w.repeat()
	}
	for w.tokens < length {
		w.block()
	}
	return Text{Content: cut(w.text.String(), length), Loops: loops}, nil
}

// shape rolls what kind of page this is.
func (s Synthetic) shape(rng *rand.Rand, image bool) (length int, loops, repeats bool) {
	if s.Tokens.Min > 0 {
		return s.Tokens.Min + rng.IntN(max(s.Tokens.Max-s.Tokens.Min, 0)+1), false, false
	}
	if !image {
		return chatTokens, false, false
	}
	length = int(medianTokens * math.Exp(sigmaTokens*rng.NormFloat64()))
	return min(max(length, chatTokens), maxTokens), rng.Float64() < loopShare, rng.Float64() < repeatShare
}

// cut keeps the first n tokens of text.
func cut(text string, n int) string {
	pieces := split(text)
	return strings.Join(pieces[:min(n, len(pieces))], "")
}

var (
	englishWords = strings.Fields("invoice total amount paid due date number page line item account balance order receipt customer address street city phone name signed by the of and for to in with this that from under section table figure note see below above report annual meeting minutes budget")
	chineseWords = strings.Fields("本公司 總計 金額 日期 編號 地址 電話 客戶 合約 條款 說明 會議 紀錄 報告 年度 預算 收據 發票 品項 數量 單價 備註 負責人 簽章 依據 規定 辦理 如下 請 於 之 與 及 內 完成 申請 審核 通知")
)

// writer puts words on an invented page and counts their tokens.
type writer struct {
	rng       *rand.Rand
	chinese   bool
	grounding bool
	text      strings.Builder
	tokens    int
	y         int // next free line of the layout, 0 to 999
}

func (w *writer) put(s string) {
	w.text.WriteString(s)
	w.tokens += countTokens(s)
}

func (w *writer) heading(title string) {
	w.box("title", 60)
	w.put("# " + title + "\n\n")
}

func (w *writer) block() {
	if w.rng.IntN(8) == 0 {
		w.table()
		return
	}
	w.box("text", 40)
	for range 1 + w.rng.IntN(5) {
		w.put(w.sentence() + "\n")
	}
	w.put("\n")
}

func (w *writer) table() {
	w.box("table", 90)
	w.put("<table>")
	for range 2 + w.rng.IntN(3) {
		w.put(fmt.Sprintf("<tr><td>%s</td><td>%d</td></tr>", w.word(), w.rng.IntN(10000)))
	}
	w.put("</table>\n\n")
}

func (w *writer) repeat() {
	line := w.sentence() + "\n"
	w.put(strings.Repeat(line, 4) + "\n")
}

func (w *writer) sentence() string {
	words := make([]string, 4+w.rng.IntN(9))
	for i := range words {
		words[i] = w.word()
	}
	if w.chinese {
		return strings.Join(words, "") + "。"
	}
	words[0] = strings.ToUpper(words[0][:1]) + words[0][1:]
	return strings.Join(words, " ") + "."
}

func (w *writer) word() string {
	if w.chinese {
		return chineseWords[w.rng.IntN(len(chineseWords))]
	}
	return englishWords[w.rng.IntN(len(englishWords))]
}

// box writes the layout tags of a block when they were asked for.
func (w *writer) box(kind string, height int) {
	if !w.grounding {
		return
	}
	top := min(w.y, 990)
	w.put(groundingTag(kind, box{80, top, 920, min(top+height, 999)}))
	w.y = top + height + 10
}

// box is a rectangle in thousandths of the page, 0 to 999.
type box struct{ left, top, right, bottom int }

// groundingTag is the line that the model writes before a block.
func groundingTag(kind string, b box) string {
	return fmt.Sprintf("<|ref|>%s<|/ref|><|det|>[[%d, %d, %d, %d]]<|/det|>\n", kind, b.left, b.top, b.right, b.bottom)
}
