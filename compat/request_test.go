package compat_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"strings"
	"testing"

	"ocrmux/compat"
)

var rules = compat.Rules{MaxImages: 1, MaxN: 8}

// picture is a PNG of the size as base64 text.
func picture(width, height int) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

var pixel = "data:image/png;base64," + picture(3, 2)

// chat is a body with the parts as content of one message.
func chat(parts string) string {
	return `{"model":"m","messages":[{"role":"user","content":[` + parts + `]}]}`
}

func respond(parts string) string {
	return `{"model":"m","input":[{"role":"user","content":[` + parts + `]}]}`
}

func parse(t *testing.T, d compat.Dialect, body string, r compat.Rules) *compat.Request {
	t.Helper()
	request, err := compat.Parse(d, []byte(body), r)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return request
}

func TestParse_KeepsWhatTheGatewayMustKnow(t *testing.T) {
	r := parse(t, compat.Chat, ` { "messages" : [{"role":"system","content":"s"},{"role":"user","content":[
		{"image_url":{"detail":"high","url":"`+pixel+`"},"type":"image_url"},{"type":"text","text":"Free OCR."}]}],
		"max_tokens":7, "max_completion_tokens":9, "n":2, "stream":true, "stream_options":{"include_usage":true,"x":1},
		"m\u006fdel":"deepseek-ai\/DeepSeek-OCR", "temperature":0.0, "vllm_xargs":{"ngram_size":30}, "other":null} `, rules)
	got := strings.TrimSpace(fmt.Sprintln(r.Model, r.Stream, r.IncludeUsage, r.N, r.MaxTokens, len(r.Images), len(r.Members), string(r.Member("temperature")), r.Member("absent") == nil))
	if want := "deepseek-ai/DeepSeek-OCR true true 2 9 1 10 0.0 true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if i := r.Images[0]; i.MIME != "image/png" || i.Width != 3 || i.Height != 2 || !strings.HasSuffix(pixel, string(i.Base64)) || len(i.Base64) == 0 {
		t.Errorf("got %s %dx%d %s", i.MIME, i.Width, i.Height, i.Base64)
	}
}

func TestParse_SaysOfWhatIsNotJSONThatItIsNotJSON(t *testing.T) {
	for _, body := range []string{`{"model":NaN}`, `{"model":`, `{"model":[1,}`, `{"model":"m","messages":[{"role":"user","content":[x]}]}`, `{"model":"m","messages":+}`} {
		_, err := compat.Parse(compat.Chat, []byte(body), rules)
		var e *compat.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Code != "" || !strings.Contains(e.Message, "could not parse the JSON") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestParse_MaxCompletionTokensWins(t *testing.T) {
	for _, limits := range []string{`"max_tokens":7,"max_completion_tokens":9`, `"max_completion_tokens":9,"max_tokens":7`, `"max_tokens":9`, `"max_completion_tokens":null,"max_tokens":9`, `"max_tokens":9,"max_completion_tokens":null`} {
		if r := parse(t, compat.Chat, `{"model":"m","messages":[],`+limits+`}`, rules); r.MaxTokens != 9 {
			t.Errorf("%s: got %d, want 9", limits, r.MaxTokens)
		}
	}
}

func TestParse_Passes(t *testing.T) {
	for _, c := range []struct {
		dialect compat.Dialect
		body    string
	}{
		{compat.Chat, `{"model":"m","messages":[]}`},
		{compat.Chat, `{"model":"m","messages":[{"role":"user","content":null}],"stream":null,"n":null,"max_tokens":null,"stream_options":null}`},
		{compat.Chat, chat(`{"type":"text","text":"a \"b\" \ud83d\ude00 頁"},{"type":"refusal","refusal":"no"}`)},
		{compat.Chat, chat(`{"\u0074ype":"image\u005furl","image_url":{"url":"` + strings.ReplaceAll(pixel, "/", `\/`) + `"}}`)},
		{compat.Chat, `{"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"url\":\"http://x\"}"}}]},{"role":"tool","tool_call_id":"c","name":"f","content":"text"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}`},
		{compat.Chat, `{"model":"m","messages":[],"input":[{"type":"anything"}],"prompt":{"url":"http://x"},"response_format":{"type":"json_object"},"unknown":[1e400,-0.0]}`},
		{compat.Completions, `{"model":"m","prompt":"x"}`},
		{compat.Completions, `{"model":"m","prompt":["x","y"]}`},
		{compat.Completions, `{"model":"m","prompt":[1,2,3]}`},
		{compat.Completions, `{"model":"m","prompt":[[1,2],[3]]}`},
		{compat.Responses, `{"model":"m","input":"x","store":true,"previous_response_id":null,"background":false,"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}`},
		{compat.Responses, `{"model":"m","input":"x","tools":null}`},
		{compat.Responses, respond(`{"type":"input_text","text":"x"},{"type":"input_image","image_url":"` + pixel + `","detail":"auto","file_id":null}`)},
		{compat.Responses, `{"model":"m","input":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[],"logprobs":null}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"x"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}]}`},
	} {
		if _, err := compat.Parse(c.dialect, []byte(c.body), rules); err != nil {
			t.Errorf("%s\n%v", c.body, err)
		}
	}
}

func TestParse_PrivilegedTenantsMayUseEveryKey(t *testing.T) {
	r := rules
	r.Privileged = true
	parse(t, compat.Chat, `{"model":"m","messages":[],"priority":1,"request_id":"x","kv_transfer_params":{},"ec_transfer_params":{},"cache_salt":"x","chat_template":"x","prompt_embeds":"x","mm_processor_kwargs":{},"media_io_kwargs":{},"chat_template_kwargs":{"tokenize":true}}`, r)
}

func read(t *testing.T, b *compat.Body) string {
	t.Helper()
	all, err := io.ReadAll(b.Open())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(all)) != b.Size() {
		t.Errorf("size is %d, want %d", b.Size(), len(all))
	}
	return string(all)
}

func TestRewrite(t *testing.T) {
	set := []compat.Member{{Name: "model", Value: []byte(`"served"`)}, {Name: "stream", Value: []byte("true")}}
	absent := []compat.Member{{Name: "temperature", Value: []byte("0")}, {Name: "top_k", Value: []byte("1")}, {Name: "stream", Value: []byte("false")}}
	for _, c := range []struct{ body, want string }{
		{`{"model":"m","messages":[]}`, `{"model":"served","messages":[],"stream":true,"temperature":0,"top_k":1}`},
		{"{\"stream\" : false ,\n \"messages\":[], \"m\\u006fdel\":\"m\" , \"temperature\":null } \n", "{\"stream\" : true ,\n \"messages\":[], \"m\\u006fdel\":\"served\" , \"temperature\":null ,\"top_k\":1} \n"},
	} {
		if got := read(t, parse(t, compat.Chat, c.body, rules).Rewrite(set, absent)); got != c.want {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
		if got := read(t, parse(t, compat.Chat, c.body, rules).Rewrite(nil, nil)); got != c.body {
			t.Errorf("\n got %s\nwant %s", got, c.body)
		}
	}
}

func TestUsageOption_KeepsTheClientsOtherOptions(t *testing.T) {
	for _, c := range []struct{ options, want string }{
		{``, `{"include_usage":true}`},
		{`,"stream_options":null`, `{"include_usage":true}`},
		{`,"stream_options":{}`, `{"include_usage":true}`},
		{`,"stream_options":{ "include_usage" : false , "continuous_usage_stats":true}`, `{ "include_usage" : true , "continuous_usage_stats":true}`},
		{`,"stream_options":{"include\u005fusage":null}`, `{"include\u005fusage":true}`},
		{`,"stream_options":{"a":"}"}`, `{"a":"}","include_usage":true}`},
		{`,"stream_options":{"include_usage":true, "a":1}`, `{"include_usage":true, "a":1}`},
	} {
		m := parse(t, compat.Chat, `{"model":"m","messages":[],"stream":true`+c.options+`}`, rules).UsageOption()
		if m.Name != "stream_options" || string(m.Value) != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.options, m.Value, c.want)
		}
	}
}

func refusal(t *testing.T, d compat.Dialect, body string, r compat.Rules) *compat.Error {
	t.Helper()
	_, err := compat.Parse(d, []byte(body), r)
	var e *compat.Error
	if !errors.As(err, &e) {
		t.Errorf("passed, or no OpenAI error: %s: %v", body, err)
		return &compat.Error{}
	}
	return e
}
