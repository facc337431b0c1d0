package sim_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ocrmux/backends/sim"
)

func TestRefusals_AreVLLMs(t *testing.T) {
	page := blank(10, 10)
	content := func(parts string) string {
		return `{"temperature":0,"messages":[{"role":"user","content":[` + parts + `]}]}`
	}
	image := func(url string) string { return `{"type":"image_url","image_url":{"url":"` + url + `"}}` }
	prefix, data, _ := strings.Cut(page, ",")
	cut := prefix + "," + data[:len(data)/2/4*4]
	for _, c := range []struct {
		name, body string
		status     int
		kind, says string
	}{
		{"broken JSON", `{"messages":`, 400, "Bad Request", "JSON decode error"},
		{"wrong type", `{"messages":[{"role":"user","content":"x"}],"max_tokens":"many"}`, 400, "Bad Request", "body.max_tokens"},
		{"no messages", `{}`, 400, "Bad Request", "body.messages"},
		{"unknown model", `{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}`, 404, "NotFoundError", "`gpt-4o` does not exist"},
		{"roles do not alternate", `{"messages":[{"role":"user","content":"x"},{"role":"user","content":"y"}]}`, 400, "BadRequestError", "must alternate"},
		{"assistant first", `{"messages":[{"role":"assistant","content":"x"}]}`, 400, "BadRequestError", "must alternate"},
		{"unknown part", content(`{"type":"hologram"}`), 400, "BadRequestError", "Unknown part type"},
		{"placeholder without image", `{"messages":[{"role":"user","content":"<image>\nFree OCR."}]}`, 400, "BadRequestError", "placeholders"},
		{"two placeholders, one image", content(image(page) + `,{"type":"text","text":"<image><image>"}`), 400, "BadRequestError", "placeholders"},
		{"two images", content(image(page) + "," + image(page)), 400, "BadRequestError", "At most 1 image"},
		{"http image", content(image("http://127.0.0.1:1/x.png")), 400, "BadRequestError", "allowed domains"},
		{"file image", content(image("file:///etc/passwd")), 400, "BadRequestError", "allowed-local-media-path"},
		{"another scheme", content(image("ftp://x/y.png")), 400, "BadRequestError", "HTTP, data or file"},
		{"data URL without comma", content(image("data:image/png;base64")), 400, "BadRequestError", "data URL"},
		{"data URL with a parameter", content(image(strings.Replace(page, ";", ";charset=x;", 1))), 501, "NotImplementedError", "base64"},
		{"data URL without base64", content(image("data:image/png,abc")), 501, "NotImplementedError", "base64"},
		{"line end in base64", content(image(page[:40] + `\n` + page[40:])), 400, "BadRequestError", "base64"},
		{"no padding", content(image("data:image/png;base64,aGVsbG8")), 400, "BadRequestError", "base64"},
		{"not an image", content(image("data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte("hello")))), 400, "BadRequestError", "image"},
		{"image cut short", content(image(cut)), 400, "BadRequestError", "image"},
		{"nested vllm_xargs", ocr(page, `"vllm_xargs":{"x":{"y":1}}`), 400, "Bad Request", "vllm_xargs.x"},
		{"null in vllm_xargs", ocr(page, `"vllm_xargs":{"x":[1,null]}`), 400, "Bad Request", "vllm_xargs.x"},
		{"ngram_size as string", ocr(page, `"vllm_xargs":{"ngram_size":"30"}`), 400, "BadRequestError", "ngram_size"},
		{"ngram_size zero", ocr(page, `"vllm_xargs":{"ngram_size":0}`), 400, "BadRequestError", "strictly positive integer, got 0"},
		{"window_size fraction", ocr(page, `"vllm_xargs":{"ngram_size":3,"window_size":1.5}`), 400, "BadRequestError", "window_size"},
		{"whitelist not a list", ocr(page, `"vllm_xargs":{"whitelist_token_ids":1}`), 400, "BadRequestError", "whitelist_token_ids"},
		{"priority", ocr(page, `"priority":1`), 400, "BadRequestError", "Priority scheduling"},
		{"greedy with n", ocr(page, `"temperature":0,"n":2`), 400, "BadRequestError", "greedy"},
		{"no answer wanted", ocr(page, `"n":0`), 400, "BadRequestError", "n must be"},
		{"negative temperature", ocr(page, `"temperature":-1`), 400, "BadRequestError", "temperature"},
		{"top_p above 1", ocr(page, `"top_p":1.5`), 400, "BadRequestError", "top_p"},
		{"max_tokens zero", ocr(page, `"max_tokens":0`), 400, "BadRequestError", "max_tokens"},
		{"max_tokens above the context", ocr(page, `"max_tokens":8193`), 400, "BadRequestError", "max_model_len=8192"},
		{"stream options without stream", ocr(page, `"stream_options":{"include_usage":true}`), 400, "BadRequestError", "stream=True"},
		{"empty stop", ocr(page, `"stop":[""]`), 400, "BadRequestError", "stop"},
		{"too long a prompt", `{"messages":[{"role":"user","content":"` + strings.Repeat("long ", 8192) + `"}]}`, 400, "BadRequestError", "the model's context length is only 8192"},
	} {
		s := serve(t, atOnce(5))
		status, body := s.post(t, chatPath, c.body)
		if status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, status, c.status, body)
			continue
		}
		e := decode(t, body).Error
		if e == nil || e.Code != c.status || e.Type != c.kind || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: got %s, want type %s and %q", c.name, body, c.kind, c.says)
		}
		if got := s.Stats(); got.Received != 1 || got.Refused != 1 || got.InProgress != 0 {
			t.Errorf("%s: stats %+v, want one refused", c.name, got)
		}
	}
}

func TestRefusals_ContextCountsTheImage(t *testing.T) {
	s := serve(t, atOnce(5))
	page := blank(700, 990) // 903 tokens, and 4 of text
	if status, body := s.post(t, chatPath, ocr(page, exact+`,"max_tokens":7285`)); status != http.StatusOK {
		t.Errorf("what just fits got %d: %s", status, body)
	}
	status, body := s.post(t, chatPath, ocr(page, exact+`,"max_tokens":7286`))
	if e := decode(t, body).Error; status != 400 || e.Param == nil || *e.Param != "input_tokens" ||
		!strings.HasPrefix(e.Message, "You passed 907 input tokens and requested 7286 output tokens.") {
		t.Errorf("one token more got %d: %s", status, body)
	}
}

func TestRefusals_StreamsGetThemAsPlainJSON(t *testing.T) {
	s := serve(t, atOnce(5))
	status, body := s.post(t, chatPath, ocr("data:,", `"stream":true`))
	if status != 501 || decode(t, body).Error == nil {
		t.Errorf("got %d %s", status, body)
	}
}

func TestRefusals_NothingIsFetched(t *testing.T) {
	hits := 0
	target := serveFunc(t, func(http.ResponseWriter, *http.Request) { hits++ })
	s := serve(t, atOnce(5))
	s.post(t, chatPath, ocr(target+"/a.png", ""))
	s.post(t, chatPath, ocr(blank(1, 1), ""))
	s.post(t, chatPath, strings.ReplaceAll(ocr(target+"/b.png", ""), `"messages"`, `"model":"other","messages"`))
	if got := s.Stats().RemoteImages; got != 2 || hits != 0 {
		t.Errorf("%d remote images counted, want 2; %d fetched, want 0", got, hits)
	}
}

func TestAccepted_WhatVLLMDoesNotMind(t *testing.T) {
	page := blank(10, 10)
	for name, body := range map[string]string{
		"unknown keys":           ocr(page, `"unheard_of":{"a":[1]},"user":"x"`),
		"one placeholder":        strings.ReplaceAll(ocr(page, ""), "Free", "<image>\\nFree"),
		"no MIME type":           ocr(strings.Replace(page, "image/png", "", 1), ""),
		"a system message":       `{"messages":[{"role":"system","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":null},{"role":"user","content":"c"}]}`,
		"image_url as a string":  `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"` + page + `"}]}]}`,
		"nulls":                  ocr(page, `"max_tokens":null,"stop":null,"stream":null,"seed":null,"n":null`),
		"the last duplicate key": `{"model":"x","model":"deepseek-ai/DeepSeek-OCR","messages":[{"role":"user","content":"x"}]}`,
		"priority zero":          ocr(page, `"priority":0`),
		"n at temperature 1":     ocr(page, `"n":2`),
	} {
		s := serve(t, atOnce(5))
		if status, answer := s.post(t, chatPath, body); status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, status, answer)
		}
	}
}

func TestKey_GuardsOnlyV1(t *testing.T) {
	cfg := atOnce(5)
	cfg.APIKey = "secret"
	s := serve(t, cfg)
	get := func(path, key string) (int, string) {
		r, _ := http.NewRequest("GET", s.url+path, nil)
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, readAll(t, resp.Body)
	}
	for _, key := range []string{"", "wrong", "secret2"} {
		if status, body := get("/v1/models", key); status != 401 || body != `{"error":"Unauthorized"}` {
			t.Errorf("key %q: got %d %s", key, status, body)
		}
	}
	if status, body := get("/v1/models", "secret"); status != 200 || !strings.Contains(body, `"owned_by":"vllmsim"`) || !strings.Contains(body, `"max_model_len":8192`) {
		t.Errorf("right key: got %d %s", status, body)
	}
	for _, path := range []string{"/health", "/ping", "/version", "/load", "/metrics", "/sim/stats"} {
		if status, body := get(path, ""); status != 200 {
			t.Errorf("%s: got %d %s", path, status, body)
		}
	}
	if status, body := get(chatPath, "secret"); status != 405 || body != `{"detail":"Method Not Allowed"}` {
		t.Errorf("wrong method: got %d %s", status, body)
	}
	if status, body := get("/nowhere", ""); status != 404 || body != `{"detail":"Not Found"}` {
		t.Errorf("unknown route: got %d %s", status, body)
	}
}

func TestRequests_AreRecordedByteForByte(t *testing.T) {
	s := serve(t, atOnce(5))
	body := " " + ocr(blank(10, 10), `"odd":  1.50`) + "\n"
	s.post(t, chatPath, body)
	s.post(t, chatPath, "not json")
	got := s.LastRequests()
	if len(got) != 2 || string(got[0].Body) != body || string(got[1].Body) != "not json" {
		t.Fatalf("recorded %q", got)
	}
	if got[0].Header.Get("Content-Type") != "application/json" || got[0].Path != chatPath || len(got[0].ImageSHA256) != 1 {
		t.Errorf("recorded %+v", got[0])
	}
	for _, r := range got {
		if want := map[bool]string{true: "completed", false: "refused"}[string(r.Body) == body]; r.Outcome != want || r.Ended.Before(r.Arrived) {
			t.Errorf("%q ended as %q, want %q", r.Body, r.Outcome, want)
		}
	}
	handler := s.Handler()
	for range 4100 { // past the sockets, which would take their time
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", chatPath, strings.NewReader("x")))
	}
	if n := len(s.LastRequests()); n != 4096 {
		t.Errorf("%d requests are kept, want 4096", n)
	}
	if status, _ := s.post(t, "/sim/reset", ""); status != 200 || len(s.LastRequests()) != 0 || s.Stats() != (sim.Stats{}) {
		t.Errorf("after reset: %d requests, stats %+v", len(s.LastRequests()), s.Stats())
	}
}
