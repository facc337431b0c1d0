package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"ocrmux/test/stand"
)

// mouth is a backend that repeats in public whatever it was told: every error
// quotes the whole request. A prompt that has "behave:NAME" chooses how it ends.
type mouth struct {
	url string

	mu   sync.Mutex
	seen map[string]int // requests by behaviour
}

// mouthText is in every answer that it gives.
const mouthText = "canarytext-4f1d from the page"

var behaviour = regexp.MustCompile(`behave:(\w+)`)

func startMouth(t *testing.T) *mouth {
	m := &mouth{seen: make(map[string]int)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"max_model_len":8192}]}`, stand.Model)
	})
	mux.HandleFunc("POST /v1/", m.complete)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	m.url = server.URL
	return m
}

func (m *mouth) complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	how := "well"
	if found := behaviour.FindSubmatch(body); found != nil {
		how = string(found[1])
	}
	m.mu.Lock()
	m.seen[how]++
	m.mu.Unlock()
	quote, _ := json.Marshal("this is what I was sent: " + string(body))
	var status int
	if n, _ := fmt.Sscanf(how, "status%d", &status); n == 1 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":%s,"type":%s,"param":%s,"code":%d}}`, quote, quote, quote, status)
		return
	}
	switch how {
	case "detail":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, `{"detail":%s}`, quote)
	case "flat":
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, `{"object":"error","message":%s,"code":%s}`, quote, quote)
	case "html":
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprintf(w, "<html>%s</html>", body)
	case "redirect":
		w.Header().Set("Location", "/canarylocation?"+string(quote))
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "nonsense":
		raw(w, "canarynonsense "+string(body)+"\r\n\r\n")
	case "badheader":
		raw(w, "HTTP/1.1 200 OK\r\ncanaryheader without a colon "+string(quote)+"\r\n\r\n")
	case "badlength":
		raw(w, "HTTP/1.1 200 OK\r\nContent-Length: canarylength\r\n\r\n")
	case "cutwhole":
		raw(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"id\":"+string(quote))
	case "brokenjson":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%s,"choices":[{"message":{"content":%q}`, quote, mouthText)
	case "errorinside":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"error":{"message":%s,"code":500}}`, quote)
	case "hang":
		<-r.Context().Done()
	default:
		m.speak(w, r, how, string(quote))
	}
}

// speak answers as a model would, and then perhaps not to the end.
func (m *mouth) speak(w http.ResponseWriter, r *http.Request, how, quote string) {
	if !strings.Contains(r.Header.Get("Accept"), "event-stream") {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"x","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, stand.Model, mouthText)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	event := func(data string) {
		fmt.Fprintf(w, "data: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
	}
	chunk := func(delta, finish string) {
		event(fmt.Sprintf(`{"id":"x","object":"chat.completion.chunk","created":1,"model":%q,"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`, stand.Model, delta, finish))
	}
	chunk(fmt.Sprintf(`{"role":"assistant","content":%q}`, mouthText), "null")
	switch how {
	case "eventerror":
		event(fmt.Sprintf(`{"error":{"message":%s,"type":%s,"code":400}}`, quote, quote))
	case "eventbroken":
		event(`{"choices":[{"delta":` + quote)
	case "eventlong":
		event(`{"choices":[{"index":0,"delta":{"content":"canarylong` + strings.Repeat("x", 4<<20) + `"}}]}`)
	case "eventcut":
		panic(http.ErrAbortHandler)
	case "eventshort": // ends cleanly, too early
	case "eventhang":
		<-r.Context().Done()
	default:
		chunk("{}", `"stop"`)
		event("[DONE]")
	}
}

// raw answers with bytes that are no proper HTTP.
func raw(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}
