package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

func (w *world) respond(body string) reply {
	w.t.Helper()
	return w.do("POST", "/v1/responses", "application/json", strings.NewReader(body), "Authorization", "Bearer "+w.key)
}

// responseBody asks for a page by its alias.
func responseBody(image []byte, more string) string {
	return fmt.Sprintf(`{"model":"deepseek-ocr","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,%s"},{"type":"input_text","text":"Free OCR."}]}],"temperature":0%s}`,
		base64.StdEncoding.EncodeToString(image), more)
}

// responseEvent is what the tests look at of an event.
type responseEvent struct {
	Kind     string // of its event line
	Type     string
	Number   int `json:"sequence_number"`
	Delta    string
	Text     string
	Code     *string
	Message  string
	Param    *string
	Response struct{ Status string }
}

// responseEvents reads a stream in which every event has an event line, but
// comments have not.
func responseEvents(t *testing.T, stream string) (list []responseEvent) {
	t.Helper()
	for _, raw := range strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		if strings.HasPrefix(raw, ":") {
			continue
		}
		var e responseEvent
		kind, data, ok := strings.Cut(raw, "\ndata: ")
		if err := json.Unmarshal([]byte(data), &e); !ok || err != nil {
			t.Fatalf("not an event of responses: %q: %v", raw, err)
		}
		if e.Kind = strings.TrimPrefix(kind, "event: "); e.Kind != e.Type {
			t.Errorf("event line %q above type %q", kind, e.Type)
		}
		if e.Number != len(list) {
			t.Errorf("event %s has number %d, want %d", e.Type, e.Number, len(list))
		}
		list = append(list, e)
	}
	return list
}

func TestResponses_PassThroughWholeAndStreamed(t *testing.T) {
	w := newWorld(t, setup{})
	whole := w.respond(responseBody(page(1), ""))
	var answer struct {
		Object, Status string
		Output         []struct {
			Content []struct{ Type, Text string }
		}
		Usage struct {
			Input int `json:"input_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(whole.body), &answer); err != nil || whole.status != 200 || answer.Status != "completed" || answer.Usage.Input == 0 {
		t.Fatalf("got %d %s (%v)", whole.status, whole.body, err)
	}
	text := answer.Output[0].Content[0].Text
	if sent := string(w.sims[0].LastRequests()[0].Body); !strings.HasPrefix(sent, `{"model":"`+model+`","input"`) || strings.Contains(sent, "vllm_xargs") {
		t.Errorf("the backend got %.200s...", sent)
	}
	for _, h := range []string{"X-Ocrmux-Backend", "X-Ocrmux-Attempts", "X-Request-Id"} {
		if whole.header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}

	streamed := w.respond(responseBody(page(1), `,"stream":true`))
	if ct := streamed.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") || strings.Contains(streamed.body, "[DONE]") {
		t.Errorf("%s: %.200s", ct, streamed.body)
	}
	var kinds []string
	read := ""
	for _, e := range responseEvents(t, streamed.body) {
		read += e.Delta
		if e.Type == "response.output_text.done" && e.Text != text {
			t.Errorf("the text is done as %q", e.Text)
		}
		kinds = append(kinds, strings.TrimPrefix(e.Type, "response."))
	}
	if read != text || text == "" {
		t.Errorf("streamed %q, want %q", read, text)
	}
	want := []string{
		"created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
		"output_text.done", "content_part.done", "output_item.done", "completed",
	}
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestResponses_WhatNeedsAStoreIsRefused(t *testing.T) {
	w := newWorld(t, setup{})
	key := []string{"Authorization", "Bearer " + w.key}
	for _, c := range []struct {
		method, path, body string
		status             int
		code               any
	}{
		{"POST", "/v1/responses", responseBody(page(1), `,"previous_response_id":"resp_1"`), 400, "unsupported_parameter"},
		{"POST", "/v1/responses", responseBody(page(1), `,"background":true`), 400, "unsupported_parameter"},
		{"POST", "/v1/responses", responseBody(page(1), `,"conversation":"conv_1"`), 400, "unsupported_parameter"},
		{"GET", "/v1/responses/resp_1", "", 404, "response_not_stored"},
		{"DELETE", "/v1/responses/resp_1", "", 404, "response_not_stored"},
		{"POST", "/v1/responses/resp_1/cancel", "", 404, "response_not_stored"},
		{"GET", "/v1/responses/resp_1/input_items", "", 404, "response_not_stored"},
		{"POST", "/v1/responses/resp_1", "", 405, "method_not_supported"},
		{"GET", "/v1/responses/resp_1/cancel", "", 405, "method_not_supported"},
		{"GET", "/v1/responses", "", 405, "method_not_supported"},
		{"POST", "/v1/responses/", "", 404, "unknown_url"},
		{"GET", "/v1/responses/resp_1/", "", 404, "unknown_url"},
		{"POST", "/v1/responses/resp_1/else", "", 404, "unknown_url"},
	} {
		r := w.do(c.method, c.path, "application/json", strings.NewReader(c.body), key...)
		if code := r.errorCode(t); r.status != c.status || code != c.code {
			t.Errorf("%s %s: got %d %v, want %d %v", c.method, c.path, r.status, code, c.status, c.code)
		}
	}
	if r := w.do("GET", "/v1/responses/resp_1", "", nil); r.status != 401 {
		t.Errorf("without a key: got %d", r.status)
	}
	if n := w.sims[0].Stats().Received; n != 0 {
		t.Errorf("%d refused requests reached a backend", n)
	}
	if r := w.respond(responseBody(page(1), `,"store":true,"background":false,"previous_response_id":null`)); r.status != 200 {
		t.Errorf("what the SDKs send by default: got %d %s", r.status, r.body)
	}
}

func TestResponses_AFailureMidStreamIsTheNextEvent(t *testing.T) {
	for _, mishap := range []string{"cut", "cut_chunk", "end", "error"} {
		for _, after := range []int{2, 3, 6} {
			t.Run(fmt.Sprint(mishap, after), func(t *testing.T) {
				t.Parallel()
				// The first two events are with the client before the first token.
				w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{FirstToken: 500 * time.Millisecond}}})
				must(t, w.sims[0].SetFaults(sim.Faults{MidStream: mishap, AfterEvents: after}))
				r := w.respond(responseBody(page(1), `,"stream":true`))
				list := responseEvents(t, r.body)
				last := list[len(list)-1]
				if len(list) != after+1 || last.Type != "error" || last.Message == "" || last.Code == nil || *last.Code != "upstream_error" {
					t.Errorf("got %d events, the last %+v", len(list), last)
				}
			})
		}
	}
}

func TestResponses_SilenceIsFilledWithComments(t *testing.T) {
	w := newWorld(t, setup{
		sim:     sim.Config{Timing: &sim.Timing{FirstToken: 300 * time.Millisecond}},
		gateway: gateway.Config{Time: gateway.Time{KeepAlive: 50 * time.Millisecond}},
	})
	r := w.respond(responseBody(page(1), `,"stream":true`))
	list := responseEvents(t, r.body)
	if n := strings.Count(r.body, ": keep-alive\n\n"); n == 0 {
		t.Errorf("no comment in %.300s", r.body)
	}
	if last := list[len(list)-1]; last.Type != "response.completed" || last.Response.Status != "completed" {
		t.Errorf("it ends with %+v", last)
	}
}

func TestResponses_ABackendWithoutThemIsSaidSo(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		w := newWorld(t, setup{})
		must(t, w.sims[0].SetFaults(sim.Faults{ErrorRate: 1, ErrorStatus: status, ErrorShape: "detail"}))
		r := w.respond(responseBody(page(1), ""))
		if code := r.errorCode(t); r.status != 404 || code != "unsupported_api" {
			t.Errorf("%d became %d %v", status, r.status, code)
		}
	}
}
