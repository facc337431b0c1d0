package grounding_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"ocrmux/compat/grounding"
)

const page = "<|ref|>title<|/ref|><|det|>[[330, 198, 558, 230]]<|/det|>\n# 年度報告\n\n" +
	"<|ref|>text<|/ref|><|det|>[[0, 240, 999, 300], [120,310,880,345]]<|/det|>\nFirst paragraph.\n\nSecond: a < b, <|x|>.\n\n" +
	"<|ref|>image<|/ref|><|det|>[[100, 400, 900, 800]]<|/det|>\n\n" +
	"<|ref|>table<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n<table><tr><td>1</td></tr></table>\n"

func TestParse_ReadsAPage(t *testing.T) {
	got, ok := grounding.Parse(page)
	want := []grounding.Block{
		{Label: "title", Boxes: []grounding.Box{{330, 198, 558, 230}}, Text: "# 年度報告"},
		{Label: "text", Boxes: []grounding.Box{{0, 240, 999, 300}, {120, 310, 880, 345}}, Text: "First paragraph.\n\nSecond: a < b, <|x|>."},
		{Label: "image", Boxes: []grounding.Box{{100, 400, 900, 800}}},
		{Label: "table", Boxes: []grounding.Box{{1, 2, 3, 4}}, Text: "<table><tr><td>1</td></tr></table>"},
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%t %+v", ok, got)
	}
	const text = "# 年度報告\n\nFirst paragraph.\n\nSecond: a < b, <|x|>.\n\n<table><tr><td>1</td></tr></table>"
	if got := grounding.Text(got); got != text {
		t.Errorf("%q", got)
	}
}

func TestParse_KeepsWhatStandsBeforeTheFirstTagAndDropsTheEndToken(t *testing.T) {
	got, ok := grounding.Parse("Here:\n<|ref|>發票<|/ref|><|det|>[[0,0,9,9]]<|/det|><｜end▁of▁sentence｜>")
	want := []grounding.Block{{Text: "Here:"}, {Label: "發票", Boxes: []grounding.Box{{0, 0, 9, 9}}}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%t %+v", ok, got)
	}
}

func TestParse_RefusesWhatIsNotExact(t *testing.T) {
	const ref = "<|ref|>text<|/ref|>"
	det := func(s string) string { return ref + "<|det|>" + s + "<|/det|>" }
	if _, ok := grounding.Parse(det("[[1,2,3,4]]")); !ok {
		t.Fatal("the correct one is refused")
	}
	for _, output := range []string{
		"", "plain text", "a <| b", "<|grounding|>text",
		det(""), det("[]"), det("[[]]"), det("[1,2,3,4]"), det("[[1,2,3]]"), det("[[1,2,3,4,5]]"),
		det("[[1,2,3,4],]"), det("[[1,2,3,4]"), det("[[1,2,3,4]]]"), det("[[1,2,3,4]] x"), det("[[1,2,3,4][1,2,3,4]]"),
		det("[[1,2,3,1000]]"), det("[[1,2,3,99999999999999999999]]"), det("[[-1,2,3,4]]"), det("[[1,2,3,4.0]]"),
		det("[[01,2,3,4]]"), det("[[1 2,3,4,5]]"), det("[[1,2,3,__import__('os')]]"), det("[[１,2,3,4]]"),
		ref, ref + "text", ref + "<|det|>", ref + "<|det|>[[1,2,3,4]]", ref + " <|det|>[[1,2,3,4]]<|/det|>",
		"<|ref|>text", "<|ref|>", "<|/ref|>", "<|det|>[[1,2,3,4]]<|/det|>", "<|ref|>a<|ref|>b<|/ref|><|det|>[[1,2,3,4]]<|/det|>",
		det("[[1,2,3,4]]") + "text <|/det|>", det("[[1,2,3,4]]") + "<|det|>[[1,2,3,4]]<|/det|>",
		"<|/ref|>" + det("[[1,2,3,4]]"), det("[[1,2,3,4]]") + "cut <|ref|>te", det("[[1,2,3,4]]") + ref + "<|det|>[[12, 3",
	} {
		if blocks, ok := grounding.Parse(output); ok {
			t.Errorf("%q is %+v", output, blocks)
		}
	}
}

func TestPixels_AreRoundedDown(t *testing.T) {
	for _, c := range []struct {
		box           grounding.Box
		width, height int
		want          [4]int
	}{
		{grounding.Box{0, 0, 999, 999}, 1275, 1650, [4]int{0, 0, 1275, 1650}},
		{grounding.Box{330, 198, 558, 230}, 1275, 1650, [4]int{421, 327, 712, 379}},
		{grounding.Box{1, 500, 998, 999}, 1, 16384, [4]int{0, 8200, 0, 16384}},
	} {
		if got := c.box.Pixels(c.width, c.height); got != c.want {
			t.Errorf("%v on %d by %d: %v, want %v", c.box, c.width, c.height, got, c.want)
		}
	}
}

func TestStrip_LeavesTheTextAlone(t *testing.T) {
	for output, want := range map[string]string{
		"plain\n\ntext <b> <| |>": "plain\n\ntext <b> <| |>",
		"<|ref|>title<|/ref|><|det|>[[1,2,3,4]]<|/det|>\n# T\n\n<|ref|>text<|/ref|><|det|>[[12, 3": "# T\n\ntext[[12, 3",
		"<|re<|det|>f|>a":                          "a",
		"a<｜end▁of▁sentence｜>":                     "a",
		"<|ref|>a<|/ref|><|det|>[[1,2]]<|/det|>b":  "a[[1,2]]b",
		"<|ref|>a<|/ref|><|det|>[[1,2,3,4]]<|/det": "a[[1,2,3,4]]<|/det",
	} {
		if got := grounding.Strip(output); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}

// write is a page as the model would write it.
func write(blocks []grounding.Block) string {
	var b strings.Builder
	for _, block := range blocks {
		if block.Boxes != nil {
			fmt.Fprintf(&b, "<|ref|>%s<|/ref|><|det|>[", block.Label)
			for i, box := range block.Boxes {
				if i > 0 {
					b.WriteString(", ")
				}
				fmt.Fprintf(&b, "[%d, %d, %d, %d]", box.X1, box.Y1, box.X2, box.Y2)
			}
			b.WriteString("]<|/det|>")
		}
		b.WriteString("\n" + block.Text + "\n\n")
	}
	return b.String()
}

var tokens = []string{"<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>"}

// FuzzParse sees that what was parsed says all that the output said: written
// again and parsed again it is the same. Of anything, Strip leaves no token.
func FuzzParse(f *testing.F) {
	f.Add(page)
	f.Add("Here:\n<|ref|>發票<|/ref|><|det|>[[0,0,9,9]]<|/det|><｜end▁of▁sentence｜>")
	f.Add("<|ref|>a<|/ref|><|det|>[[12, 3")
	f.Add("<|ref|>a<|/ref|><|det|>[[1,2,3,4]]<|/det|>b<｜end▁of▁sentence｜> <｜end▁of▁sentence｜>\n")
	f.Add("<|re<|ref|>f|>[[1,2,3,4],[5,6,7,8]]<|/det|><|ref|><|/ref|><|det|>[[ 0 ,\n0,0,0]]<|/det|>")
	f.Fuzz(func(t *testing.T, output string) {
		stripped := grounding.Strip(output)
		for _, token := range tokens {
			if strings.Contains(stripped, token) {
				t.Fatalf("%q keeps %q", stripped, token)
			}
		}
		blocks, ok := grounding.Parse(output)
		if !ok {
			if blocks != nil {
				t.Fatalf("%+v of a failure", blocks)
			}
			return
		}
		for i, b := range blocks {
			if len(b.Boxes) == 0 && (i > 0 || b.Text == "" || b.Label != "") {
				t.Fatalf("block %d has no box: %+v", i, b)
			}
			for _, box := range b.Boxes {
				for _, v := range box.Pixels(1275, 1650) {
					if v < 0 || v > 1650 {
						t.Fatalf("%v has the pixel %d", box, v)
					}
				}
			}
			for _, token := range tokens {
				if strings.Contains(b.Text, token) || strings.Contains(b.Label, token) {
					t.Fatalf("%+v keeps %q", b, token)
				}
			}
		}
		again, ok := grounding.Parse(write(blocks))
		if !ok || !reflect.DeepEqual(again, blocks) {
			t.Fatalf("%t\n%+v\n%+v", ok, again, blocks)
		}
	})
}
