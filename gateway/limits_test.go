package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ocrmux/auth"
	"ocrmux/backends/sim"
	"ocrmux/gateway"
	"ocrmux/usage"
)

const limitedKeys = `tenants:
  - name: acme
    limits: {requests_per_minute: 100, images_per_minute: 8, megapixels_per_minute: 90, tokens_per_minute: 50000, in_progress: 20}
  - name: monthly
    quota: {pages_per_month: 2}
  - name: small
    limits: {tokens_per_minute: 100, images_per_minute: 5}
  - name: many
`

func (w *world) batch(key string, images int) reply {
	w.t.Helper()
	var files [][]byte
	for i := range images {
		files = append(files, page(i+1))
	}
	contentType, body := upload(w.t, "files", files)
	return w.do("POST", "/ocr/batch", contentType, strings.NewReader(string(body)), "Authorization", "Bearer "+key)
}

func (w *world) as(key, body string) reply {
	w.t.Helper()
	return w.do("POST", "/v1/chat/completions", "application/json", strings.NewReader(body), "Authorization", "Bearer "+key)
}

func TestLimits_StandOnEveryAnswerInOpenAIsFormats(t *testing.T) {
	w := newWorld(t, setup{keys: limitedKeys})
	duration := regexp.MustCompile(`^([0-9]+m)?[0-9]+(\.[0-9]+)?(ms|s)$|^0s$`)
	for name, r := range map[string]reply{
		"models": w.do("GET", "/v1/models", "", nil, "Authorization", "Bearer "+w.key),
		"usage":  w.do("GET", "/v1/usage", "", nil, "Authorization", "Bearer "+w.key),
		"chat":   w.chat(chatBody(page(1), "")),
		"stream": w.chat(chatBody(page(1), `,"stream":true`)),
		"ocr":    w.do("POST", "/ocr", "application/json", strings.NewReader(`{"image":"`+base64Of(page(1))+`"}`), "X-API-Key", w.key),
		"batch":  w.batch(w.key, 2),
	} {
		for _, what := range []string{"Requests", "Tokens", "Images", "Megapixels"} {
			limit, err := strconv.Atoi(r.header.Get("X-Ratelimit-Limit-" + what))
			remaining, err2 := strconv.Atoi(r.header.Get("X-Ratelimit-Remaining-" + what))
			reset := r.header.Get("X-Ratelimit-Reset-" + what)
			if err != nil || err2 != nil || remaining > limit || !duration.MatchString(reset) {
				t.Errorf("%s, %s: %d of %d, free again in %q (status %d)", name, what, remaining, limit, reset, r.status)
			}
			if d, err := time.ParseDuration(reset); err != nil || d > 61*time.Second {
				t.Errorf("%s, %s: reset %q", name, what, reset)
			}
		}
	}
}

func TestBatch_IsRefusedAsAWholeWithTheNumberThatWouldFit(t *testing.T) {
	w := newWorld(t, setup{keys: limitedKeys})
	if r := w.batch(w.key, 5); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	before := w.sims[0].Stats().Received
	r := w.batch(w.key, 4)
	if r.status != 429 || r.json(t)["images_allowed"] != 3. || !strings.Contains(r.body, "3") {
		t.Errorf("%d %s", r.status, r.body)
	}
	wait, err := strconv.Atoi(r.header.Get("Retry-After-Ms"))
	if err != nil || wait <= 50_000 || wait > 60_000 || r.header.Get("X-Should-Retry") != "" {
		t.Errorf("headers %v", r.header)
	}
	if r.header.Get("X-Ratelimit-Remaining-Images") != "3" {
		t.Errorf("%s images remain", r.header.Get("X-Ratelimit-Remaining-Images"))
	}
	if r := w.batch(w.key, 9); r.status != 429 || r.header.Get("X-Should-Retry") != "false" || r.header.Get("Retry-After") != "" {
		t.Errorf("more than the limit itself: %d %v", r.status, r.header)
	}
	if got := w.sims[0].Stats().Received; got != before {
		t.Errorf("%d images of refused batches were worked on", got-before)
	}
	if r := w.batch(w.key, 3); r.status != 200 {
		t.Errorf("those that fit: %d %s", r.status, r.body)
	}
}

func TestQuota_IsOpenAIsInsufficientQuota(t *testing.T) {
	w := newWorld(t, setup{keys: limitedKeys, others: []string{"monthly", "small"}})
	key := w.keys["monthly"]
	for range 2 {
		if r := w.as(key, chatBody(page(1), "")); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	r := w.as(key, chatBody(page(1), ""))
	if r.status != 429 || r.errorCode(t) != "insufficient_quota" || r.header.Get("X-Should-Retry") != "false" || r.header.Get("Retry-After") != "" {
		t.Errorf("%d %s %v", r.status, r.body, r.header)
	}
	if r := w.batch(key, 1); r.status != 429 || !strings.Contains(r.json(t)["error"].(string), "本月額度") {
		t.Errorf("%d %s", r.status, r.body)
	}
	var report struct {
		Quota map[string]struct{ Limit, Used, Remaining int64 }
		Month usage.Summary
	}
	must(t, json.Unmarshal([]byte(w.do("GET", "/v1/usage", "", nil, "Authorization", "Bearer "+key).body), &report))
	if q := report.Quota["pages_per_month"]; q.Limit != 2 || q.Used != 2 || q.Remaining != 0 {
		t.Errorf("quota %+v", q)
	}
	if total := report.Month.Total; total.Images != 2 || total.Refused.Quota != 2 {
		t.Errorf("month %+v", total)
	}
	if r := w.as(w.keys["small"], chatBody(page(1), "")); r.status != 429 || r.header.Get("X-Should-Retry") != "false" {
		t.Errorf("more tokens than the limit: %d %s", r.status, r.body)
	}
}

func TestLimits_GiveBackWhatFailedOnOurSide(t *testing.T) {
	w := newWorld(t, setup{keys: strings.Replace(limitedKeys, "images_per_minute: 8", "images_per_minute: 2", 1)})
	must(t, w.sims[0].SetFaults(sim.Faults{ErrorRate: 1}))
	for range 3 { // more than the images of a minute
		if r := w.chat(chatBody(page(1), "")); r.status < 500 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	must(t, w.sims[0].SetFaults(sim.Faults{}))
	r := w.chat(chatBody(page(1), ""))
	if r.status != 200 || r.header.Get("X-Ratelimit-Remaining-Images") != "1" {
		t.Errorf("%d, %s images remain", r.status, r.header.Get("X-Ratelimit-Remaining-Images"))
	}
	if got := w.ledger.Report(usage.Filter{Tenant: "acme"}).Today.Total.Images; got != 1 {
		t.Errorf("%d images are counted", got)
	}
}

func TestLimits_ABatchThatNothingWasTriedForIsRefunded(t *testing.T) {
	w := newWorld(t, setup{noBackend: true, keys: limitedKeys})
	for range 3 {
		if r := w.batch(w.key, 2); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	r := w.do("GET", "/v1/models", "", nil, "Authorization", "Bearer "+w.key)
	if requests, images := r.header.Get("X-Ratelimit-Remaining-Requests"), r.header.Get("X-Ratelimit-Remaining-Images"); requests != "99" || images != "8" {
		t.Errorf("%s requests and %s images remain", requests, images)
	}
}

func TestUsage_EqualsWhatTheBackendsCounted(t *testing.T) {
	w := newWorld(t, setup{sims: 2, keys: limitedKeys, others: []string{"many"}})
	key := w.keys["many"]
	images := 0
	for i := range 4 {
		w.as(key, chatBody(page(i), ""))
		w.as(key, chatBody(page(i), `,"stream":true`))
		w.batch(key, 2)
		images += 4
	}
	var want sim.Tokens
	w.eventually("the last stream is counted, here and there", func() bool {
		completed := int64(0)
		want = sim.Tokens{}
		for _, s := range w.sims {
			stats := s.Stats()
			completed += stats.Completed
			want.Prompt += stats.CompletedTokens.Prompt
			want.Image += stats.CompletedTokens.Image
			want.Generated += stats.CompletedTokens.Generated
		}
		return completed == int64(images) && w.ledger.Report(usage.Filter{Tenant: "many"}).Today.Total.Requests == 12
	})
	got := w.ledger.Report(usage.Filter{Tenant: "many"}).Today
	if got.Total.Images != int64(images) || got.Total.PromptTokens != want.Prompt || got.Total.GeneratedTokens != want.Generated || got.Total.ImageTokens != want.Image {
		t.Errorf("counted %+v, the backends %+v", got.Total, want)
	}
	if got.Total.GPUSeconds <= 0 || len(got.Rows) != 2 || got.Rows[0].Model != model {
		t.Errorf("%+v", got.Rows)
	}
}

func TestLimits_OfTheWholeAreOverloadNotRateLimit(t *testing.T) {
	w := newWorld(t, setup{keys: limitedKeys})
	w.auth.SetCeilings(auth.Ceilings{Routes: map[string]auth.Limits{"chat": {RequestsPerMinute: 1}, "ocr_batch": {ImagesPerMinute: 2}}})
	w.chat(chatBody(page(1), ""))
	r := w.chat(chatBody(page(1), ""))
	if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("X-Ratelimit-Remaining-Requests") == "0" {
		t.Errorf("%d %s %v", r.status, r.body, r.header)
	}
	if r := w.batch(w.key, 3); r.status != 503 {
		t.Errorf("batch: %d %s", r.status, r.body)
	}
	if got := w.ledger.Report(usage.Filter{}).Today.Total.Refused.Capacity; got != 2 {
		t.Errorf("%d refusals for capacity", got)
	}
}

// A client that is refused at the door may send its body all the same; nothing
// of it is kept.
func TestLimits_RefuseAtTheDoorWithoutHoldingTheBody(t *testing.T) {
	w := newWorld(t, setup{keys: "tenants:\n  - name: acme\n    limits: {requests_per_minute: 1}\n", gateway: gateway.Config{BodiesBytes: 1 << 20}})
	w.do("GET", "/v1/models", "", nil, "Authorization", "Bearer "+w.key)
	c, err := net.Dial("tcp", w.addr)
	must(t, err)
	defer c.Close()
	const size = 8 << 20 // eight times what all bodies together may take
	_, err = fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", w.key, size)
	must(t, err)
	go func() { _, _ = c.Write(make([]byte, size)) }()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	answer, err := io.ReadAll(io.LimitReader(c, 4096))
	if !strings.HasPrefix(string(answer), "HTTP/1.1 429") {
		t.Errorf("%v %.200s", err, answer)
	}
}
