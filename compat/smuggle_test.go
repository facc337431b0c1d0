package compat_test

import (
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat"
)

// What a backend must never see, in every way to hide it that was thought of.
// Each is refused with 400 and the param that is to blame.
func TestParse_NothingIsSmuggledPastTheLists(t *testing.T) {
	const text = `{"type":"text","text":"x"}`
	image := `"image_url":{"url":"` + pixel + `"}`
	url := func(u string) string { return chat(`{"type":"image_url","image_url":{"url":"` + u + `"}}`) }
	const part, imageAt = "messages[0].content[0]", "messages[0].content[0].image_url.url"
	for _, c := range []struct {
		name    string
		dialect compat.Dialect
		body    string
		param   string
	}{
		// URLs
		{"http", compat.Chat, url("http://10.0.0.1/x.png"), imageAt},
		{"https", compat.Chat, url("https://example.com/x.png"), imageAt},
		{"HTTP in capitals", compat.Chat, url("HTTP://10.0.0.1/x.png"), imageAt},
		{"escaped http", compat.Chat, url(`\u0068ttp:\/\/10.0.0.1`), imageAt},
		{"file", compat.Chat, url("file:///etc/passwd"), imageAt},
		{"leading space", compat.Chat, url(" " + pixel), imageAt},
		{"leading escaped tab", compat.Chat, url(`\thttp://10.0.0.1`), imageAt},
		{"DATA in capitals", compat.Chat, url("DATA" + pixel[4:]), imageAt},
		{"data of another type", compat.Chat, url("data:text/plain;base64,aGk="), imageAt},
		{"data without a type", compat.Chat, url("data:;base64,aGk="), imageAt},
		{"data of any image", compat.Chat, url("data:image/*;base64," + picture(1, 1)), imageAt},
		{"data without a subtype", compat.Chat, url("data:image/;base64," + picture(1, 1)), imageAt},
		{"data with a parameter", compat.Chat, url("data:image/png;charset=utf-8;base64," + picture(1, 1)), imageAt},
		{"data not base64", compat.Chat, url("data:image/png,%89PNG"), imageAt},
		{"data with BASE64 in capitals", compat.Chat, url("data:image/png;BASE64," + picture(1, 1)), imageAt},
		{"line break in base64", compat.Chat, url(strings.Replace(pixel, "base64,", `base64,iVBO\n`, 1)), imageAt},
		{"space in base64", compat.Chat, url(strings.Replace(pixel, "base64,", `base64,iVBO `, 1)), imageAt},
		{"base64 of the URL alphabet", compat.Chat, url("data:image/png;base64,iVBORw0KGgo_AAAA"), imageAt},
		{"two data URLs in one", compat.Chat, url(pixel + "," + pixel), imageAt},
		{"http behind the base64", compat.Chat, url(pixel + "#http://10.0.0.1"), imageAt},
		{"base64 without its padding", compat.Chat, url(pixel[:len(pixel)-1]), imageAt},
		{"base64 of too much padding", compat.Chat, url(pixel[:len(pixel)-3] + "==="), imageAt},
		{"empty base64", compat.Chat, url("data:image/png;base64,"), imageAt},
		{"SVG", compat.Chat, url("data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="), imageAt},
		{"SVG that claims to be PNG", compat.Chat, url("data:image/png;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="), imageAt},
		{"URL as an array", compat.Chat, chat(`{"type":"image_url","image_url":{"url":["http://x"]}}`), imageAt},
		{"URL as null", compat.Chat, chat(`{"type":"image_url","image_url":{"url":null}}`), imageAt},
		{"no URL", compat.Chat, chat(`{"type":"image_url","image_url":{}}`), imageAt},
		{"second URL in image_url", compat.Chat, chat(`{"type":"image_url","image_url":{"url":"` + pixel + `","url2":"http://x"}}`), part + ".image_url.url2"},
		{"image_url as a string", compat.Chat, chat(`{"type":"image_url","image_url":"` + pixel + `"}`), part + ".image_url"},
		{"image_url as an http string", compat.Chat, chat(`{"type":"image_url","image_url":"http://x"}`), part + ".image_url"},
		{"image_url as null", compat.Chat, chat(`{"type":"image_url","image_url":null,"uuid":"x"}`), part + ".image_url"},
		{"image_url without a type", compat.Chat, chat(`{"image_url":"http://x"}`), part + ".image_url"},
		{"an image without a type", compat.Chat, chat("{" + image + "}"), part + ".type"},
		{"a text without a type", compat.Chat, chat(`{"text":"x"}`), part + ".type"},
		{"a URL in a text part", compat.Chat, chat(`{"type":"text","text":"x","image_url":{"url":"http://x"}}`), imageAt},
		{"an image in a text part", compat.Chat, chat(`{"type":"text","text":"x",` + image + `}`), part},
		{"a text in an image part", compat.Chat, chat(`{"type":"image_url","text":"x",` + image + `}`), part},
		{"more images than allowed", compat.Chat, chat(`{"type":"image_url",` + image + `},{"type":"image_url",` + image + `}`), "messages[0].content[1].image_url.url"},
		{"a URL in the second message", compat.Chat, `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"user","content":[` + text + `,{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, "messages[1].content[1].image_url.url"},
		{"a URL in a tool's answer", compat.Chat, `{"model":"m","messages":[{"role":"tool","tool_call_id":"c","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, imageAt},
		{"a URL behind an escaped content", compat.Chat, `{"model":"m","messages":[{"role":"user","c\u006fntent":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, imageAt},
		{"a URL behind escaped messages", compat.Chat, `{"model":"m","\u006dessages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, imageAt},
		// identities and other parts
		{"uuid", compat.Chat, chat(`{"type":"image_url",` + image + `,"uuid":"x"}`), part + ".uuid"},
		{"escaped uuid", compat.Chat, chat(`{"type":"image_url",` + image + `,"\u0075uid":"x"}`), part + ".uuid"},
		{"uuid as null", compat.Chat, chat(`{"type":"text","text":"x","uuid":null}`), part + ".uuid"},
		{"uuid inside image_url", compat.Chat, chat(`{"type":"image_url","image_url":{"url":"` + pixel + `","uuid":"x"}}`), part + ".image_url.uuid"},
		{"image_embeds", compat.Chat, chat(`{"type":"image_embeds","image_embeds":"AAAA"}`), part + ".image_embeds"},
		{"image_embeds by type alone", compat.Chat, chat(`{"type":"image_embeds","text":"AAAA"}`), part + ".type"},
		{"image_pil", compat.Chat, chat(`{"type":"image_pil","image_pil":"x"}`), part + ".image_pil"},
		{"video_url", compat.Chat, chat(`{"type":"video_url","video_url":{"url":"http://x"}}`), part + ".video_url"},
		{"audio_url", compat.Chat, chat(`{"type":"audio_url","audio_url":{"url":"http://x"}}`), part + ".audio_url"},
		{"input_audio", compat.Chat, chat(`{"type":"input_audio","input_audio":{"data":"","format":"wav"}}`), part + ".input_audio"},
		{"file", compat.Chat, chat(`{"type":"file","file":{"file_id":"x"}}`), part + ".file"},
		{"responses' image in chat", compat.Chat, chat(`{"type":"input_image",` + image + `}`), part + ".type"},
		{"responses' text in chat", compat.Chat, chat(`{"type":"input_text","text":"x"}`), part + ".type"},
		{"TEXT in capitals", compat.Chat, chat(`{"type":"TEXT","text":"x"}`), part + ".type"},
		{"type as an array", compat.Chat, chat(`{"type":["text"],"text":"x"}`), part + ".type"},
		{"text as an object", compat.Chat, chat(`{"type":"text","text":{"url":"http://x"}}`), part + ".text"},
		{"a string among the parts", compat.Chat, chat(`"http://x"`), part},
		{"an array among the parts", compat.Chat, chat(`[` + text + `]`), part},
		{"content as an object", compat.Chat, `{"model":"m","messages":[{"role":"user","content":` + text + `}]}`, "messages[0].content"},
		{"content as a number", compat.Chat, `{"model":"m","messages":[{"role":"user","content":1}]}`, "messages[0].content"},
		{"a message that is a string", compat.Chat, `{"model":"m","messages":["x"]}`, "messages[0]"},
		{"messages as an object", compat.Chat, `{"model":"m","messages":{"content":"x"}}`, "messages"},
		{"messages as a string", compat.Chat, `{"model":"m","messages":"x"}`, "messages"},
		{"no messages", compat.Chat, `{"model":"m"}`, "messages"},
		{"unknown key in a text", compat.Chat, chat(`{"type":"text","text":"x","cache_control":{}}`), part + ".cache_control"},
		// names twice
		{"model twice", compat.Chat, `{"model":"m","messages":[],"model":"secret"}`, ""},
		{"model twice, once escaped", compat.Chat, `{"model":"m","messages":[],"\u006dodel":"secret"}`, ""},
		{"messages twice", compat.Chat, `{"model":"m","messages":[],"messages":[]}`, ""},
		{"url twice", compat.Chat, chat(`{"type":"image_url","image_url":{"url":"` + pixel + `","url":"http://x"}}`), ""},
		{"url twice, once escaped", compat.Chat, chat(`{"type":"image_url","image_url":{"url":"` + pixel + `","\u0075rl":"http://x"}}`), ""},
		{"type twice", compat.Chat, chat(`{"type":"text","text":"x","type":"video_url"}`), ""},
		{"content twice", compat.Chat, `{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}`, ""},
		{"deep in an unknown key", compat.Chat, `{"model":"m","messages":[],"x":[[{"a":{"b":1,"b":2}}]]}`, ""},
		{"broken behind the end", compat.Chat, `{"model":"m","messages":[]}{"model":"secret"}`, ""},
		{"an array of bodies", compat.Chat, `[{"model":"m","messages":[]}]`, ""},
		{"a lone surrogate", compat.Chat, `{"model":"m\ud800","messages":[]}`, ""},
		{"a byte order mark", compat.Chat, "\ufeff" + `{"model":"m","messages":[]}`, ""},
		// keys
		{"priority", compat.Chat, `{"model":"m","messages":[],"priority":-1}`, "priority"},
		{"escaped priority", compat.Chat, `{"model":"m","messages":[],"prior\u0069ty":-1}`, "priority"},
		{"request_id", compat.Chat, `{"model":"m","messages":[],"request_id":"x"}`, "request_id"},
		{"kv_transfer_params", compat.Completions, `{"model":"m","prompt":"x","kv_transfer_params":{}}`, "kv_transfer_params"},
		{"ec_transfer_params", compat.Responses, `{"model":"m","input":"x","ec_transfer_params":{}}`, "ec_transfer_params"},
		{"cache_salt", compat.Chat, `{"model":"m","messages":[],"cache_salt":"x"}`, "cache_salt"},
		{"chat_template", compat.Chat, `{"model":"m","messages":[],"chat_template":"{{ 1 }}"}`, "chat_template"},
		{"prompt_embeds", compat.Completions, `{"model":"m","prompt_embeds":"AAAA","prompt":"x"}`, "prompt_embeds"},
		{"mm_processor_kwargs", compat.Chat, `{"model":"m","messages":[],"mm_processor_kwargs":{}}`, "mm_processor_kwargs"},
		{"media_io_kwargs", compat.Chat, `{"model":"m","messages":[],"media_io_kwargs":{}}`, "media_io_kwargs"},
		{"chat_template in its arguments", compat.Chat, `{"model":"m","messages":[],"chat_template_kwargs":{"chat_template":"x"}}`, "chat_template_kwargs.chat_template"},
		{"tokenize in its arguments", compat.Chat, `{"model":"m","messages":[],"chat_template_kwargs":{"tokenize":true}}`, "chat_template_kwargs.tokenize"},
		{"kv_transfer_params in vllm_xargs", compat.Chat, `{"model":"m","messages":[],"vllm_xargs":{"kv_transfer_params":"x"}}`, "vllm_xargs.kv_transfer_params"},
		{"n above 8", compat.Chat, `{"model":"m","messages":[],"n":9}`, "n"},
		{"n as a string", compat.Chat, `{"model":"m","messages":[],"n":"16384"}`, "n"},
		{"n with an exponent", compat.Chat, `{"model":"m","messages":[],"n":1e4}`, "n"},
		{"n with a point", compat.Chat, `{"model":"m","messages":[],"n":16384.0}`, "n"},
		{"n below 0", compat.Chat, `{"model":"m","messages":[],"n":-1}`, "n"},
		{"n of 0", compat.Chat, `{"model":"m","messages":[],"n":0}`, "n"},
		{"best_of", compat.Completions, `{"model":"m","prompt":"x","best_of":16384}`, "best_of"},
		{"more prompts than answers can be followed", compat.Completions, `{"model":"m","n":8,"prompt":[` + strings.Repeat(`"x",`, 128) + `"x"]}`, "prompt"},
		{"stream as a string", compat.Chat, `{"model":"m","messages":[],"stream":"true"}`, "stream"},
		{"stream as a number", compat.Chat, `{"model":"m","messages":[],"stream":1}`, "stream"},
		{"stream_options as an array", compat.Chat, `{"model":"m","messages":[],"stream_options":[]}`, "stream_options"},
		{"stream_options without a stream", compat.Chat, `{"model":"m","messages":[],"stream_options":{}}`, "stream_options"},
		{"include_usage as a number", compat.Chat, `{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":1}}`, "stream_options.include_usage"},
		{"max_tokens as a string", compat.Chat, `{"model":"m","messages":[],"max_tokens":"5"}`, "max_tokens"},
		{"model as a number", compat.Chat, `{"model":1,"messages":[]}`, "model"},
		{"model as null", compat.Chat, `{"model":null,"messages":[]}`, "model"},
		{"no model", compat.Chat, `{"messages":[]}`, ""},
		{"MODEL in capitals", compat.Chat, `{"MODEL":"m","messages":[]}`, ""},
		// completions
		{"prompt as an object", compat.Completions, `{"model":"m","prompt":{"prompt_embeds":"x"}}`, "prompt"},
		{"an object among the prompts", compat.Completions, `{"model":"m","prompt":["x",{"multi_modal_data":{}}]}`, "prompt[1]"},
		{"a string among the tokens", compat.Completions, `{"model":"m","prompt":[[1,"x"]]}`, "prompt[0]"},
		{"a token below 0", compat.Completions, `{"model":"m","prompt":[-1]}`, "prompt[0]"},
		{"no prompt", compat.Completions, `{"model":"m","messages":[]}`, "prompt"},
		// responses
		{"http in responses", compat.Responses, respond(`{"type":"input_image","image_url":"http://x"}`), "input[0].content[0].image_url"},
		{"an object in responses", compat.Responses, respond(`{"type":"input_image",` + image + `}`), "input[0].content[0].image_url"},
		{"chat's image in responses", compat.Responses, respond(`{"type":"image_url","image_url":"` + pixel + `"}`), "input[0].content[0].type"},
		{"chat's text in responses", compat.Responses, respond(`{"type":"text","text":"x"}`), "input[0].content[0].type"},
		{"file_id", compat.Responses, respond(`{"type":"input_image","file_id":"file-1"}`), "input[0].content[0].file_id"},
		{"input_file", compat.Responses, respond(`{"type":"input_file","file_url":"http://x"}`), "input[0].content[0].file_url"},
		{"a citation's URL", compat.Responses, respond(`{"type":"output_text","text":"x","annotations":[{"type":"url_citation","url":"http://x"}]}`), "input[0].content[0].annotations"},
		{"an image in a function's output", compat.Responses, `{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"http://x"}]}]}`, "input[0].output[0].image_url"},
		{"a screenshot", compat.Responses, `{"model":"m","input":[{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","image_url":"http://x"}}]}`, "input[0].type"},
		{"an item by reference", compat.Responses, `{"model":"m","input":[{"type":"item_reference","id":"x"}]}`, "input[0].type"},
		{"an image behind a message that is typed last", compat.Responses, `{"model":"m","input":[{"content":[{"image_url":"http://x","type":"input_image"}],"type":"message"}]}`, "input[0].content[0].image_url"},
		{"input as an object", compat.Responses, `{"model":"m","input":{}}`, "input"},
		{"a tool on a server", compat.Responses, `{"model":"m","input":"x","tools":[{"type":"function","name":"f"},{"server_url":"http://x","type":"mcp","server_label":"x"}]}`, "tools[1].type"},
		{"a tool of the backend", compat.Responses, `{"model":"m","input":"x","tools":[{"type":"code_interpreter"}]}`, "tools[0].type"},
		{"a tool of no type", compat.Responses, `{"model":"m","input":"x","tools":[{"server_url":"http://x"}]}`, "tools[0].type"},
		{"a tool's escaped type", compat.Responses, `{"model":"m","input":"x","tools":[{"typ\u0065":"mcp"}]}`, "tools[0].type"},
		{"tools as an object", compat.Responses, `{"model":"m","input":"x","tools":{"type":"mcp"}}`, "tools"},
		{"a stored response", compat.Responses, `{"model":"m","input":"x","previous_response_id":"resp_1"}`, "previous_response_id"},
		{"in the background", compat.Responses, `{"model":"m","input":"x","background":true}`, "background"},
		{"earlier messages", compat.Responses, `{"model":"m","input":"x","previous_input_messages":[{"content":[{"type":"image","url":"http://x"}]}]}`, "previous_input_messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := refusal(t, c.dialect, c.body, rules)
			if e.Status != 400 || e.Type != "invalid_request_error" || e.Message == "" || e.Param != c.param {
				t.Errorf("got %d %s, param %q, %q; want 400 with param %q", e.Status, e.Type, e.Param, e.Message, c.param)
			}
		})
	}
}

func TestParse_SaysHowFetchingIsSwitchedOn(t *testing.T) {
	for _, url := range []string{"http://example.com/x.png", "https://example.com/x.png", "HTTPS://example.com/x.png"} {
		e := refusal(t, compat.Chat, chat(`{"type":"image_url","image_url":{"url":"`+url+`"}}`), rules)
		if e.Code != "invalid_image_url" || !strings.Contains(e.Message, "images.fetch") {
			t.Errorf("%s: got %s: %s", url, e.Code, e.Message)
		}
	}
}

func TestParse_NoImagesWhereNoneAreAllowed(t *testing.T) {
	e := refusal(t, compat.Chat, chat(`{"type":"image_url","image_url":{"url":"`+pixel+`"}}`), compat.Rules{})
	if e.Code != "too_many_images" {
		t.Errorf("got %s: %s", e.Code, e.Message)
	}
}

func TestParse_BoundsTheTopLevel(t *testing.T) {
	e := refusal(t, compat.Chat, `{"model":"m","messages":[]`+manyMembers(300)+`}`, rules)
	if !strings.Contains(e.Message, "256") {
		t.Errorf("got %s", e.Message)
	}
}

func TestParse_BoundsTheNamesOfAnObject(t *testing.T) {
	var b strings.Builder
	for i := range 1 << 16 {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	names := strings.TrimSuffix(b.String(), ",")
	parse(t, compat.Chat, `{"model":"m","messages":[],"x":{`+names+`}}`, rules)
	e := refusal(t, compat.Chat, `{"model":"m","messages":[],"x":{`+names+`,"x":0}}`, rules)
	if !strings.Contains(e.Message, "too many names") {
		t.Errorf("got %s", e.Message)
	}
	e = refusal(t, compat.Chat, `{"model":"m","messages":[],"x":{`+strings.Replace(names, `"65535"`, `"40000"`, 1)+`}}`, rules)
	if !strings.Contains(e.Message, "duplicate") {
		t.Errorf("got %s", e.Message)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + strings.Repeat("k", i+1) + `":1`)
	}
	return b.String()
}
