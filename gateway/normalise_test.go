package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

// What a client gets for a backend's answer of a status. The words of a refusal
// come from its body where it has any; those of a failure never do.
var normalised = []struct {
	statuses     []int
	status       int
	kind, code   string
	of           string // "route" where responses says that its backend has no such route
	fromTheShape bool   // the message
}{
	{statuses: []int{400, 408, 409, 413, 415, 422}, kind: "invalid_request_error", fromTheShape: true},
	{statuses: []int{429}, status: 429, kind: "requests", code: "rate_limit_exceeded"},
	{statuses: []int{401, 403}, status: 502, kind: "server_error", code: "upstream_error"},
	{statuses: []int{404, 405, 501}, status: 502, kind: "server_error", code: "upstream_error", of: "route"},
	{statuses: []int{200, 204, 302, 500, 502, 503, 504, 599}, status: 502, kind: "server_error", code: "upstream_error"},
}

// words are what a refusal of each shape says.
var words = map[string]string{
	"vllm": "injected fault", "flat": "injected fault", "string": "Unauthorized", "detail": "injected fault",
	"html": "The model server refused the request.", "empty": "The model server refused the request.", "broken": "The model server refused the request.",
}

func TestErrors_EveryShapeOfABackendBecomesOpenAIs(t *testing.T) {
	w := newWorld(t, setup{})
	good := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"}]}`, model)
	for path, body := range map[string]string{
		"/v1/chat/completions": good,
		"/v1/completions":      fmt.Sprintf(`{"model":%q,"prompt":"x"}`, model),
		"/v1/responses":        fmt.Sprintf(`{"model":%q,"input":"x"}`, model),
	} {
		for _, streaming := range []bool{false, true} {
			if streaming {
				body = strings.TrimSuffix(body, "}") + `,"stream":true}`
			}
			for shape, said := range words {
				for _, row := range normalised {
					for _, status := range row.statuses {
						must(t, w.sims[0].SetFaults(sim.Faults{ErrorRate: 1, ErrorStatus: status, ErrorShape: shape, Count: 1}))
						r := w.do("POST", path, "application/json", strings.NewReader(body), "Authorization", "Bearer "+w.key)
						want := openAIError{Status: row.status, Type: row.kind, Code: row.code}
						switch {
						case row.of == "route" && path == "/v1/responses":
							want = openAIError{Status: 404, Type: "invalid_request_error", Code: "unsupported_api"}
						case row.fromTheShape:
							want.Status, want.Message = status, said
						}
						if got := readError(t, r); !got.is(want) {
							t.Errorf("%s streaming %v, %d as %s: got %+v, want %+v: %s", path, streaming, status, shape, got, want, r.body)
						}
						if status >= 400 && status < 500 { // which the breaker does not count
							continue
						}
						for range 4 { // that it stays closed
							if r := w.chat(good); r.status != 200 {
								t.Fatalf("after %d as %s: got %d %s", status, shape, r.status, r.body)
							}
						}
					}
				}
			}
		}
	}
}

// openAIError is an error as the SDKs see it.
type openAIError struct {
	Status              int
	Type, Code, Message string // Code is "" for null
	noRetry             bool
}

func (e openAIError) is(want openAIError) bool {
	if want.Message == "" { // any, but none that a backend wrote
		want.Message = e.Message
		if e.Message == "" || strings.Contains(e.Message, "injected") || strings.Contains(e.Message, "Unauthorized") {
			return false
		}
	}
	return e == want
}

// readError reads an answer that must be an error with exactly the four members.
func readError(t *testing.T, r reply) openAIError {
	t.Helper()
	var body struct {
		Error map[string]*json.RawMessage
	}
	must(t, json.Unmarshal([]byte(r.body), &body))
	e := openAIError{Status: r.status, noRetry: r.header.Get("X-Should-Retry") == "false"}
	text := func(name string, into *string) {
		raw, ok := body.Error[name]
		if !ok {
			t.Errorf("no %s in %s", name, r.body)
		}
		if raw != nil {
			must(t, json.Unmarshal(*raw, into))
		}
	}
	text("message", &e.Message)
	text("type", &e.Type)
	text("code", &e.Code)
	text("param", new(string))
	if !strings.HasPrefix(r.body, `{"error":{`) || len(body.Error) != 4 || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("not an OpenAI error: %s %s", r.header.Get("Content-Type"), r.body)
	}
	if (r.header.Get("Retry-After") != "") != (r.status == 429 || r.status == 503) {
		t.Errorf("%d with retry-after %q", r.status, r.header.Get("Retry-After"))
	}
	return e
}

func TestErrors_OurOwnDeadlineIsNotTriedAgain(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{OpenAI: gateway.OpenAI{Timeout: 50 * time.Millisecond, Streaming: 50 * time.Millisecond}}})
	must(t, w.sims[0].SetFaults(sim.Faults{Hang: true}))
	for _, more := range []string{"", `,"stream":true`} {
		e := readError(t, w.chat(chatBody(page(1), more)))
		if want := (openAIError{Status: 504, Type: "server_error", Code: "timeout", Message: e.Message, noRetry: true}); e != want {
			t.Errorf("got %+v", e)
		}
	}
}
