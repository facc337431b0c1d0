package compat_test

import (
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat"
)

func TestParseChunk_ReadsWhatTheGatewayMustKnow(t *testing.T) {
	for _, c := range []struct {
		dialect compat.Dialect
		data    string
		want    string
	}{
		{compat.Chat, `[DONE]`, "done"},
		{compat.Chat, `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}`, `0:"":`},
		{compat.Chat, `{"choices":[{"index":0,"delta":{"content":null,"reasoning":"r"},"finish_reason":null}]}`, "0:nil:"},
		{compat.Chat, `{"choices":[{"finish_reason":"length","delta":{"content":"a\n\"b\" \ud83d\ude00"},"index":3}]}`, `3:"a\n\"b\" \ud83d\ude00":length`},
		{compat.Chat, `{"choices":[],"usage":{"prompt_tokens":5,"total_tokens":12,"completion_tokens":7,"prompt_tokens_details":{"total_tokens":99}}}`, "empty usage{5 7 12}"},
		{compat.Chat, ` {"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"頁"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}} `, `0:"頁":stop 1:"b":stop usage{1 2 3}`},
		{compat.Completions, `{"choices":[{"index":0,"text":"t","finish_reason":null}]}`, `0:"t":`},
		{compat.Completions, `{"choices":[{"index":0,"te\u0078t":"t","finish_reason":null}]}`, `0:"t":`},
		{compat.Chat, `{"error":null,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, "0:nil:stop"},
		{compat.Chat, `{"error":{"message":"bad page","type":"BadRequestError","param":null,"code":400}}`, "error 400 bad page"},
		{compat.Chat, `{"error":{"message":"secret","type":"InternalServerError","param":null,"code":500}}`, "error 502 The model server failed while it processed the request."},
		{compat.Chat, `{"error":"Unauthorized"}`, "error 502 The model server failed while it processed the request."},
		{compat.Chat, `{"object":"error","message":"bad","type":"x","param":null,"code":400}`, "error 400 bad"},
		{compat.Responses, `{"type":"response.output_text.delta","delta":"x","sequence_number":3}`, "type=response.output_text.delta number=3"},
		{compat.Responses, `{"response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}},"type":"response.completed"}`, "type=response.completed usage{1 2 3}"},
		{compat.Responses, `{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"usage":null}`, "type=response.failed"},
		{compat.Responses, `{"object":"response","error":null,"status":"completed","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}`, "type=response.completed usage{1 2 3}"},
		{compat.Responses, `{"type":"error","code":"x","message":"m","param":null,"sequence_number":1}`, "type=error number=1 error 502 The model server failed while it processed the request."},
		{compat.Chat, `{"choices":[{"index":-1}]}`, "malformed"},
		{compat.Chat, `{"choices":[{"index":0.5}]}`, "malformed"},
		{compat.Chat, `{"choices":[{"index":0,"delta":{"content":5}}]}`, "malformed"},
		{compat.Chat, `{"choices":[{"index":0,"delta":{"content":"cut`, "malformed"},
		{compat.Chat, `{"choices":{}}`, "malformed"},
		{compat.Chat, `[]`, "malformed"},
		{compat.Chat, ``, "malformed"},
		{compat.Chat, `<html>`, "malformed"},
		{compat.Chat, `{"choices":[]}{}`, "malformed"},
		{compat.Responses, `[DONE]`, "malformed"},
	} {
		var chunk compat.Chunk
		if got := describe(compat.ParseChunk(c.dialect, []byte(c.data), &chunk), &chunk); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.data, got, c.want)
		}
	}
}

func describe(err error, c *compat.Chunk) string {
	if err != nil {
		return "malformed"
	}
	var words []string
	if c.Done {
		words = append(words, "done")
	}
	if c.Type != "" {
		words = append(words, "type="+c.Type)
	}
	if c.Number != 0 {
		words = append(words, fmt.Sprint("number=", c.Number))
	}
	if c.Error != nil {
		words = append(words, fmt.Sprint("error ", c.Error.Status, " ", c.Error.Message))
	}
	if c.Empty {
		words = append(words, "empty")
	}
	for _, choice := range c.Choices {
		text := "nil"
		if choice.Text != nil {
			text = `"` + string(choice.Text) + `"`
		}
		words = append(words, fmt.Sprintf("%d:%s:%s", choice.Index, text, choice.Finish))
	}
	if c.Usage != nil {
		words = append(words, fmt.Sprintf("usage{%d %d %d}", c.Usage.PromptTokens, c.Usage.CompletionTokens, c.Usage.TotalTokens))
	}
	return strings.Join(words, " ")
}

const tokenEvent = `{"id":"chatcmpl-6f1a0c2e8b5d4c3f9a7e1b2d3c4f5a60","object":"chat.completion.chunk","created":1763800000,"model":"deepseek-ai/DeepSeek-OCR","choices":[{"index":0,"delta":{"content":" invoice"},"logprobs":null,"finish_reason":null,"token_ids":null}]}`

func TestParseChunk_ReusedDoesNotAllocate(t *testing.T) {
	var c compat.Chunk
	data := []byte(tokenEvent)
	last := []byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
	if n := testing.AllocsPerRun(100, func() {
		for _, d := range [][]byte{data, last} {
			if err := compat.ParseChunk(compat.Chat, d, &c); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkParseChunk(b *testing.B) {
	var c compat.Chunk
	data := []byte(tokenEvent)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := compat.ParseChunk(compat.Chat, data, &c); err != nil {
			b.Fatal(err)
		}
	}
}
