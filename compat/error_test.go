package compat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sashabaranov/go-openai"

	"ocrmux/compat"
)

func TestError_AppendJSONIsAlwaysValid(t *testing.T) {
	for _, c := range []struct {
		e    compat.Error
		want string
	}{
		{compat.Error{Message: "m", Type: "t"}, `{"error":{"message":"m","type":"t","param":null,"code":null}}`},
		{compat.Error{Message: "\"\\\n\r\t\x01é😀", Type: "t", Param: "p", Code: "c"}, `{"error":{"message":"\"\\\n\r\t\u0001é😀","type":"t","param":"p","code":"c"}}`},
		{compat.Error{Message: "\xff\xed\xa0\x80", Type: "t"}, `{"error":{"message":"` + strings.Repeat("\uFFFD", 4) + `","type":"t","param":null,"code":null}}`},
	} {
		got := c.e.AppendJSON([]byte("x"))
		if string(got) != "x"+c.want || !jsontext.Value(got[1:]).IsValid() {
			t.Errorf("got %s, want x%s", got, c.want)
		}
	}
}

func TestError_EventOfEachDialect(t *testing.T) {
	e := compat.Invalid("p", "c", `m"`)
	for d, want := range map[compat.Dialect]string{
		compat.Chat:        "data: {\"error\":{\"message\":\"m\\\"\",\"type\":\"invalid_request_error\",\"param\":\"p\",\"code\":\"c\"}}\n\ndata: [DONE]\n\n",
		compat.Completions: "data: {\"error\":{\"message\":\"m\\\"\",\"type\":\"invalid_request_error\",\"param\":\"p\",\"code\":\"c\"}}\n\ndata: [DONE]\n\n",
		compat.Responses:   "event: error\ndata: {\"type\":\"error\",\"code\":\"c\",\"message\":\"m\\\"\",\"param\":\"p\",\"sequence_number\":7}\n\n",
	} {
		if got := string(e.Event(d, 7)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestError_LogsNothingOfTheRequest(t *testing.T) {
	var b bytes.Buffer
	e := compat.Invalid("canary-param", "c", "canary-message")
	slog.New(slog.NewTextHandler(&b, nil)).Info("failed", "error", e)
	if got := b.String(); strings.Contains(got, "canary") || !strings.Contains(got, "error.status=400") {
		t.Errorf("got %s", got)
	}
}

func TestErrorTable(t *testing.T) {
	for _, c := range []struct {
		e    *compat.Error
		want string
	}{
		{compat.NoKey(), "401 invalid_request_error  0s false"},
		{compat.BadKey(), "401 invalid_request_error invalid_api_key 0s false"},
		{compat.ModelNotFound("m"), "404 invalid_request_error model_not_found 0s false"},
		{compat.BadJSON("r"), "400 invalid_request_error  0s false"},
		{compat.TooLarge(5), "413 invalid_request_error request_too_large 0s false"},
		{compat.UnsupportedEncoding(), "415 invalid_request_error  0s false"},
		{compat.RateLimited("tokens", 1500*time.Millisecond), "429 tokens rate_limit_exceeded 1.5s false"},
		{compat.RateLimited("requests", 0), "429 requests rate_limit_exceeded 1ms false"},
		{compat.AboveLimit("images"), "429 images rate_limit_exceeded 0s true"},
		{compat.RouteNotAllowed(), "403 invalid_request_error insufficient_permissions 0s false"},
		{compat.QuotaExceeded("pages", time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)), "429 insufficient_quota insufficient_quota 0s true"},
		{compat.Overloaded(0), "503 server_error overloaded 1s false"},
		{compat.Upstream(), "502 server_error upstream_error 0s false"},
		{compat.Timeout(), "504 server_error timeout 0s true"},
		{compat.Internal(), "500 server_error  0s false"},
		{compat.UnknownURL("POST", "/v1/x"), "404 invalid_request_error unknown_url 0s false"},
		{compat.MethodNotSupported("GET", "/v1/x"), "405 invalid_request_error method_not_supported 0s false"},
		{compat.NotStored(), "404 invalid_request_error response_not_stored 0s false"},
		{compat.NotServed(), "404 invalid_request_error unsupported_api 0s false"},
	} {
		if got := fmt.Sprint(c.e.Status, " ", c.e.Type, " ", c.e.Code, " ", c.e.RetryAfter, " ", c.e.NoRetry); got != c.want || c.e.Message == "" || c.e.Param != "" {
			t.Errorf("got %s (%s), want %s", got, c.e.Message, c.want)
		}
	}
	if long := compat.ModelNotFound(strings.Repeat("頁", 1000)).Message; len(long) > 400 || strings.Contains(long, "\uFFFD") {
		t.Errorf("got %d bytes: %s", len(long), long)
	}
}

const upstreamMessage = "The model server failed while it processed the request."

func TestNormalise(t *testing.T) {
	tooLong := "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"vLLM", 400, `{"error":{"message":"bad","type":"BadRequestError","param":"temperature","code":400}}`, "400 invalid_request_error temperature  bad"},
		{"vLLM, old", 400, `{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}`, "400 invalid_request_error   bad"},
		{"a code of letters", 400, `{"error":{"message":"bad","type":"x","param":null,"code":"invalid_value"}}`, "400 invalid_request_error  invalid_value bad"},
		{"a text", 400, `{"error":"bad"}`, "400 invalid_request_error   bad"},
		{"FastAPI, list", 422, `{"detail":[{"loc":["body","messages",0,"content"],"msg":"Field required","type":"missing","input":{"secret":1}},{"loc":["body"],"msg":"odd"}]}`, "422 invalid_request_error messages.0.content  messages.0.content: Field required; odd"},
		{"FastAPI, text", 400, `{"detail":"There was an error parsing the body"}`, "400 invalid_request_error   There was an error parsing the body"},
		{"HTML", 413, `<html>nginx</html>`, "413 invalid_request_error   The model server refused the request."},
		{"nothing", 400, ``, "400 invalid_request_error   The model server refused the request."},
		{"null", 400, `null`, "400 invalid_request_error   The model server refused the request."},
		{"an error of null", 400, `{"error":null,"message":"bad"}`, "400 invalid_request_error   bad"},
		{"unprocessable", 422, `{"error":{"message":"bad","type":"x","param":null,"code":422}}`, "422 invalid_request_error   bad"},
		{"context", 400, `{"error":{"message":"` + tooLong + `","type":"BadRequestError","param":"input_tokens","code":400}}`, "400 invalid_request_error messages context_length_exceeded " + tooLong},
		{"context, old", 400, `{"object":"error","message":"The decoder prompt (length 9000) is longer than the maximum model length of 8192.","code":400}`, "400 invalid_request_error messages context_length_exceeded The decoder prompt (length 9000) is longer than the maximum model length of 8192."},
		{"context, by another name", 400, `{"error":{"message":"max_tokens 9000 is greater than max_model_len 8192"}}`, "400 invalid_request_error messages context_length_exceeded max_tokens 9000 is greater than max_model_len 8192"},
		{"busy", 429, `{"error":{"message":"x"}}`, "429 requests  rate_limit_exceeded The model server is taking no more requests at the moment. Please try again later."},
		{"wrong backend key", 401, `{"error":"Unauthorized"}`, "502 server_error  upstream_error " + upstreamMessage},
		{"forbidden", 403, `{"error":{"message":"secret"}}`, "502 server_error  upstream_error " + upstreamMessage},
		{"model not there", 404, `{"error":{"message":"The model x does not exist.","type":"NotFoundError","param":"model","code":404}}`, "502 server_error  upstream_error " + upstreamMessage},
		{"route not there", 404, `{"detail":"Not Found"}`, "502 server_error  upstream_error " + upstreamMessage},
		{"method not there", 405, `{"detail":"Method Not Allowed"}`, "502 server_error  upstream_error " + upstreamMessage},
		{"broken", 500, `{"error":{"message":"CUDA error at 10.0.0.7","type":"InternalServerError","param":null,"code":500}}`, "502 server_error  upstream_error " + upstreamMessage},
		{"context in a 500", 500, `{"error":{"message":"` + tooLong + `"}}`, "502 server_error  upstream_error " + upstreamMessage},
		{"not implemented", 501, `{"error":{"message":"x"}}`, "502 server_error  upstream_error " + upstreamMessage},
		{"a proxy's", 502, `<html>`, "502 server_error  upstream_error " + upstreamMessage},
		{"dead", 503, ``, "502 server_error  upstream_error " + upstreamMessage},
		{"a redirect", 302, ``, "502 server_error  upstream_error " + upstreamMessage},
		{"no status", 0, `{"error":{"message":"x"}}`, "502 server_error  upstream_error " + upstreamMessage},
	} {
		e := compat.Normalise(c.status, []byte(c.body))
		if got := fmt.Sprint(e.Status, " ", e.Type, " ", e.Param, " ", e.Code, " ", e.Message); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if !jsontext.Value(e.AppendJSON(nil)).IsValid() {
			t.Errorf("%s: %s", c.name, e.AppendJSON(nil))
		}
	}
	if m := compat.Normalise(400, []byte(`{"error":{"message":"`+strings.Repeat("頁", 100_000)+`"}}`)).Message; len(m) > 2010 {
		t.Errorf("got a message of %d bytes", len(m))
	}
}

// clientFor is go-openai in front of a server that always answers the same.
func clientFor(t *testing.T, status int, contentType string, body []byte) *openai.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	config := openai.DefaultConfig("key")
	config.BaseURL = server.URL + "/v1"
	return openai.NewClientWithConfig(config)
}

var question = openai.ChatCompletionRequest{Model: "m", Messages: []openai.ChatCompletionMessage{{Role: "user", Content: "x"}}}

func TestError_IsReadByGoOpenAI(t *testing.T) {
	client := clientFor(t, 404, "application/json", compat.ModelNotFound("m").AppendJSON(nil))
	_, err := client.CreateChatCompletion(t.Context(), question)
	var api *openai.APIError
	if !errors.As(err, &api) || api.HTTPStatusCode != 404 || api.Code != "model_not_found" || api.Type != "invalid_request_error" || api.Param != nil {
		t.Errorf("got %#v", err)
	}
}

var answer = compat.Answer{ID: "chatcmpl-1", Created: 5, Model: "m", Text: "a \"b\"\n頁", Finish: "stop", Usage: compat.Usage{PromptTokens: 1, CompletionTokens: 2, TotalTokens: 3}}

func TestAppendChat_IsReadByGoOpenAI(t *testing.T) {
	client := clientFor(t, 200, "application/json", compat.AppendChat(nil, answer))
	got, err := client.CreateChatCompletion(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	c := got.Choices[0]
	if got.ID != "chatcmpl-1" || got.Object != "chat.completion" || got.Created != 5 || got.Model != "m" || c.Message.Content != answer.Text || c.Message.Role != "assistant" || c.FinishReason != "stop" || got.Usage.TotalTokens != 3 {
		t.Errorf("got %+v", got)
	}
	want := `{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a \"b\"\n頁","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	if got := string(compat.AppendChat(nil, answer)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// A stream with keep-alives in it, written and read back by go-openai and by us.
func TestAppendChatEvents_AreReadByGoOpenAI(t *testing.T) {
	for _, usage := range []bool{false, true} {
		stream := compat.KeepAlive(compat.Chat, "chatcmpl-1", "m", 5)
		stream = compat.AppendChatEvents(stream, answer, usage)
		got, err := clientFor(t, 200, "text/event-stream", stream).CreateChatCompletionStream(t.Context(), question)
		if err != nil {
			t.Fatal(err)
		}
		var text, roles, finish string
		var tokens int
		for {
			event, err := got.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range event.Choices {
				text, roles, finish = text+c.Delta.Content, roles+c.Delta.Role, finish+string(c.FinishReason)
			}
			if event.Usage != nil {
				tokens = event.Usage.TotalTokens
			}
		}
		if err := got.Close(); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 3}[usage]; text != answer.Text || roles != "assistant" || finish != "stop" || tokens != want {
			t.Errorf("got %q %q %q %d", text, roles, finish, tokens)
		}
		readBack(t, stream, usage)
	}
}

func readBack(t *testing.T, stream []byte, usage bool) {
	t.Helper()
	var s compat.Splitter
	var c compat.Chunk
	var ending compat.Ending
	var text []byte
	var tokens bool
	if err := s.Feed(stream); err != nil {
		t.Fatal(err)
	}
	for _, data, ok := s.Next(); ok; _, data, ok = s.Next() {
		if err := compat.ParseChunk(compat.Chat, data, &c); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		ending.Add(&c)
		tokens = tokens || c.Usage != nil && c.Empty
		for _, choice := range c.Choices {
			text = compat.AppendText(text, choice.Text)
		}
	}
	if !ending.Complete() || string(text) != answer.Text || tokens != usage {
		t.Errorf("got %v %q %v", ending.Complete(), text, tokens)
	}
}

func TestKeepAlive_OfEachDialect(t *testing.T) {
	for d, want := range map[compat.Dialect]string{
		compat.Chat:        "data: {\"id\":\"i\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n",
		compat.Completions: "data: {\"id\":\"i\",\"object\":\"text_completion\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":null}]}\n\n",
		compat.Responses:   ": keep-alive\n\n",
	} {
		if got := string(compat.KeepAlive(d, "i", "m", 5)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAppendModels_IsReadByGoOpenAI(t *testing.T) {
	b := compat.AppendModels(nil, []string{"deepseek-ai/DeepSeek-OCR", `a"b`}, 5)
	got, err := clientFor(t, 200, "application/json", b).ListModels(t.Context())
	if err != nil || len(got.Models) != 2 || got.Models[1].ID != `a"b` || got.Models[0].OwnedBy != "ocrmux" || got.Models[0].CreatedAt != 5 || got.Models[0].Object != "model" {
		t.Errorf("got %+v, %v", got, err)
	}
	var list struct {
		Object string
		Data   []json.RawMessage
	}
	if err := json.Unmarshal(compat.AppendModels(nil, nil, 5), &list); err != nil || list.Object != "list" || list.Data == nil {
		t.Errorf("got %+v, %v", list, err)
	}
	if got, want := string(compat.AppendModel(nil, "m", 5)), `{"id":"m","object":"model","created":5,"owned_by":"ocrmux"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
