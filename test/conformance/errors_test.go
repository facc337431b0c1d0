package conformance_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

// checkErrorBody wants the four keys that OpenAI's errors have, of the types that
// all SDKs can read, where the wire is to be seen.
func checkErrorBody(t *testing.T, a drivers.Answer) {
	t.Helper()
	if a.Wire == nil {
		return
	}
	var outer map[string]map[string]*string // string or null
	err := json.Unmarshal(a.Wire.Body, &outer)
	inner := outer["error"]
	for _, key := range []string{"message", "type", "param", "code"} {
		if _, there := inner[key]; !there {
			t.Errorf("no %s in %s", key, a.Wire.Body)
		}
	}
	if err != nil || len(outer) != 1 || len(inner) != 4 || inner["message"] == nil || inner["type"] == nil {
		t.Errorf("not OpenAI's error (%v): %s", err, a.Wire.Body)
	}
	if got := a.Wire.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}

// refused is an answer that must be an error that no backend knows of.
func (w *world) refused(t *testing.T, c client, command drivers.Command, status int, code string) *drivers.Error {
	t.Helper()
	answer := w.do(t, c, command)
	e := answer.Error
	if e == nil || e.Status != status || e.Code != code || e.Foreign || e.Message == "" {
		t.Fatalf("%s: %v, want %d %q", command.Do, e, status, code)
	}
	checkErrorBody(t, answer)
	if n := len(w.received(t)); n > 0 {
		t.Errorf("%s: a backend was asked %d times", command.Do, n)
	}
	return e
}

func noKey(t *testing.T, w *world, c client) {
	for _, do := range []string{drivers.Chat, drivers.Models} {
		command := w.command(do, question("Free OCR."))
		command.Key = ""
		e := w.refused(t, c, command, 401, "")
		checkClass(t, c, e, "AuthenticationError")
	}
}

func badKey(t *testing.T, w *world, c client) {
	// Few: from twenty on, those of one address are told to wait instead.
	key := w.keys[everything]
	for do, bad := range map[string]string{drivers.Chat: key[:len(key)-1] + "~", drivers.Models: "sk-something-else"} {
		command := w.command(do, question("Free OCR."))
		command.Key = bad
		e := w.refused(t, c, command, 401, "invalid_api_key")
		checkClass(t, c, e, "AuthenticationError")
	}
}

func rateLimitHeaders(t *testing.T, w *world, c client) {
	command := w.command(drivers.Chat, question("Free OCR."))
	command.Key = w.keys[counted]
	answer := w.do(t, c, command)
	if answer.Error != nil {
		t.Fatal(answer.Error)
	}
	got := answer.Limits
	reset, err := time.ParseDuration(got.ResetRequests.String())
	if err != nil || reset <= 0 || reset > time.Minute+2*time.Second { // two roundings to a second
		t.Errorf("reset %q (%v)", got.ResetRequests, err)
	}
	if until := time.Until(got.ResetRequests.Time()); until <= 0 {
		t.Errorf("this SDK reads a reset in %s", until)
	}
	if got.LimitRequests != 1000 || got.RemainingRequests <= 0 || got.RemainingRequests >= 1000 {
		t.Errorf("%+v", got)
	}
}

func requestID(t *testing.T, w *world, c client) {
	for name, params := range map[string]map[string]any{
		"success": question("Free OCR."),
		"failure": with(question("Free OCR."), "model", "nobody/Nothing"),
	} {
		w.tap.reset()
		command := w.command(drivers.Chat, params)
		command.BaseURL = w.tap.url
		answer := w.do(t, c, command)
		want := w.tap.all()[0].header.Get("X-Request-Id")
		if want == "" || answer.RequestID != want {
			t.Errorf("%s: request id %q, and the header says %q", name, answer.RequestID, want)
		}
		if !strings.Contains(w.Routers[0].Log(t), want) {
			t.Errorf("%s: the router's log has no %s", name, want)
		}
	}
}

func brokenJSON(t *testing.T, w *world, c client) {
	for _, body := range []string{`{"model":"` + stand.Model + `","messages":[`, `{"model":NaN}`, `hello`, ``} {
		command := w.command(drivers.Post, nil)
		command.Body = body
		e := w.refused(t, c, command, 400, "")
		checkClass(t, c, e, "BadRequestError")
	}
}

func duplicateModel(t *testing.T, w *world, c client) {
	for _, again := range []string{`"model"`, `"\u006dodel"`} {
		command := w.command(drivers.Post, nil)
		command.Body = `{"model":"` + stand.Model + `",` + again + `:"` + otherModel + `","messages":[{"role":"user","content":"Free OCR."}]}`
		command.Key = w.keys[narrow]
		e := w.refused(t, c, command, 400, "")
		checkClass(t, c, e, "BadRequestError")
	}
}

func oversize(t *testing.T, w *world, c client) {
	for _, size := range []int{maxBody, 8 * maxBody} {
		command := w.command(drivers.Chat, question(strings.Repeat("x", size)))
		e := w.refused(t, c, command, 413, "request_too_large")
		checkClass(t, c, e, "APIStatusError")
	}
	w.begin(t)
	w.text(t, c, w.command(drivers.Chat, question("Free OCR."))) // the client is none the worse for it
}

func unknownRoute(t *testing.T, w *world, c client) {
	command := w.command(drivers.Embedding, map[string]any{"model": stand.Model, "input": "Free OCR."})
	e := w.refused(t, c, command, 404, "unknown_url")
	checkClass(t, c, e, "NotFoundError")
	if !strings.Contains(e.Message, "POST /v1/embeddings") {
		t.Errorf("%s", e)
	}
}

func oneFailure(t *testing.T, w *world, c client) {
	failing := w.Backends[0]
	for attempt := range 20 {
		failing.SetFaults(t, map[string]any{"error_rate": 1, "count": 1})
		t.Cleanup(func() { w.heal(t) })
		w.begin(t)
		command := w.command(drivers.Chat, question("Free OCR."))
		command.BaseURL, command.Retries = w.tap.url, drivers.UsualRetries
		w.text(t, c, command)
		if hits := len(w.tap.all()); hits != 1 {
			t.Fatalf("attempt %d: the client asked %d times", attempt, hits)
		}
		if failing.Stats(t).Failed == 0 {
			continue // the other one was asked
		}
		if n := len(w.received(t)); n != 2 {
			t.Errorf("the backends were asked %d times, want twice", n)
		}
		if got := w.tap.all()[0].header.Get("X-Ocrmux-Attempts"); got != "2" {
			t.Errorf("x-ocrmux-attempts is %q", got)
		}
		return
	}
	t.Error("the failing backend was never asked")
}

func bothFail(t *testing.T, w *world, c client) {
	w.breakBackends(t, map[string]any{"error_rate": 1})
	command := w.command(drivers.Chat, question("Free OCR."))
	command.BaseURL, command.Retries = w.tap.url, drivers.UsualRetries
	answer := w.do(t, c, command)
	e := answer.Error
	if e == nil || e.Status != 502 || e.Code != "upstream_error" || e.Type != "server_error" {
		t.Fatalf("%v, want 502", e)
	}
	checkClass(t, c, e, "InternalServerError")
	checkErrorBody(t, answer)

	hits, most := w.tap.all(), 1
	if c.letter == python {
		most += drivers.UsualRetries
	}
	if len(hits) != most {
		t.Errorf("%d requests came of one, want %d", len(hits), most)
	}
	for i := 1; i < len(hits); i++ { // half a second less a quarter, doubling
		if gap, least := hits[i].at.Sub(hits[i-1].at), 375*time.Millisecond<<(i-1); gap < least {
			t.Errorf("try %d came after %s, want at least %s", i+1, gap, least)
		}
	}
	if n := len(w.received(t)); n < 2 || n > 2*len(hits) {
		t.Errorf("the backends were asked %d times for %d requests", n, len(hits))
	}
}

// spacing keeps charges further apart than a second, up to which the time to wait
// is rounded.
const spacing = 3 * time.Second

// useUpLimits charges, a charge at a time, the limits that case 24 finds used up.
// That begins with the suite, so that a minute is nearly over when the case comes.
func (w *world) useUpLimits(t *testing.T) {
	w.charged = time.Now()
	w.charging.Go(func() {
		next := time.NewTicker(spacing)
		defer next.Stop()
		for i, tenant := range []string{hurried, hurried, hurried, punctual} {
			if i > 0 {
				<-next.C
			}
			command := w.command(drivers.Models, nil)
			command.Key = w.keys[tenant]
			if answer, err := (drivers.HTTP{}).Do(command, func() {}); err != nil || answer.Error != nil {
				t.Errorf("%s: %v %v", tenant, err, answer.Error)
			}
		}
		w.freshLimit(t)
	})
}

// freshLimit asks once more under a limit that was just used up: when the wait is
// longest.
func (w *world) freshLimit(t *testing.T) {
	command := w.command(drivers.Models, nil)
	command.Key = w.keys[punctual]
	answer, err := drivers.HTTP{}.Do(command, func() {})
	if err != nil || answer.Wire == nil {
		t.Error(err, answer.Error)
		return
	}
	w.fresh = &hit{status: answer.Wire.Status, header: answer.Wire.Header}
}

// rateLimit is the last case. With an SDK, others of the tenant take each place
// that becomes free a moment before it comes back.
func rateLimit(t *testing.T, w *world, c client) {
	w.charging.Wait()
	tenant := punctual
	if c.letter == python {
		tenant = hurried
		if time.Since(w.charged) > time.Minute-spacing { // a slow machine
			w.useUpLimits(t)
			w.charging.Wait()
		}
	}
	command := w.command(drivers.Chat, question("Free OCR."))
	command.BaseURL, command.Key, command.Retries = w.tap.url, w.keys[tenant], drivers.UsualRetries
	if c.letter == python {
		w.tap.beforeOthers(func() {
			other := command
			other.BaseURL = w.url
			if _, err := (drivers.HTTP{}).Do(other, func() {}); err != nil {
				t.Error(err)
			}
		})
	} else {
		w.do(t, c, command) // should the limit be free again, now it is not
		w.tap.reset()
	}
	answer := w.do(t, c, command)
	e := answer.Error
	if e == nil || e.Status != 429 || e.Type != "requests" || e.Code != "rate_limit_exceeded" {
		t.Fatalf("%v, want 429", e)
	}
	checkClass(t, c, e, "RateLimitError")
	checkErrorBody(t, answer)
	hits := w.tap.all()
	for _, h := range append(hits, w.fresh) {
		checkRetryAfter(t, h)
	}
	if c.letter == python {
		checkGaps(t, hits)
		return
	}
	// What was announced is true: then there is a place, and not before.
	again := time.NewTimer(time.Until(hits[0].at.Add(retryAfter(t, hits[0]))))
	defer again.Stop()
	<-again.C
	w.text(t, c, command)
}

// quotaUsedUp is refused until the month ends: nobody may try again.
func quotaUsedUp(t *testing.T, w *world, c client) {
	command := w.command(drivers.Chat, question("Free OCR."))
	command.BaseURL, command.Key, command.Retries = w.tap.url, w.keys[spent], drivers.UsualRetries
	answer := w.do(t, c, command)
	e := answer.Error
	if e == nil || e.Status != 429 || e.Type != "insufficient_quota" || e.Code != "insufficient_quota" {
		t.Fatalf("%v, want 429 insufficient_quota", e)
	}
	checkClass(t, c, e, "RateLimitError")
	checkErrorBody(t, answer)
	if hits := w.tap.all(); len(hits) != 1 || hits[0].header.Get("X-Should-Retry") != "false" {
		t.Errorf("the client asked %d times", len(hits))
	}
	if n := len(w.received(t)); n != 0 {
		t.Errorf("the backends were asked %d times", n)
	}
}

func retryAfter(t *testing.T, h *hit) time.Duration {
	t.Helper()
	ms, err := strconv.Atoi(h.header.Get("Retry-After-Ms"))
	if err != nil {
		t.Errorf("retry-after-ms: %v", err)
	}
	return time.Duration(ms) * time.Millisecond
}

// checkRetryAfter wants a time that all SDKs wait: not nothing, and no more than
// the minute from which on Node takes the header for wrong.
func checkRetryAfter(t *testing.T, h *hit) {
	t.Helper()
	seconds, err := strconv.Atoi(h.header.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("retry-after %q (%v)", h.header.Get("Retry-After"), err)
	}
	if ms := retryAfter(t, h); ms < time.Second || ms > time.Duration(seconds)*time.Second {
		t.Errorf("retry-after %ds, retry-after-ms %s", seconds, ms)
	}
	if h.status != 429 || h.header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("%d %v", h.status, h.header)
	}
}

// checkGaps wants the tries where the answers said they should be.
func checkGaps(t *testing.T, hits []*hit) {
	t.Helper()
	if len(hits) != 1+drivers.UsualRetries {
		t.Fatalf("%d hits, want %d", len(hits), 1+drivers.UsualRetries)
	}
	for i := 1; i < len(hits); i++ {
		gap, announced := hits[i].at.Sub(hits[i-1].at), retryAfter(t, hits[i-1])
		if gap < announced || gap > announced+time.Second {
			t.Errorf("try %d came after %s, and was told %s", i+1, gap, announced)
		}
	}
}
