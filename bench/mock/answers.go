package main

import (
	"fmt"
	"slices"
	"strings"
)

// answers are HTTP responses as they go over the wire.
type answers struct {
	health, models, whole, notFound []byte

	tokens            [][]byte // of a stream: chunks, the first with the head before it
	end, endWithUsage []byte   // of a stream: what follows the last token
}

// word is what every token says; the load generator counts it in answers.
const word = "lorem "

// streamHead is vLLM's, whose server announces each stream as chunked.
const streamHead = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"

// prepare makes all answers of a backend that says so many tokens.
func prepare(tokens int) answers {
	usage := fmt.Sprintf(`{"prompt_tokens":100,"completion_tokens":%d,"total_tokens":%d}`, tokens, 100+tokens)
	a := answers{
		health: response("200 OK", ""),
		models: response("200 OK", `{"object":"list","data":[{"id":"mock","object":"model","created":0,"owned_by":"mock","root":"mock","parent":null,"max_model_len":8192,"permission":[]}]}`),
		whole: response("200 OK", fmt.Sprintf(`{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"mock",`+
			`"choices":[{"index":0,"message":{"role":"assistant","content":%q},"logprobs":null,"finish_reason":"stop"}],"usage":%s}`,
			strings.Repeat(word, tokens), usage)),
		notFound: response("404 Not Found", `{"error":{"message":"Not Found","type":"NotFoundError","param":null,"code":404}}`),
	}
	for i := range tokens {
		token := event(`[{"index":0,"delta":{"content":"`+word+`"},"logprobs":null,"finish_reason":null}]`, "")
		if i == 0 {
			opening := event(`[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`, "")
			token = slices.Concat([]byte(streamHead), opening, token)
		}
		a.tokens = append(a.tokens, token)
	}
	finish := event(`[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop"}]`, "")
	last := append(chunk("data: [DONE]\n\n"), "0\r\n\r\n"...)
	a.end = slices.Concat(finish, last)
	a.endWithUsage = slices.Concat(finish, event("[]", `,"usage":`+usage), last)
	return a
}

func response(status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s", status, len(body), body)
}

// event is one chunk of a stream; usage is empty in all but one.
func event(choices, usage string) []byte {
	return chunk(`data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"mock","choices":` + choices + usage + "}\n\n")
}

func chunk(data string) []byte {
	return fmt.Appendf(nil, "%x\r\n%s\r\n", len(data), data)
}
