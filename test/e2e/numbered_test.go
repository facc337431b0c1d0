package e2e_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// numbered is a vLLM as far as a router must see it, whose every run writes
// another text: where two have the same one, they have shared a run.
type numbered struct {
	url  string
	work time.Duration // that a run takes at least
	size int           // bytes of a text
	runs atomic.Int64
}

// Tokens that it counts: of every prompt, and of run n's text.
const numberedPrompt = 100

func (n *numbered) tokens(run int64) int64 { return 1000 + run }

func startNumbered(t testing.TB, work time.Duration, size int) *numbered {
	t.Helper()
	n := &numbered{work: work, size: size}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","max_model_len":8192}]}`, stand.Model)
	})
	mux.HandleFunc("POST /v1/chat/completions", n.answer)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	n.url = server.URL
	return n
}

// text is what run wrote: of its number and of what nobody takes for a loop.
func (n *numbered) text(run int64) string {
	text := fmt.Appendf(nil, "Run %06d.", run)
	for random := rand.New(rand.NewPCG(uint64(run), 0)); len(text) < n.size; {
		text = hex.AppendEncode(append(text, ' '), fmt.Append(nil, random.Uint32()))
	}
	return string(text)
}

// run is which one has written a text; 0 for none.
func (n *numbered) run(text string) (run int64) {
	if _, err := fmt.Sscanf(text, "Run %06d.", &run); err != nil || n.text(run) != text {
		return 0
	}
	return run
}

// answer streams, as everything is asked for that may be shared, or answers whole.
func (n *numbered) answer(w http.ResponseWriter, r *http.Request) {
	run := n.runs.Add(1)
	var asked struct {
		Stream bool `json:"stream"`
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(n.work):
	case <-r.Context().Done():
		return
	}
	usage := fmt.Sprintf(`"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, numberedPrompt, n.tokens(run), numberedPrompt+n.tokens(run))
	head := fmt.Sprintf(`{"id":"chatcmpl-run-%d","created":%d,"model":%q,"object":"chat.completion`, run, 1_700_000_000+run, stand.Model)
	if !asked.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `%s","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],%s}`, head, n.text(run), usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	delta := func(delta, finish string) {
		fmt.Fprintf(w, `data: %s.chunk","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`+"\n\n", head, delta, finish)
	}
	delta(`{"role":"assistant","content":""}`, "null")
	for text := n.text(run); len(text) > 0; {
		piece := text[:min(len(text), 512)]
		text = text[len(piece):]
		delta(fmt.Sprintf(`{"content":%q}`, piece), "null")
	}
	delta("{}", `"stop"`)
	fmt.Fprintf(w, `data: %s.chunk","choices":[],%s}`+"\n\ndata: [DONE]\n\n", head, usage)
}
