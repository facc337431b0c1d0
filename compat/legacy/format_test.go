package legacy_test

import (
	"strings"
	"testing"

	"ocrmux/compat/legacy"
)

const grounded = "<|ref|>title<|/ref|><|det|>[[330, 198, 558, 230]]<|/det|>\n# 標題\n\n" +
	"<|ref|>image<|/ref|><|det|>[[0, 0, 999, 500], [1, 2, 3, 4]]<|/det|>\n"

func field(name, value string) string {
	return "--b\r\nContent-Disposition: form-data; name=" + name + "\r\n\r\n" + value + "\r\n"
}

const onePNG = "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n--b--"

func TestParseOCR_OnlyUnionKnowsFormatAndModel(t *testing.T) {
	form := parse(t, formType, field("format", "json")+field("model", "other")+onePNG)
	for _, profile := range profiles {
		r, err := profile.ParseOCR(form, now)
		if err != nil {
			t.Fatal(err)
		}
		format, model, prompt := legacy.Text, "", "<image>\nFree OCR."
		if profile == legacy.Union {
			format, model, prompt = legacy.JSON, "other", "<image>\n<|grounding|>Convert the document to markdown."
		}
		if r.Format != format || profile.Model(form) != model || r.Prompt != prompt {
			t.Errorf("%s: format %d, model %q, prompt %q", profile, r.Format, profile.Model(form), r.Prompt)
		}
	}
}

func TestParseOCR_AsksForMarkdownOnlyWhereNothingIsAsked(t *testing.T) {
	const grounding, free = "<image>\n<|grounding|>Convert the document to markdown.", "<image>\nFree OCR."
	for _, c := range []struct{ format, prompt, want string }{
		{"markdown", "", grounding},
		{"json", "", grounding},
		{"text", "", free},
		{"", "", free},
		{"markdown", "Free OCR.", "Free OCR."},
		{"json", "<|grounding|>OCR this image.", "<|grounding|>OCR this image."},
	} {
		r, err := legacy.Union.ParseOCR(parse(t, formType, field("format", c.format)+field("prompt", c.prompt)+onePNG), now)
		if err != nil || r.Prompt != c.want {
			t.Errorf("%+v: %v, %v", c, r, err)
		}
	}
}

func TestParse_RefusesAnUnknownFormat(t *testing.T) {
	const want = `{"error":"\u4e0d\u652f\u63f4\u7684\u683c\u5f0f\u3002\u5141\u8a31\u7684\u683c\u5f0f: text, markdown, json"}` + "\n"
	for _, format := range []string{"xml", "JSON", " json", "markdown "} {
		form := parse(t, formType, field("format", format)+onePNG)
		_, err := legacy.Union.ParseOCR(form, now)
		if status, body := refusal(t, err); status != 400 || body != want {
			t.Errorf("%q: %d %s", format, status, body)
		}
		form = parse(t, formType, field("format", format)+strings.Replace(onePNG, "name=file;", "name=files;", 1))
		_, err = legacy.Union.ParseBatch(form, now)
		if status, body := refusal(t, err); status != 400 || body != want {
			t.Errorf("batch, %q: %d %s", format, status, body)
		}
	}
	// What the service would have said comes first.
	_, err := legacy.Union.ParseOCR(parse(t, formType, field("format", "xml")+"--b--"), now)
	if _, body := refusal(t, err); body != bodyA {
		t.Errorf("without a file: %s", body)
	}
}

func answer(t *testing.T, page legacy.Page, text string) string {
	t.Helper()
	a, err := legacy.Union.Answer(page, text)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Body())
}

func TestAnswer_HasTheFormatThatWasAskedFor(t *testing.T) {
	page := legacy.Page{Prompt: "p", Format: legacy.JSON, Width: 1275, Height: 1650}
	for _, want := range []string{
		`"grounding":[{"boxes":[[421,327,712,379]],"label":"title","text":"# \u6a19\u984c"},` +
			`{"boxes":[[0,0,1275,825],[1,3,3,6]],"label":"image","text":""}],`,
		`"image":{"height":1650,"width":1275},`, `"text":"# \u6a19\u984c"}` + "\n",
	} {
		if body := answer(t, page, grounded); !strings.Contains(body, want) {
			t.Errorf("%s\nlacks %s", body, want)
		}
	}
	page.Format = legacy.Markdown
	if body := answer(t, page, grounded); !strings.HasSuffix(body, `"text":"# \u6a19\u984c"}`+"\n") || strings.Contains(body, "grounding") || strings.Contains(body, `"image"`) {
		t.Errorf("markdown: %s", body)
	}
	page.Format = legacy.Text
	if body, plain := answer(t, page, grounded), answer(t, legacy.Page{Prompt: "p"}, grounded); body != plain || !strings.Contains(body, "<|ref|>") {
		t.Errorf("text: %s\nabsent: %s", body, plain)
	}
}

func TestAnswer_ShowsWhatIsNoGroundingAsText(t *testing.T) {
	page := legacy.Page{Prompt: "p", Format: legacy.JSON, Width: 10, Height: 10}
	for output, want := range map[string]string{
		"plain\n\ntext": `"text":"plain\n\ntext"}`,
		"<|ref|>a<|/ref|><|det|>[[1,2,3,4]]<|/det|>\nb <|ref|>c": `"text":"b c"}`,
	} {
		if body := answer(t, page, output); !strings.Contains(body, `"grounding":null,`) || !strings.Contains(body, want) {
			t.Errorf("%q: %s", output, body)
		}
	}
	if body := answer(t, page, "<|ref|>image<|/ref|><|det|>[[1,2,3,4]]<|/det|>"); !strings.Contains(body, `"text":""`) {
		t.Errorf("a page that is a picture: %s", body)
	}
	if _, err := legacy.Union.Answer(page, " \n"); err == nil {
		t.Error("an empty output is an answer")
	}
}

func TestAnswer_OnlyUnionWarns(t *testing.T) {
	for _, profile := range profiles {
		for warning, word := range map[legacy.Warning]string{legacy.NoWarning: "", legacy.Truncated: "truncated: ", legacy.Looping: "looping: "} {
			a, err := profile.Answer(legacy.Page{Prompt: "p", Warning: warning}, "text")
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(string(a.Body()), `"warning":"`+word); warned != (profile == legacy.Union && word != "") {
				t.Errorf("%s, %q: %s", profile, word, a.Body())
			}
		}
	}
}
