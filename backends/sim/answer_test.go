package sim_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"ocrmux/backends/sim"
)

var volatile = regexp.MustCompile(`"created":\d+`)

func TestChat_StreamsOnTheWireAsVLLMDoes(t *testing.T) {
	s := serve(t, atOnce(3))
	r := chatRequest(t.Context(), `{"messages":[{"role":"user","content":"hi"}],"temperature":0,"stream":true,"stream_options":{"include_usage":true}}`)
	r.URL.Host = strings.TrimPrefix(s.url, "http://")
	r.Header.Set("X-Request-Id", "abc")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := readAll(t, resp.Body)
	chunk := func(rest string) string {
		return `{"id":"chatcmpl-abc","object":"chat.completion.chunk","created":0,"model":"deepseek-ai/DeepSeek-OCR","choices":[` + rest
	}
	want := []string{
		chunk(`{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`),
		chunk(`{"index":0,"delta":{"content":"#"},"logprobs":null,"finish_reason":null}]}`),
		chunk(`{"index":0,"delta":{"content":" Page"},"logprobs":null,"finish_reason":null}]}`),
		chunk(`{"index":0,"delta":{"content":" 8f434"},"logprobs":null,"finish_reason":null}]}`),
		chunk(`{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null}]}`),
		chunk(`],"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3}}`),
		`[DONE]`,
	}
	got := events(t, volatile.ReplaceAllString(stream, `"created":0`))
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream; charset=utf-8" {
		t.Errorf("content type %q", ct)
	}
}

func TestChat_GivesTheSameTextStreamedAndWhole(t *testing.T) {
	s := serve(t, atOnce(300))
	for side := range 8 { // several pages, some Chinese
		url := blank(10+side, 10)
		want, finish := s.text(t, ocr(url, exact))
		if finish != "stop" || !strings.HasPrefix(want, "# Page ") {
			t.Fatalf("finish %q, text %.40q", finish, want)
		}
		_, stream := s.post(t, chatPath, ocr(url, exact+`,"stream":true`))
		var got strings.Builder
		deltas := 0
		list := events(t, stream)
		for _, e := range list[:len(list)-1] {
			c := decode(t, e).Choices[0]
			if !utf8.ValidString(*c.Delta.Content) {
				t.Fatalf("delta %q splits a character", *c.Delta.Content)
			}
			got.WriteString(*c.Delta.Content)
			deltas++
		}
		if got.String() != want {
			t.Errorf("streamed %q, want %q", got.String(), want)
		}
		if deltas != 300+2 {
			t.Errorf("%d chunks, want one for each of 300 tokens, the role and the end", deltas)
		}
	}
}

func TestChat_CountsUsage(t *testing.T) {
	s := serve(t, atOnce(20))
	_, body := s.post(t, chatPath, ocr(blank(700, 990), exact))
	u := decode(t, body).Usage
	// A page of A4's shape is 903 tokens; "Free OCR." is Free, OC..., full stop; and one for the beginning.
	if u.Prompt != 1+903+3 || u.Completion != 20 || u.Total != u.Prompt+20 {
		t.Errorf("got usage %+v", *u)
	}
	_, stream := s.post(t, chatPath, ocr(blank(10, 10), exact+`,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`))
	list := events(t, stream)
	for i, e := range list[:len(list)-2] {
		if got, want := decode(t, e).Usage.Completion, min(max(i, 1), 20); got != want {
			t.Errorf("event %d: %d completion tokens, want %d", i, got, want)
		}
	}
}

func TestImageTokens_AreThoseOfGundamTiling(t *testing.T) {
	for _, c := range []struct {
		model         string
		width, height int
		want          int64
	}{
		{"deepseek-ai/DeepSeek-OCR", 640, 640, 273},
		{"deepseek-ai/DeepSeek-OCR", 700, 990, 903},  // A4 portrait: 2 by 3 tiles
		{"deepseek-ai/DeepSeek-OCR", 1000, 500, 483}, // 2 by 1
		{"deepseek-ai/DeepSeek-OCR", 500, 1000, 493}, // 1 by 2
		{"deepseek-ai/DeepSeek-OCR", 100, 1000, 933}, // 1 by 6
		{"deepseek-ai/DeepSeek-OCR-2", 768, 768, 257},
		{"deepseek-ai/DeepSeek-OCR-2", 1000, 500, 545},
		{"deepseek-ai/DeepSeek-OCR-2", 800, 1131, 1121},
	} {
		cfg := atOnce(1)
		cfg.Model = c.model
		s := serve(t, cfg)
		s.text(t, ocr(blank(c.width, c.height), exact))
		if got := s.Stats().CompletedTokens.Image; got != c.want {
			t.Errorf("%s %d×%d: %d tokens, want %d", c.model, c.width, c.height, got, c.want)
		}
	}
}

func TestSettings_TemperatureChangesTheTextBySeed(t *testing.T) {
	s := serve(t, atOnce(50))
	url := blank(10, 10)
	cold, _ := s.text(t, ocr(url, exact))
	again, _ := s.text(t, ocr(url, exact))
	if cold != again {
		t.Error("temperature 0 is not deterministic")
	}
	seeded := func(settings string) string {
		text, _ := s.text(t, ocr(url, `"skip_special_tokens":false,"vllm_xargs":{"ngram_size":30}`+settings))
		return text
	}
	first, again := seeded(`,"temperature":0.7,"seed":1`), seeded(`,"temperature":0.7,"seed":1`)
	if first != again {
		t.Error("the same seed gives different texts")
	}
	if seeded(`,"temperature":0.7,"seed":1`) == seeded(`,"temperature":0.7,"seed":2`) {
		t.Error("different seeds give the same text")
	}
	if seeded(`,"temperature":0.7,"seed":1`) == cold {
		t.Error("temperature 0.7 leaves the text as it is")
	}
	if seeded(``) == cold {
		t.Error("no temperature leaves the text as it is; vLLM's default is 1")
	}
}

// repeating is a page that has a line three times in a row.
const repeating = "Header\nTotal 0\nTotal 0\nTotal 0\nEnd"

func TestSettings_WithoutTheGuardRepeatedLinesLoop(t *testing.T) {
	cfg := atOnce(1)
	cfg.Engine = pageText(repeating)
	s := serve(t, cfg)
	text, finish := s.text(t, ocr(blank(10, 10), exact))
	if text != repeating || finish != "stop" {
		t.Errorf("with the guard: %q, %s", text, finish)
	}
	text, finish = s.text(t, ocr(blank(10, 10), `"temperature":0,"max_tokens":100`))
	if finish != "length" || !strings.HasPrefix(text, "Header\nTotal 0\n") || strings.Count(text, "Total 0\n") < 20 || strings.Contains(text, "End") {
		t.Errorf("without the guard: %q, %s", text, finish)
	}
	_, finish = s.text(t, ocr(blank(10, 10), `"temperature":0`))
	if got := s.Stats().CompletedTokens.Generated; finish != "length" || got < 7800 {
		t.Errorf("without a limit: %s after %d tokens in all, want the context's length", finish, got)
	}
}

func TestSettings_SpecialTokensAreSkippedUnlessKept(t *testing.T) {
	cfg := atOnce(1)
	cfg.Engine = pageText("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n<table><tr><td>5 < 6</td></tr></table>")
	s := serve(t, cfg)
	kept, _ := s.text(t, ocr(blank(10, 10), exact))
	if kept != string(cfg.Engine.(pageText)) {
		t.Errorf("kept: %q", kept)
	}
	for _, settings := range []string{`"temperature":0`, `"temperature":0,"skip_special_tokens":true`} {
		skipped, _ := s.text(t, ocr(blank(10, 10), settings))
		if want := "text[[1, 2, 3, 4]]\n<table>5 < 6</table>"; skipped != want {
			t.Errorf("%s: got %q, want %q", settings, skipped, want)
		}
	}
}

func TestSettings_AnAnswerEndsAtStopOrMaxTokens(t *testing.T) {
	cfg := atOnce(1)
	cfg.Engine = pageText("one two three four")
	s := serve(t, cfg)
	for _, c := range []struct{ settings, text, finish, stop string }{
		{`"stop":"three"`, "one two ", "stop", "three"},
		{`"stop":["four","o t"]`, "one tw", "stop", "o t"},
		{`"stop":["absent"]`, "one two three four", "stop", ""},
		{`"max_tokens":2`, "one two", "length", ""},
		{`"max_tokens":9,"max_completion_tokens":1`, "one", "length", ""},
	} {
		_, body := s.post(t, chatPath, ocr(blank(10, 10), exact+","+c.settings))
		got := decode(t, body).Choices[0]
		stop := ""
		if got.StopReason != nil {
			stop = *got.StopReason
		}
		if got.Message.Content != c.text || *got.FinishReason != c.finish || stop != c.stop {
			t.Errorf("%s: got %q, %s, %q", c.settings, got.Message.Content, *got.FinishReason, stop)
		}
	}
}

func TestSettings_NAnswersDiffer(t *testing.T) {
	s := serve(t, atOnce(40))
	_, body := s.post(t, chatPath, ocr(blank(10, 10), `"n":3,"seed":7,"logprobs":true`))
	a := decode(t, body)
	if len(a.Choices) != 3 || a.Usage.Completion != 120 {
		t.Fatalf("got %d choices, usage %+v", len(a.Choices), a.Usage)
	}
	if a.Choices[0].Message.Content == a.Choices[1].Message.Content {
		t.Error("two samples at temperature 1 are the same")
	}
	if got := len(a.Choices[2].Logprobs.Content); got != 40 {
		t.Errorf("log probabilities of %d tokens, want 40", got)
	}
	_, stream := s.post(t, chatPath, ocr(blank(10, 10), `"n":3,"seed":7,"stream":true`))
	texts := make([]string, 3)
	list := events(t, stream)
	for _, e := range list[:len(list)-1] {
		c := decode(t, e).Choices[0]
		texts[c.Index] += *c.Delta.Content
	}
	for i, c := range a.Choices {
		if texts[i] != c.Message.Content {
			t.Errorf("choice %d: streamed %q, whole %q", i, texts[i], c.Message.Content)
		}
	}
}

func TestSynthetic_GroundingGivesBoxes(t *testing.T) {
	s := serve(t, atOnce(200))
	body := strings.ReplaceAll(ocr(blank(10, 10), exact), "Free OCR.", "<image>\\n<|grounding|>Convert the document to markdown.")
	text, _ := s.text(t, body)
	if ok, _ := regexp.MatchString(`^<\|ref\|>title<\|/ref\|><\|det\|>\[\[\d+, \d+, \d+, \d+\]\]<\|/det\|>\n# Page `, text); !ok {
		t.Errorf("got %q", text)
	}
}

func TestSynthetic_TextDependsOnTheImageAndTheSeedAlone(t *testing.T) {
	a, b := serve(t, atOnce(60)), serve(t, sim.Config{Engine: sim.Synthetic{Seed: 9, Tokens: sim.Range{Min: 60, Max: 60}}, Timing: &sim.Timing{}})
	one, _ := a.text(t, ocr(blank(10, 10), exact))
	same, _ := serve(t, atOnce(60)).text(t, ocr(blank(10, 10), exact))
	image, _ := a.text(t, ocr(blank(11, 10), exact))
	seed, _ := b.text(t, ocr(blank(10, 10), exact))
	if one != same || one == image || one == seed {
		t.Errorf("one %q\nsame %q\nother image %q\nother seed %q", one, same, image, seed)
	}
}

func TestCompletions_AnswerTextPrompts(t *testing.T) {
	s := serve(t, atOnce(5))
	_, body := s.post(t, "/v1/completions", `{"model":"deepseek-ai/DeepSeek-OCR","prompt":["a","b"],"temperature":0}`)
	a := decode(t, body)
	if a.Object != "text_completion" || len(a.Choices) != 2 || a.Choices[0].Text == a.Choices[1].Text || a.Choices[1].Index != 1 || !strings.HasPrefix(a.ID, "cmpl-") {
		t.Errorf("got %s", body)
	}
	_, stream := s.post(t, "/v1/completions", `{"prompt":"a","temperature":0,"stream":true}`)
	text := ""
	list := events(t, stream)
	for _, e := range list[:len(list)-1] {
		text += decode(t, e).Choices[0].Text
	}
	if text != a.Choices[0].Text || list[len(list)-1] != "[DONE]" {
		t.Errorf("streamed %q, want %q", text, a.Choices[0].Text)
	}
}

func TestResponses_StreamOnTheWireAsVLLMDoes(t *testing.T) {
	s := serve(t, atOnce(2))
	_, stream := s.post(t, "/v1/responses", `{"model":"deepseek-ai/DeepSeek-OCR","input":"hi","temperature":0,"stream":true}`)
	var got []string
	text := ""
	for i, raw := range strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		var e struct {
			Type     string
			Number   int `json:"sequence_number"`
			Delta    string
			Response struct {
				ID, Status string
				Output     []struct {
					Content []struct{ Text string }
				}
			}
		}
		kind, data, _ := strings.Cut(raw, "\ndata: ")
		if err := json.Unmarshal([]byte(data), &e); err != nil || kind != "event: "+e.Type || e.Number != i {
			t.Fatalf("event %d is %q (%v)", i, raw, err)
		}
		got = append(got, strings.TrimPrefix(e.Type, "response."))
		text += e.Delta
		if r := e.Response; e.Type == "response.completed" && (r.Status != "completed" || !strings.HasPrefix(r.ID, "resp_") || r.Output[0].Content[0].Text != text) {
			t.Errorf("it ends with %+v, streamed %q", r, text)
		}
	}
	want := "created in_progress output_item.added content_part.added output_text.delta output_text.delta output_text.done content_part.done output_item.done completed"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestResponses_TakeImagesAndRefuseAsVLLMDoes(t *testing.T) {
	s := serve(t, atOnce(5))
	item := func(parts string) string { return `{"input":[{"role":"user","content":[` + parts + `]}]` }
	image := item(`{"type":"input_image","image_url":"` + blank(10, 10) + `"},{"type":"input_text","text":"Free OCR."}`)
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{image + `,"temperature":0}`, 200, `"status":"completed"`},
		{image + `,"max_output_tokens":2}`, 200, `"incomplete_details":{"reason":"max_output_tokens"}`},
		{image + `,"store":true}`, 200, `"input_tokens":`},
		{item(`{"type":"input_image","image_url":"data:image/png,x"}`) + `}`, 501, "NotImplementedError"},
		{item(`{"type":"input_file"}`) + `}`, 400, "BadRequestError"},
		{`{"input":"hi","previous_response_id":"resp_1"}`, 404, "Response with id 'resp_1' not found."},
		{`{"input":"hi","background":true}`, 400, "background"},
		{`{"input":"hi","model":"other"}`, 404, "NotFoundError"},
		{`{"input":7}`, 400, "body.input"},
	} {
		if status, answer := s.post(t, "/v1/responses", c.body); status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%.200s: got %d %s", c.body, status, answer)
		}
	}
	if status, _ := s.post(t, "/v1/responses/resp_1/cancel", ""); status != 404 {
		t.Errorf("a stored response: got %d", status)
	}
}
