package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// Streams of the latency test, and how often each has an event.
const (
	latencyStreams = 200
	latencyGap     = 50 * time.Millisecond
)

// TestSoak_EventsAreFlushedAsTheyCome measures how long an event is on its way:
// the backend writes into each the time at which it sends it. The same streams
// without the router, side by side in the same rounds, show what is the
// machine's own; what the router adds is the difference.
func TestSoak_EventsAreFlushedAsTheyCome(t *testing.T) {
	events := 40
	if *soak {
		events = 400
	}
	backend := stampingBackend(t, events)
	s := stand.New(t, stand.Options{Others: []string{backend}, MaxInFlight: latencyStreams})
	direct := streamLatencies(t, backend, s.Key)
	routed := streamLatencies(t, s.Routers[0].URL, s.Key)
	again := streamLatencies(t, backend, s.Key)
	direct = append(direct, again...)

	at := func(d []time.Duration, q float64) time.Duration {
		slices.Sort(d)
		return d[min(len(d)-1, int(q*float64(len(d))))]
	}
	median, p99 := at(routed, .5)-at(direct, .5), at(routed, .99)-at(direct, .99)
	t.Logf("%d streams of %d events/s: direct median %s p99 %s, routed median %s p99 %s, added median %s p99 %s (%d events)",
		latencyStreams, time.Second/latencyGap, at(direct, .5), at(direct, .99), at(routed, .5), at(routed, .99), median, p99, len(routed))
	// The short form shows that nothing is held back, which would cost a gap or
	// more; the bounds themselves need the full form's number of events, and a
	// machine that does nothing else.
	bound, tail := latencyGap/5, latencyGap
	if *soak {
		bound, tail = time.Millisecond, 5*time.Millisecond
	}
	if median > bound {
		t.Errorf("the router adds %s at the median, bound %s", median, bound)
	}
	if p99 > tail {
		t.Errorf("the router adds %s at p99, bound %s", p99, tail)
	}
}

// stampingBackend is a vLLM as far as a router must see it, whose events carry
// the time of their sending.
func stampingBackend(t *testing.T, events int) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"object":"list","data":[{"id":%q,"object":"model","max_model_len":8192}]}`, stand.Model)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		event := func(delta, finish string) {
			fmt.Fprintf(w, `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`+"\n\n", delta, finish)
		}
		event(`{"role":"assistant","content":""}`, "null")
		tick := time.NewTicker(latencyGap)
		defer tick.Stop()
		for range events {
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
			event(`{"content":"`+strconv.FormatInt(time.Now().UnixNano(), 10)+`"}`, "null")
			if flush.Flush() != nil {
				return
			}
		}
		event("{}", `"stop"`)
		fmt.Fprint(w, "data: [DONE]\n\n")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// streamLatencies reads all streams side by side, their starts spread over one
// gap, and returns how old each event was when it came.
func streamLatencies(t *testing.T, url, key string) []time.Duration {
	t.Helper()
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: latencyStreams}}
	defer client.CloseIdleConnections()
	all := make([][]time.Duration, latencyStreams)
	var readers sync.WaitGroup
	next := time.NewTicker(latencyGap / latencyStreams)
	defer next.Stop()
	for i := range all {
		<-next.C
		readers.Go(func() {
			body := fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"%d"}]}`, stand.Model, i)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+key)
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if all[i], err = readStamps(res.Body); err != nil {
				t.Error(err)
			}
		})
	}
	readers.Wait()
	return slices.Concat(all...)
}

func readStamps(body io.Reader) (ages []time.Duration, err error) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok || bytes.Equal(data, []byte("[DONE]")) {
			continue
		}
		now := time.Now()
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
			Error   any
		}
		if err := json.Unmarshal(data, &chunk); err != nil || chunk.Error != nil || len(chunk.Choices) == 0 {
			return ages, fmt.Errorf("event %s: %w", data, err)
		}
		if stamp, err := strconv.ParseInt(chunk.Choices[0].Delta.Content, 10, 64); err == nil {
			ages = append(ages, now.Sub(time.Unix(0, stamp)))
		}
	}
	return ages, lines.Err()
}
