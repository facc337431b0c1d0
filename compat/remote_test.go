package compat_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat"
)

var remote = compat.Rules{MaxImages: 2, MaxN: 8, RemoteImages: true}

func TestEmbed_PutsTheImageWhereItsURLStood(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(picture(3, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{`http://a.example/x.png`, `HTTPS:\/\/a.example\/\u0078.png?a=\"b`, `https://a.example/頁`} {
		body := fmt.Sprintf(`{ "stream":true,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"detail":"low", "url" : "%s" }},{"type":"text","text":"%s"},{"type":"image_url","image_url":{"url":"%s"}}]}], "model":"m" }`, url, url, pixel)
		r := parse(t, compat.Chat, body, remote)
		if got := r.Images[0]; got.MIME != "" || got.Param != "messages[0].content[0].image_url.url" || string(r.Written(0)) != `"`+url+`"` {
			t.Fatalf("got %+v, written %s", got, r.Written(0))
		}
		if want := strings.NewReplacer(`\/`, "/", `\u0078`, "x", `\"`, `"`).Replace(url); r.Images[0].URL != want {
			t.Errorf("got URL %q, want %q", r.Images[0].URL, want)
		}
		set := []compat.Member{{Name: "model", Value: []byte(`"served"`)}, {Name: "stream", Value: []byte("false")}}
		empty := strings.Replace(body, `"`+url+`"`, `""`, 1)
		rewritten := strings.NewReplacer(`"stream":true`, `"stream":false`, `"model":"m"`, `"model":"served"`)
		if got := read(t, r.Rewrite(set, nil)); got != rewritten.Replace(empty) {
			t.Errorf("without the image a backend gets\n%s", got)
		}
		if err := r.Embed(0, raw); err != nil {
			t.Fatal(err)
		}
		if got := r.Images[0]; got.MIME != "image/png" || got.Width != 3 || got.Height != 2 {
			t.Errorf("got %+v", got)
		}
		data := `"data:image/png;base64,` + picture(3, 2) + `"`
		if got := read(t, r.Rewrite(set, nil)); got != rewritten.Replace(strings.Replace(body, `"`+url+`"`, data, 1)) {
			t.Errorf("with it a backend gets\n%s", got)
		}
	}
}

func TestEmbed_InResponsesToo(t *testing.T) {
	r := parse(t, compat.Responses, respond(`{"type":"input_image","image_url":"http://a.example/x"}`), remote)
	raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(pixel, "data:image/png;base64,"))
	if err := r.Embed(0, raw); err != nil {
		t.Fatal(err)
	}
	if got := read(t, r.Rewrite(nil, nil)); got != respond(`{"type":"input_image","image_url":"`+pixel+`"}`) {
		t.Errorf("got %s", got)
	}
}

func TestEmbed_RefusesWhatADataURLMayNotHold(t *testing.T) {
	for _, c := range []struct{ raw, code string }{
		{"", "invalid_image_format"},
		{"<html>not found</html>", "invalid_image_format"},
		{`<svg xmlns="http://www.w3.org/2000/svg"/>`, "invalid_image_format"},
		{"\x89PNG\r\n\x1a\nbroken", "image_parse_error"},
	} {
		r := parse(t, compat.Chat, chat(`{"type":"image_url","image_url":{"url":"http://x"}}`), remote)
		var e *compat.Error
		if err := r.Embed(0, []byte(c.raw)); err != nil {
			e = err.(*compat.Error)
		}
		if e == nil || e.Code != c.code || e.Param != "messages[0].content[0].image_url.url" {
			t.Errorf("%q: got %+v, want %s", c.raw, e, c.code)
		}
		if got := read(t, r.Rewrite(nil, nil)); strings.Contains(got, "http://x") {
			t.Errorf("the URL stayed: %s", got)
		}
	}
}

func TestParse_RemoteImagesAreCountedAndBounded(t *testing.T) {
	image := func(url string) string { return `{"type":"image_url","image_url":{"url":"` + url + `"}}` }
	for _, c := range []struct{ parts, code string }{
		{image("http://x") + "," + image("http://y") + "," + image(pixel), "too_many_images"},
		{image("http://" + strings.Repeat("x", 5000)), "invalid_image_url"},
		{image("ftp://x"), "invalid_image_url"},
		{image(" http://x"), "invalid_image_url"},
		{image("//x"), "invalid_image_url"},
	} {
		if e := refusal(t, compat.Chat, chat(c.parts), remote); e.Code != c.code {
			t.Errorf("%.80s: got %s: %s", c.parts, e.Code, e.Message)
		}
	}
}
