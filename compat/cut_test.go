package compat_test

import (
	"strings"
	"testing"

	"ocrmux/compat"
)

func TestCut_EndsAStreamLikeItsEvents(t *testing.T) {
	for _, c := range []struct {
		dialect    compat.Dialect
		last, want string
	}{
		{
			compat.Chat, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m\"","choices":[{"index":0,"delta":{"content":"x"}}],"usage":null}`,
			`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m\"","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}`,
		},
		{
			compat.Completions, `data:{"choices":[{"index":0,"text":"x"}],"id":"cmpl-1"}`,
			`data: {"id":"cmpl-1","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}]}`,
		},
		{compat.Chat, "", `data: {"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}`},
	} {
		got := string(compat.Cut(c.dialect, []byte(c.last+"\n\n")))
		if got != c.want+"\n\ndata: [DONE]\n\n" {
			t.Errorf("%s\n%s", got, c.want)
		}
		var chunk compat.Chunk
		ending := compat.Ending{Dialect: c.dialect}
		for event := range strings.SplitSeq(strings.TrimSuffix(got, "\n\n"), "\n\n") {
			if err := compat.ParseChunk(c.dialect, []byte(strings.TrimPrefix(event, "data: ")), &chunk); err != nil {
				t.Fatalf("%v: %s", err, event)
			}
			ending.Add(&chunk)
		}
		if !ending.Complete() {
			t.Errorf("%s is not complete", got)
		}
	}
}
