package gateway_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"ocrmux/backends/sim"
	"ocrmux/compat/legacy"
	"ocrmux/gateway"
)

func TestOCR_GivesBlocksWithPixelBoxesWhereJSONIsAskedFor(t *testing.T) {
	w := newWorld(t, setup{})
	r := w.ocr("/ocr", "file", [][]byte{page(1)}, "format", "json")
	if r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	v := r.json(t)
	if v["prompt"] != "<image>\n<|grounding|>Convert the document to markdown." {
		t.Errorf("prompt %q", v["prompt"])
	}
	if size := v["image"].(map[string]any); size["width"] != 300.0 || size["height"] != 200.0 {
		t.Errorf("image %v", size)
	}
	blocks, text := v["grounding"].([]any), v["text"].(string)
	if len(blocks) == 0 || text == "" || strings.Contains(text, "<|") {
		t.Fatalf("%d blocks of %q", len(blocks), text)
	}
	for _, block := range blocks {
		block := block.(map[string]any)
		if !strings.Contains(text, block["text"].(string)) {
			t.Errorf("%v is not in the text", block)
		}
		for _, box := range block["boxes"].([]any) {
			if c := box.([]any); len(c) != 4 || c[2].(float64) > 300 || c[3].(float64) > 200 || c[2].(float64) <= c[0].(float64) {
				t.Errorf("box %v", c)
			}
		}
	}
}

func TestOCR_FormatsWhatIsRemembered(t *testing.T) {
	w := newWorld(t, setup{sim: sim.Config{Engine: sim.Synthetic{Seed: 7}}, cache: true})
	ask := func(format, cache string) map[string]any {
		r := w.ocr("/ocr", "file", [][]byte{page(2)}, "format", format, "prompt", "<|grounding|>OCR this image.")
		if got := r.header.Get("X-Ocrmux-Cache"); r.status != 200 || got != cache {
			t.Fatalf("%s: %d, cache %s: %s", format, r.status, got, r.body)
		}
		return r.json(t)
	}
	raw, markdown, json := ask("text", "miss"), ask("markdown", "hit"), ask("json", "hit")
	if !strings.Contains(raw["text"].(string), "<|ref|>") || strings.Contains(markdown["text"].(string), "<|ref|>") {
		t.Errorf("text %q, markdown %q", raw["text"], markdown["text"])
	}
	if markdown["grounding"] != nil || json["grounding"] == nil || json["text"] != markdown["text"] {
		t.Errorf("markdown %v, json %v", markdown, json)
	}
}

func TestOCR_TakesJSON(t *testing.T) {
	w := newWorld(t, setup{})
	image := base64.StdEncoding.EncodeToString(page(3))
	send := func(path, body string) reply {
		return w.do("POST", path, "application/json", strings.NewReader(body))
	}
	r := send("/ocr", `{"image":"data:image/png;base64,`+image+`","prompt":"Free OCR.","model":"deepseek-ocr"}`)
	old := w.ocr("/ocr", "file", [][]byte{page(3)})
	if r.status != 200 || r.json(t)["text"] != old.json(t)["text"] {
		t.Errorf("got %d %s, a form %s", r.status, r.body, old.body)
	}
	if r := send("/ocr/batch", `{"image":"`+image+`","format":"markdown"}`); r.status != 200 || r.json(t)["total"] != 1.0 {
		t.Errorf("batch: got %d %s", r.status, r.body)
	}
	for body, status := range map[string]int{
		`{"file":"` + image + `"}`: 400, `{"image":"no image"}`: 400, `{"image":"` + image + `","format":"xml"}`: 400,
		`{"image":"` + image + `","model":"nobody's"}`: 404, `{"image":"bm8gaW1hZ2U="}`: 500,
	} {
		if r := send("/ocr", body); r.status != status || !strings.HasPrefix(r.body, `{"error":`) {
			t.Errorf("%.40s: got %d %s", body, r.status, r.body)
		}
	}
}

func TestOCR_ReadsWithAModelThatTheTenantMayUse(t *testing.T) {
	w := newWorld(t, setup{keys: "tenants:\n  - name: acme\n    models: [deepseek-ocr]\n"})
	contentType, body := upload(t, "file", [][]byte{page(1)}, "model", "deepseek-ocr")
	if r := w.do("POST", "/ocr", contentType, strings.NewReader(string(body)), "X-API-Key", w.key); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
	for _, name := range []string{"secret-model", "nobody's"} {
		contentType, body := upload(t, "file", [][]byte{page(1)}, "model", name)
		if r := w.do("POST", "/ocr", contentType, strings.NewReader(string(body)), "X-API-Key", w.key); r.status != 404 {
			t.Errorf("%s: got %d %s", name, r.status, r.body)
		}
	}
}

func TestOCR_StrictProfilesIgnoreWhatIsNew(t *testing.T) {
	for _, profile := range []legacy.Profile{legacy.App, legacy.Standard} {
		w := newWorld(t, setup{gateway: gateway.Config{Legacy: gateway.Legacy{Profile: profile}}})
		plain := w.ocr("/ocr", "file", [][]byte{page(1)}).json(t)
		r := w.ocr("/ocr", "file", [][]byte{page(1)}, "format", "json", "model", "nobody's")
		if v := r.json(t); r.status != 200 || v["text"] != plain["text"] || len(v) != len(plain) {
			t.Errorf("%s: got %d %s", profile, r.status, r.body)
		}
		if r := w.do("POST", "/ocr", "application/json", strings.NewReader(`{"image":"Qk0="}`)); r.status != 400 {
			t.Errorf("%s takes JSON: %d %s", profile, r.status, r.body)
		}
	}
}
