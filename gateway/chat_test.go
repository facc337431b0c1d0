package gateway_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

func TestChat_ForwardsTheBytesAndAddsTheRecipe(t *testing.T) {
	w := newWorld(t, setup{})
	body := `{ "model" : "deepseek-ocr", "messages":[{"role":"user","content":"h\u00e9llo"}],"temperature":0.70,"top_p":1e0,"extra":{"a":[null,1]} }`
	r := w.chat(body)
	if r.status != 200 {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	got := string(w.sims[0].LastRequests()[0].Body)
	want := `{ "model" : "` + model + `", "messages":[{"role":"user","content":"h\u00e9llo"}],"temperature":0.70,"top_p":1e0,"extra":{"a":[null,1]}`
	if !strings.HasPrefix(got, want) {
		t.Errorf("the client's bytes changed:\n got %s\nwant %s...", got, want)
	}
	if !strings.Contains(got, `"skip_special_tokens":false`) || strings.Count(got, `"temperature"`) != 1 {
		t.Errorf("the recipe was not added where it was absent, and only there: %s", got)
	}
	for _, h := range []string{"X-Request-Id", "X-Ocrmux-Backend", "X-Ocrmux-Attempts", "X-Ocrmux-Queue-Ms", "X-Ocrmux-Overhead-Ms", "X-Ocrmux-Cache"} {
		if r.header.Get(h) == "" {
			t.Errorf("no %s in %v", h, r.header)
		}
	}
}

func TestChat_StreamsWithUsageOnlyIfAsked(t *testing.T) {
	w := newWorld(t, setup{})
	whole := w.chat(chatBody(page(1), ""))
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(whole.body), &answer); err != nil || answer.Choices[0].Message.Content == "" {
		t.Fatalf("%v: %s", err, whole.body)
	}
	for _, asked := range []bool{false, true} {
		more := `,"stream":true`
		if asked {
			more += `,"stream_options":{"include_usage":true}`
		}
		r := w.chat(chatBody(page(1), more))
		if ct := r.header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
			t.Errorf("content type %q", ct)
		}
		text, usage := "", false
		events := strings.Split(strings.TrimSuffix(r.body, "\n\n"), "\n\n")
		if events[len(events)-1] != "data: [DONE]" || strings.Count(r.body, "[DONE]") != 1 {
			t.Fatalf("it does not end in one [DONE]: %q", r.body)
		}
		for _, e := range events[:len(events)-1] {
			var chunk struct {
				Choices []struct{ Delta struct{ Content string } }
				Usage   map[string]any
			}
			must(t, json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &chunk))
			if len(chunk.Choices) == 0 {
				usage = chunk.Usage != nil
				continue
			}
			text += chunk.Choices[0].Delta.Content
		}
		if text != answer.Choices[0].Message.Content {
			t.Errorf("the stream's text differs:\n got %q\nwant %q", text, answer.Choices[0].Message.Content)
		}
		if usage != asked {
			t.Errorf("usage chunk: got %v, asked %v", usage, asked)
		}
	}
}

func TestChat_RefusesInOpenAIsWords(t *testing.T) {
	w := newWorld(t, setup{keys: "tenants:\n  - name: acme\n    models: [" + model + "]\n"})
	key := "Bearer " + w.key
	for _, c := range []struct {
		name, method, path, auth, body string
		status                         int
		code                           any
	}{
		{"no key", "POST", "/v1/chat/completions", "", `{}`, 401, nil},
		{"bad key", "POST", "/v1/chat/completions", "Bearer sk-ocr-nonsense", `{}`, 401, "invalid_api_key"},
		{"broken JSON", "POST", "/v1/chat/completions", key, `{"model":`, 400, nil},
		{"duplicate key", "POST", "/v1/chat/completions", key, `{"model":"a","model":"b","messages":[]}`, 400, nil},
		{"no model", "POST", "/v1/chat/completions", key, `{"messages":[]}`, 400, nil},
		{"unknown model", "POST", "/v1/chat/completions", key, `{"model":"gpt-9","messages":[{"role":"user","content":"x"}]}`, 404, "model_not_found"},
		{"forbidden model", "POST", "/v1/chat/completions", key, `{"model":"secret-model","messages":[{"role":"user","content":"x"}]}`, 404, "model_not_found"},
		{"unknown route", "POST", "/v1/embeddings", key, `{}`, 404, "unknown_url"},
		{"wrong method", "GET", "/v1/chat/completions", key, ``, 405, "method_not_supported"},
		{"model by id", "GET", "/v1/models/nobody", key, ``, 404, "model_not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers := []string{}
			if c.auth != "" {
				headers = []string{"Authorization", c.auth}
			}
			r := w.do(c.method, c.path, "application/json", strings.NewReader(c.body), headers...)
			if code := r.errorCode(t); r.status != c.status || code != c.code {
				t.Errorf("got %d %v, want %d %v: %s", r.status, code, c.status, c.code, r.body)
			}
			if r.header.Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
	if n := w.sims[0].Stats().Received; n != 0 {
		t.Errorf("%d refused requests reached a backend", n)
	}
}

func TestModels_ListsNamesAndAliasesThatTheTenantMayUse(t *testing.T) {
	w := newWorld(t, setup{keys: "tenants:\n  - name: acme\n    models: [deepseek-ocr]\n"})
	auth := []string{"Authorization", "Bearer " + w.key}
	r := w.do("GET", "/v1/models", "", nil, auth...)
	if strings.Contains(r.body, "secret-model") || !strings.Contains(r.body, `"deepseek-ocr"`) || !strings.Contains(r.body, `"`+model+`"`) {
		t.Errorf("got %s", r.body)
	}
	for _, path := range []string{"/v1/models/deepseek-ai/DeepSeek-OCR", "/v1/models/deepseek-ai%2FDeepSeek-OCR"} {
		if r := w.do("GET", path, "", nil, auth...); r.status != 200 || r.json(t)["id"] != model {
			t.Errorf("%s: got %d %s", path, r.status, r.body)
		}
	}
}

func TestStream_FailureInTheMiddleIsAnErrorEvent(t *testing.T) {
	for _, how := range []string{"cut", "cut_chunk", "end", "error"} {
		t.Run(how, func(t *testing.T) {
			// slow enough for the client to have seen something by then
			w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{PerToken: 20 * time.Millisecond}}})
			must(t, w.sims[0].SetFaults(sim.Faults{MidStream: how, AfterEvents: 6}))
			r := w.chat(chatBody(page(1), `,"stream":true`))
			events := strings.Split(strings.TrimSuffix(r.body, "\n\n"), "\n\n")
			if len(events) < 3 || !strings.HasPrefix(events[len(events)-2], `data: {"error":{`) || events[len(events)-1] != "data: [DONE]" {
				t.Errorf("it does not end in an error event and [DONE]: %q", r.body)
			}
			if strings.Contains(r.body, `"finish_reason":"stop"`) {
				t.Error("a cut answer says that it is complete")
			}
			if m := w.metrics(); !strings.Contains(m, `ocrmux_requests_total{backend="gpu0",route="chat",status="502"} 1`) {
				t.Error("it is not counted as a failure")
			}
		})
	}
}

func TestStream_SilenceIsFilledWithEmptyDeltas(t *testing.T) {
	w := newWorld(t, setup{
		gateway: gateway.Config{Time: gateway.Time{KeepAlive: 30 * time.Millisecond}},
		sim:     sim.Config{Timing: &sim.Timing{FirstToken: 200 * time.Millisecond}},
	})
	r := w.chat(chatBody(page(1), `,"stream":true`))
	first := strings.SplitN(r.body, "\n\n", 2)[0]
	if !strings.Contains(first, `"delta":{}`) || strings.Contains(first, "role") {
		t.Errorf("the first event is no keep-alive: %q", first)
	}
	if !strings.HasSuffix(r.body, "data: [DONE]\n\n") {
		t.Errorf("the stream did not end well: %q", r.body[max(0, len(r.body)-200):])
	}
}

func TestStream_ThatStaysSilentEndsInAnError(t *testing.T) {
	w := newWorld(t, setup{gateway: gateway.Config{Time: gateway.Time{KeepAlive: 20 * time.Millisecond}, OpenAI: gateway.OpenAI{Silence: 100 * time.Millisecond}}})
	must(t, w.sims[0].SetFaults(sim.Faults{MidStream: "hang", AfterEvents: 3, Health: "ok"}))
	r := w.chat(chatBody(page(1), `,"stream":true`))
	if !strings.Contains(r.body, `data: {"error":{`) || !strings.HasSuffix(r.body, "data: [DONE]\n\n") {
		t.Errorf("got %q", r.body)
	}
	w.eventually("the backend's work is aborted", func() bool { return w.sims[0].Stats().Aborted == 1 })
}

// leave sends a request and hangs up when then returns.
func (w *world) leave(path, contentType, body string, then func(c net.Conn)) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	must(w.t, err)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, w.key, contentType, len(body), body)
	then(c)
	c.Close()
}

func TestClientThatLeavesIsCancelledInEveryPhase(t *testing.T) {
	const slow = 20 * time.Second
	inProgress := func(w *world, n int) func(net.Conn) {
		return func(net.Conn) {
			w.eventually("it reaches the backend", func() bool { return int(w.sims[0].Stats().InProgress) == n })
		}
	}
	t.Run("before the answer", func(t *testing.T) {
		w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{FirstToken: slow}}})
		for _, more := range []string{"", `,"stream":true`} {
			w.leave("/v1/chat/completions", "application/json", chatBody(page(1), more), inProgress(w, 1))
			w.eventually("the backend is free again", func() bool { return w.sims[0].Stats().InProgress == 0 })
		}
		if n := w.sims[0].Stats().Aborted; n != 2 {
			t.Errorf("aborted: got %d, want 2", n)
		}
	})
	t.Run("in the middle of a stream", func(t *testing.T) {
		w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{PerToken: slow}}})
		w.leave("/v1/chat/completions", "application/json", chatBody(page(1), `,"stream":true`), func(c net.Conn) {
			if line, err := bufio.NewReader(c).ReadString('{'); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		})
		w.eventually("the backend's work is aborted", func() bool { return w.sims[0].Stats().Aborted == 1 })
	})
	t.Run("in the queue", func(t *testing.T) {
		w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{FirstToken: slow}}, inFlight: 1})
		first := make(chan struct{})
		go func() {
			defer close(first)
			w.leave("/v1/chat/completions", "application/json", chatBody(page(1), ""), func(net.Conn) {
				w.eventually("the second was queued and left", func() bool { return strings.Contains(w.log.String(), `"end":"the client hung up"`) })
			})
		}()
		inProgress(w, 1)(nil)
		w.leave("/v1/chat/completions", "application/json", chatBody(page(2), ""), func(net.Conn) {
			w.eventually("it is queued", func() bool {
				return strings.Contains(w.metrics(), `ocrmux_queue_length{class="interactive",pool="main"} 1`)
			})
		})
		<-first
		w.eventually("only the first was sent, and aborted", func() bool { s := w.sims[0].Stats(); return s.Received == 1 && s.Aborted == 1 })
	})
	t.Run("an upload", func(t *testing.T) {
		w := newWorld(t, setup{sim: sim.Config{Timing: &sim.Timing{FirstToken: slow}}})
		contentType, body := upload(t, "files", [][]byte{page(1), page(2)})
		w.leave("/ocr/batch", contentType, string(body), inProgress(w, 2))
		w.eventually("both images are aborted", func() bool { return w.sims[0].Stats().Aborted == 2 })
	})
}

func (w *world) metrics() string {
	w.t.Helper()
	res, err := http.Get(w.admin + "/metrics")
	must(w.t, err)
	defer res.Body.Close()
	var b strings.Builder
	_, err = bufio.NewReader(res.Body).WriteTo(&b)
	must(w.t, err)
	return b.String()
}
