package conformance_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/png"
	"reflect"
	"strings"
	"testing"

	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

// question is a chat of one turn, in text alone.
func question(prompt string) map[string]any {
	return map[string]any{
		"model":    stand.Model,
		"messages": []any{map[string]any{"role": "user", "content": prompt}},
	}
}

// with adds a parameter.
func with(params map[string]any, name string, value any) map[string]any {
	params[name] = value
	return params
}

// readWhole decodes an answer of one object.
func readWhole(t *testing.T, a drivers.Answer) drivers.Reading {
	t.Helper()
	if a.Error != nil {
		t.Fatal(a.Error)
	}
	r, err := drivers.Read(a.Value)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func checkUsage(t *testing.T, u *drivers.Usage) {
	t.Helper()
	if u == nil || u.PromptTokens <= 0 || u.CompletionTokens <= 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage %+v", u)
	}
}

func chat(t *testing.T, w *world, c client) {
	answer := w.do(t, c, w.command(drivers.Chat, question("Free OCR.")))
	textOf(t, answer)
	got := readWhole(t, answer)
	checkUsage(t, got.Usage)
	if !strings.HasPrefix(got.ID, "chatcmpl-") || got.Object != "chat.completion" || got.Model != stand.Model {
		t.Errorf("id %q, object %q, model %q", got.ID, got.Object, got.Model)
	}
	if len(got.Choices) != 1 || got.Choices[0].Message.Role != "assistant" || got.Choices[0].FinishReason != "stop" {
		t.Errorf("choices %+v", got.Choices)
	}
	if answer.Wire != nil && answer.Wire.Header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", answer.Wire.Header.Get("Content-Type"))
	}
}

func chatWithImage(t *testing.T, w *world, c client) {
	picture := randomPNG(t)
	command := w.command(drivers.Chat, map[string]any{
		"model": stand.Model,
		"messages": []any{map[string]any{"role": "user", "content": []any{
			map[string]any{"type": "text", "text": "Free OCR. Größe → 大小"},
			map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture)}},
		}}},
	})
	command.BaseURL = w.tap.url
	w.text(t, c, command)

	received, given := w.sent(t)["messages"], members(t, w.tap.all()[0].body)["messages"]
	if !bytes.Equal(received, given) {
		t.Errorf("the backend received other messages than the client sent:\n%.300s\n%.300s", received, given)
	}
	var messages []struct {
		Content []struct {
			ImageURL struct{ URL string } `json:"image_url"`
		}
	}
	if err := json.Unmarshal(received, &messages); err != nil {
		t.Fatal(err)
	}
	_, encoded, _ := strings.Cut(messages[0].Content[1].ImageURL.URL, ",")
	if decoded, err := base64.StdEncoding.DecodeString(encoded); err != nil || !bytes.Equal(decoded, picture) {
		t.Errorf("the picture is not the one that was sent (%v)", err)
	}
}

// randomPNG is a picture that nobody has seen before.
func randomPNG(t *testing.T) []byte {
	t.Helper()
	picture := image.NewGray(image.Rect(0, 0, 64, 64))
	_, _ = rand.Read(picture.Pix)
	var b bytes.Buffer
	if err := png.Encode(&b, picture); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func extraBody(t *testing.T, w *world, c client) {
	command := w.command(drivers.Chat, question("Free OCR."))
	command.BaseURL = w.tap.url
	command.Extra = map[string]any{
		"vllm_xargs":          map[string]any{"ngram_size": 20.0, "window_size": 50.0, "whitelist_token_ids": []any{1.0}},
		"skip_special_tokens": true,
		"top_k":               7.0,
		"x_of_tomorrow":       map[string]any{"a": []any{1.5, nil, "ä"}},
	}
	w.text(t, c, command)
	received, given := w.sent(t), members(t, w.tap.all()[0].body)
	for name, want := range command.Extra {
		var got any
		if err := json.Unmarshal(received[name], &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %s at the backend (%v), want %v", name, received[name], err, want)
		}
		if !bytes.Equal(received[name], given[name]) {
			t.Errorf("%s is %s at the backend, and the client sent %s", name, received[name], given[name])
		}
	}
}

func defaultsInjected(t *testing.T, w *world, c client) {
	params := question("Free OCR.")
	params["temperature"] = 0 // which this SDK leaves out
	w.text(t, c, w.command(drivers.Chat, params))
	received := w.sent(t)
	for name, want := range map[string]string{
		"temperature":         `0`,
		"skip_special_tokens": `false`,
		"vllm_xargs":          `{"ngram_size":30,"window_size":90,"whitelist_token_ids":[128821,128822]}`,
	} {
		if got := compact(t, received[name]); got != want {
			t.Errorf("%s is %s at the backend, want %s", name, got, want)
		}
	}
}

func compact(t *testing.T, value json.RawMessage) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		t.Errorf("%q: %v", value, err)
	}
	return b.String()
}

func temperatureKept(t *testing.T, w *world, c client) {
	w.text(t, c, w.command(drivers.Chat, with(question("Free OCR."), "temperature", 0.7)))
	if got := string(w.sent(t)["temperature"]); got != "0.7" {
		t.Errorf("temperature %s at the backend", got)
	}
}

func stopString(t *testing.T, w *world, c client) {
	var stop any = "\n"
	if c.letter == goOpenAI {
		stop = []string{"\n"} // it has no other form
	}
	whole := w.text(t, c, w.command(drivers.Chat, question("Free OCR.")))
	w.begin(t)
	answer := w.do(t, c, w.command(drivers.Chat, with(question("Free OCR."), "stop", stop)))
	first, _, _ := strings.Cut(whole, "\n")
	if text := textOf(t, answer); text != first {
		t.Errorf("%q, want the first line of %q", text, whole)
	}
	if got := readWhole(t, answer); got.Choices[0].FinishReason != "stop" {
		t.Errorf("finish reason %q", got.Choices[0].FinishReason)
	}
	if want, _ := json.Marshal(stop); !bytes.Equal(w.sent(t)["stop"], want) {
		t.Errorf("stop is %s at the backend, want %s", w.sent(t)["stop"], want)
	}
}

func severalAnswers(t *testing.T, w *world, c client) {
	params := with(with(with(question("Free OCR."), "n", 2), "logprobs", true), "temperature", 0.9)
	got := readWhole(t, w.do(t, c, w.command(drivers.Chat, params)))
	if len(got.Choices) != 2 {
		t.Fatalf("%d choices", len(got.Choices))
	}
	for i, choice := range got.Choices {
		var logprobs struct {
			Content []struct {
				Token   string
				Logprob float64
			}
		}
		if err := json.Unmarshal(choice.Logprobs, &logprobs); err != nil || len(logprobs.Content) == 0 || logprobs.Content[0].Logprob >= 0 {
			t.Errorf("choice %d: logprobs %.200s (%v)", i, choice.Logprobs, err)
		}
		if choice.Index != i || choice.Message.Content == "" {
			t.Errorf("choice %d: %+v", i, choice)
		}
	}
	if sent := w.sent(t); string(sent["n"]) != "2" || string(sent["logprobs"]) != "true" {
		t.Errorf("n %s, logprobs %s at the backend", sent["n"], sent["logprobs"])
	}
}

func completion(t *testing.T, w *world, c client) {
	params := map[string]any{"model": stand.Model, "prompt": "Free OCR."}
	answer := w.do(t, c, w.command(drivers.Completion, params))
	textOf(t, answer)
	got := readWhole(t, answer)
	checkUsage(t, got.Usage)
	if got.Object != "text_completion" || len(got.Choices) != 1 || got.Choices[0].FinishReason != "stop" {
		t.Errorf("%+v", got)
	}
}
