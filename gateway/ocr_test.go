package gateway_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

func TestOCR_AnswersAsTheOldServiceDid(t *testing.T) {
	w := newWorld(t, setup{})
	r := w.ocr("/ocr", "file", [][]byte{page(1)})
	if r.status != 200 || r.header.Get("Content-Type") != "application/json" || !strings.HasSuffix(r.body, "\n") {
		t.Fatalf("got %d %v %q", r.status, r.header, r.body)
	}
	keys := regexp.MustCompile(`"(\w+)":`).FindAllString(r.body, -1)
	v := r.json(t)
	if v["prompt"] != "<image>\nFree OCR." || v["text"] == "" || !regexp.MustCompile(`^uploads/\d{8}_\d{6}_page0\.png$`).MatchString(v["image_path"].(string)) {
		t.Errorf("got %v (%v)", v, keys)
	}
	sent := string(w.sims[0].LastRequests()[0].Body)
	if !strings.Contains(sent, `"text":"Free OCR."`) || !strings.Contains(sent, `"stream":true`) {
		t.Errorf("the backend was asked: %.300s", sent)
	}
}

func TestOCR_AndChatGiveTheSameText(t *testing.T) {
	w := newWorld(t, setup{})
	old := w.ocr("/ocr", "file", [][]byte{page(3)}).json(t)["text"].(string)
	chat := w.chat(chatBody(page(3), "")).body
	if !strings.Contains(chat, strings.Split(old, "\n")[0]) {
		t.Errorf("chat said %s, /ocr %q", chat, old)
	}
}

func TestOCR_RefusesInTheOldWords(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{Legacy: gateway.Legacy{MaxBody: 1 << 20}}})
	big := make([]byte, 2<<20)
	for _, c := range []struct {
		name   string
		reply  reply
		status int
		says   string
	}{
		{"no file", w.ocr("/ocr", "image", [][]byte{page(1)}), 400, `{"error":"\u8acb\u6c42\u4e2d\u6c92\u6709\u6a94\u6848\u90e8\u5206"}` + "\n"},
		{"too large", w.ocr("/ocr", "file", [][]byte{big}), 413, `{"error":"\u4e0a\u50b3\u7684\u6a94\u6848\u904e\u5927\uff0c\u6700\u5927\u5141\u8a31 16MB"}` + "\n"},
		{"unknown path", w.do("GET", "/nothing", "", nil), 404, "<!doctype html>"},
		{"wrong method", w.do("GET", "/ocr", "", nil), 405, "<!doctype html>"},
		{"bad key", w.do("POST", "/ocr", "", nil, "X-API-Key", "wrong"), 401, `{"error":`},
	} {
		if c.reply.status != c.status || !strings.HasPrefix(c.reply.body, c.says) {
			t.Errorf("%s: got %d %q, want %d %q", c.name, c.reply.status, c.reply.body, c.status, c.says)
		}
	}
	r := w.ocr("/ocr", "file", [][]byte{[]byte("this is no image")})
	if r.status != 500 || r.json(t)["image_path"] == nil {
		t.Errorf("not an image: got %d %s", r.status, r.body)
	}
}

func TestBatch_KeepsOrderAndFailsOnlyWhatFails(t *testing.T) {
	w := newWorld(t, setup{sims: 2})
	r := w.ocr("/ocr/batch", "files", [][]byte{page(1), []byte("no image"), page(2)})
	if r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	v := r.json(t)
	results := v["results"].([]any)
	if v["total"] != 3.0 || len(results) != 3 {
		t.Fatalf("got %s", r.body)
	}
	for i, item := range results {
		item := item.(map[string]any)
		if path := item["image_path"].(string); !strings.HasSuffix(path, fmt.Sprintf("_%d_page%d.png", i, i)) {
			t.Errorf("item %d is of %s", i, path)
		}
		if _, failed := item["error"]; failed != (i == 1) {
			t.Errorf("item %d: %v", i, item)
		}
	}
}

func TestBatch_SendsItsImagesSideBySide(t *testing.T) {
	w := newWorld(t, setup{sims: 4, sim: sim.Config{Timing: &sim.Timing{FirstToken: time.Second}}})
	var files [][]byte
	for i := range 8 {
		files = append(files, page(i+1))
	}
	contentType, body := upload(t, "files", files)
	w.leave("/ocr/batch", contentType, string(body), func(net.Conn) {
		w.eventually("all eight are in work at once, two on each backend", func() bool {
			for _, s := range w.sims {
				if s.Stats().InProgress != 2 {
					return false
				}
			}
			return true
		})
	})
}

func TestCache_IsSharedByTheRoutesAndNotByTenants(t *testing.T) {
	w := newWorld(t, setup{cache: true, keys: "tenants:\n  - name: acme\n"})
	contentType, body := upload(t, "file", [][]byte{page(5)})
	key := []string{"X-API-Key", w.key}
	old := w.do("POST", "/ocr", contentType, strings.NewReader(string(body)), key...)
	chat := w.chat(chatBody(page(5), ""))
	if old.header.Get("X-Ocrmux-Cache") != "miss" || chat.header.Get("X-Ocrmux-Cache") != "hit" || chat.header.Get("Age") == "" {
		t.Errorf("cache: %q then %q", old.header.Get("X-Ocrmux-Cache"), chat.header.Get("X-Ocrmux-Cache"))
	}
	if fresh := w.chat(chatBody(page(5), ""), "Cache-Control", "no-cache"); fresh.header.Get("X-Ocrmux-Cache") != "miss" {
		t.Errorf("no-cache: %q", fresh.header.Get("X-Ocrmux-Cache"))
	}
	if warm := w.chat(chatBody(page(5), `,"temperature":0.5`)); warm.header.Get("X-Ocrmux-Cache") != "bypass" {
		t.Errorf("temperature 0.5: %q", warm.header.Get("X-Ocrmux-Cache"))
	}
	if n := w.sims[0].Stats().Completed; n != 3 {
		t.Errorf("the backend worked %d times, want 3", n)
	}
	if plain, remembered := chat.json(t)["choices"], w.chat(chatBody(page(5), "")).json(t)["choices"]; fmt.Sprint(plain) != fmt.Sprint(remembered) {
		t.Errorf("got %v then %v", plain, remembered)
	}
}

func TestLimits_AreToldInHeadersAndRefusedWith429(t *testing.T) {
	w := newWorld(t, setup{keys: "tenants:\n  - name: acme\n    limits: {requests_per_minute: 2}\n"})
	for want := 1; want >= 0; want-- {
		r := w.chat(`{"model":"deepseek-ocr","messages":[{"role":"user","content":"x"}]}`)
		if got := r.header.Get("X-Ratelimit-Remaining-Requests"); r.status != 200 || got != fmt.Sprint(want) {
			t.Errorf("got %d, remaining %q, want %d", r.status, got, want)
		}
	}
	r := w.chat(`{"model":"deepseek-ocr","messages":[{"role":"user","content":"x"}]}`)
	if code := r.errorCode(t); r.status != 429 || code != "rate_limit_exceeded" || r.header.Get("Retry-After") == "" || r.header.Get("Retry-After") == "0" {
		t.Errorf("got %d %v %v", r.status, code, r.header)
	}
}

func TestLimits_ARequestThatNothingWasTriedForIsRefunded(t *testing.T) {
	w := newWorld(t, setup{noBackend: true, keys: "tenants:\n  - name: acme\n    limits: {requests_per_minute: 1}\n"})
	for range 3 {
		if r := w.chat(`{"model":"deepseek-ocr","messages":[{"role":"user","content":"x"}]}`); r.status != 503 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
	}
}
