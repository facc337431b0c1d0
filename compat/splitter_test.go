package compat_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat"
)

// events feeds the pieces one after the other and lists what comes out.
func events(t *testing.T, pieces ...string) (list []string, pending int) {
	t.Helper()
	var s compat.Splitter
	for _, p := range pieces {
		if err := s.Feed([]byte(p)); err != nil {
			t.Fatal(err)
		}
		for raw, data, ok := s.Next(); ok; raw, data, ok = s.Next() {
			if data == nil {
				list = append(list, fmt.Sprintf("%q has no data", raw))
			} else {
				list = append(list, fmt.Sprintf("%q: %q", raw, data))
			}
		}
	}
	return list, s.Pending()
}

func TestSplitter_CutAtEveryPosition(t *testing.T) {
	for _, c := range []struct {
		stream  string
		want    []string
		pending int
	}{
		{"data: {\"t\":\"頁\"}\n\ndata: [DONE]\n\n", []string{`"data: {\"t\":\"頁\"}\n\n": "{\"t\":\"頁\"}"`, `"data: [DONE]\n\n": "[DONE]"`}, 0},
		{"data: a\r\n\r\ndata:b\r\n\r\n", []string{`"data: a\r\n\r\n": "a"`, `"data:b\r\n\r\n": "b"`}, 0},
		{": ping\n\ndata: a\n\n", []string{`": ping\n\n" has no data`, `"data: a\n\n": "a"`}, 0},
		{": ping\ndata: a\n\n", []string{`": ping\ndata: a\n\n": "a"`}, 0},
		{"event: response.completed\ndata: {}\nid: 5\n\n", []string{`"event: response.completed\ndata: {}\nid: 5\n\n": "{}"`}, 0},
		{"data: a\ndata: b\ndata\ndata:  c\n\ndata: d\n\n", []string{`"data: a\ndata: b\ndata\ndata:  c\n\n": "a\nb\n\n c"`, `"data: d\n\n": "d"`}, 0},
		{"\n\r\n\ndata:\n\n\n", []string{`"data:\n\n": ""`}, 0},
		{"database: a\n\n", []string{`"database: a\n\n" has no data`}, 0},
		{"data: a\n\ndata: cut", []string{`"data: a\n\n": "a"`}, 9},
		{"data: a\n\ndata: cut\n", []string{`"data: a\n\n": "a"`}, 10},
		{"", nil, 0},
	} {
		for i := range len(c.stream) + 1 {
			for j := i; j <= len(c.stream); j++ {
				got, pending := events(t, c.stream[:i], c.stream[i:j], c.stream[j:])
				if fmt.Sprint(got) != fmt.Sprint(c.want) || pending != c.pending {
					t.Fatalf("%q cut at %d and %d:\n got %s, pending %d\nwant %s, pending %d", c.stream, i, j, got, pending, c.want, c.pending)
				}
			}
		}
	}
}

func TestSplitter_RefusesAnEventThatDoesNotEnd(t *testing.T) {
	var s compat.Splitter
	line := []byte("data: " + strings.Repeat("x", 32<<10) + "\n")
	for fed := 0; ; fed += len(line) {
		err := s.Feed(line)
		if errors.Is(err, compat.ErrEventTooLong) {
			if fed < 1<<20 {
				t.Errorf("refused after %d bytes", fed)
			}
			return
		}
		if _, _, ok := s.Next(); ok {
			t.Fatal("an event came out")
		}
		if fed > 1<<20+len(line) {
			t.Fatal("more than 1 MiB is kept")
		}
	}
}

func TestSplitter_SmallFeedsOfALongStreamAreNotRefused(t *testing.T) {
	var s compat.Splitter
	event := []byte("data: " + strings.Repeat("x", 1000) + "\n\n")
	count := 0
	for range 2000 {
		for _, half := range [][]byte{event[:500], event[500:]} {
			if err := s.Feed(half); err != nil {
				t.Fatal(err)
			}
			for _, _, ok := s.Next(); ok; _, _, ok = s.Next() {
				count++
			}
		}
	}
	if count != 2000 || s.Pending() != 0 {
		t.Errorf("got %d events, %d pending", count, s.Pending())
	}
}

func TestEnding(t *testing.T) {
	const start, stop, usage = `{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}`, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `{"choices":[],"usage":{"prompt_tokens":1}}`
	choice := func(index int, finish string) string {
		return fmt.Sprintf(`{"choices":[{"index":%d,"text":"x","finish_reason":%s}]}`, index, finish)
	}
	for _, c := range []struct {
		name    string
		dialect compat.Dialect
		whole   bool
		chunks  []string
		want    bool
	}{
		{"a whole stream", compat.Chat, false, []string{start, stop, usage, `[DONE]`}, true},
		{"without [DONE]", compat.Chat, false, []string{start, stop, usage}, false},
		{"without a finish reason", compat.Chat, false, []string{start, `[DONE]`}, false},
		{"nothing but [DONE]", compat.Chat, false, []string{`[DONE]`}, false},
		{"nothing but usage", compat.Chat, false, []string{usage, `[DONE]`}, false},
		{"nothing", compat.Chat, false, nil, false},
		{"an error at its end", compat.Chat, false, []string{start, stop, `{"error":{"message":"x","code":500}}`, `[DONE]`}, false},
		{"an error in its midst", compat.Chat, false, []string{start, `{"error":{"message":"x","code":500}}`, stop, `[DONE]`}, false},
		{"a null error", compat.Chat, false, []string{start, `{"error":null,"choices":[{"index":0,"finish_reason":"length"}]}`, `[DONE]`}, true},
		{"an empty finish reason", compat.Chat, false, []string{`{"choices":[{"index":0,"finish_reason":""}]}`, `[DONE]`}, false},
		{"every choice ends", compat.Completions, false, []string{choice(1, "null"), choice(0, `"stop"`), choice(1, `"length"`), `[DONE]`}, true},
		{"one choice does not", compat.Completions, false, []string{choice(1, "null"), choice(0, `"stop"`), `[DONE]`}, false},
		{"a choice begun after another's end", compat.Completions, false, []string{choice(0, `"stop"`), choice(7, "null"), `[DONE]`}, false},
		{"the last choice that is followed", compat.Completions, false, []string{choice(1023, `"stop"`), `[DONE]`}, true},
		{"a choice beyond", compat.Completions, false, []string{choice(0, `"stop"`), choice(1024, `"stop"`), `[DONE]`}, false},
		{"a whole answer", compat.Chat, true, []string{`{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{}}`}, true},
		{"a whole answer of two", compat.Chat, true, []string{`{"choices":[{"index":0,"message":{},"finish_reason":"stop"},{"index":1,"message":{},"finish_reason":"stop"}]}`}, true},
		{"of which one has no end", compat.Chat, true, []string{`{"choices":[{"index":0,"message":{},"finish_reason":"stop"},{"index":1,"message":{},"finish_reason":null}]}`}, false},
		{"an answer without choices", compat.Chat, true, []string{`{"choices":[]}`}, false},
		{"an empty object", compat.Chat, true, []string{`{}`}, false},
		{"an error as an answer", compat.Chat, true, []string{`{"error":{"message":"x"}}`}, false},
		{"responses", compat.Responses, false, []string{`{"type":"response.created","response":{"status":"in_progress"}}`, `{"type":"response.completed","response":{}}`}, true},
		{"responses incomplete", compat.Responses, false, []string{`{"type":"response.incomplete"}`}, true},
		{"responses failed", compat.Responses, false, []string{`{"type":"response.failed","response":{"error":{"message":"x"}}}`}, true},
		{"responses cut", compat.Responses, false, []string{`{"type":"response.created"}`, `{"type":"response.output_text.done"}`}, false},
		{"responses with an error", compat.Responses, false, []string{`{"type":"error","message":"x"}`, `{"type":"response.completed"}`}, false},
		{"a whole response", compat.Responses, true, []string{`{"object":"response","status":"completed","error":null}`}, true},
		{"a whole response that failed", compat.Responses, true, []string{`{"object":"response","status":"failed","error":{"message":"x"}}`}, true},
		{"a whole response in progress", compat.Responses, true, []string{`{"object":"response","status":"in_progress"}`}, false},
	} {
		e := compat.Ending{Dialect: c.dialect, Whole: c.whole}
		var chunk compat.Chunk
		for _, data := range c.chunks {
			if err := compat.ParseChunk(c.dialect, []byte(data), &chunk); err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			e.Add(&chunk)
		}
		if got := e.Complete(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
