package completions_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"ocrmux/compat"
	"ocrmux/completions"
)

// keyOf is the key under which r's answer would be looked up; ok is false where
// the cache is not asked.
func keyOf(t *testing.T, s *completions.Service, m *memory, r *completions.Request) (key [32]byte, ok bool) {
	t.Helper()
	m.gets = nil
	a, err := s.Whole(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if (a.Cache == completions.Bypass) != (len(m.gets) == 0) {
		t.Errorf("the answer says %s, and the cache was asked %d times", a.Cache, len(m.gets))
	}
	if len(m.gets) == 0 {
		return key, false
	}
	return m.gets[0], true
}

func TestQuestion_IsTheSameByWhateverRouteItComes(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	image := picture(1)
	want, ok := keyOf(t, s, m, upload(s, image, "Free OCR."))
	if !ok {
		t.Fatal("the cache is not asked for a page")
	}
	plain := chat(image, "Free OCR.", "")
	b64 := base64.StdEncoding.EncodeToString([]byte(image))
	for name, body := range map[string]string{
		"chat":                        plain,
		"with vLLM's own placeholder": chat(image, "<image>\nFree OCR.", ""),
		"the recipe in full":          chat(image, "Free OCR.", `,"vllm_xargs":{ "ngram_size" : 30 },"temperature":0.0,"skip_special_tokens":false`),
		"what changes nothing":        chat(image, "Free OCR.", `,"user":"me","seed":5,"n":1,"metadata":{"a":"b"},"store":false,"stream":false`),
		"by the alias":                strings.Replace(plain, model, alias, 1),
		"text first": `{"messages":[{"content":[{"text":"Free OCR.","type":"text"},{"image_url":{"url":"data:image/gif;base64,` + b64 +
			`","detail":"high"},"type":"image_url"}],"role":"user"}],"model":"` + model + `"}`,
		"another claim of the type": strings.Replace(plain, "image/gif", "image/png", 1),
		"escapes in the prompt":     strings.Replace(plain, "Free OCR.", `Free\u0020OCR.`, 1),
	} {
		if got, ok := keyOf(t, s, m, client(t, s, body)); !ok || got != want {
			t.Errorf("%s: got %x (%v), want %x", name, got[:4], ok, want[:4])
		}
	}
}

func TestQuestion_DiffersWithAllThatMayChangeTheAnswer(t *testing.T) {
	m := new(memory)
	p := answering("x", "stop")
	s := service(t, p, m)
	seen := map[[32]byte]string{}
	add := func(name string, s *completions.Service, r *completions.Request) {
		t.Helper()
		key, ok := keyOf(t, s, m, r)
		if !ok {
			t.Errorf("%s: the cache is not asked", name)
		}
		if other := seen[key]; other != "" {
			t.Errorf("%q and %q have the same key", name, other)
		}
		seen[key] = name
	}
	add("plain", s, client(t, s, chat(picture(1), "Free OCR.", "")))
	add("another image", s, client(t, s, chat(picture(2), "Free OCR.", "")))
	add("another prompt", s, client(t, s, chat(picture(1), "Free OCR", "")))
	add("no prompt", s, client(t, s, `{"model":"`+model+`","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/gif;base64,`+
		base64.StdEncoding.EncodeToString([]byte(picture(1)))+`"}}]}]}`))
	for _, more := range []string{
		`"max_tokens":5`, `"max_tokens":50`, `"max_completion_tokens":5`, `"skip_special_tokens":true`, `"vllm_xargs":{"ngram_size":31}`, `"vllm_xargs":null`,
		`"stop":"a"`, `"stop":["a"]`, `"stop":["a "]`, `"repetition_penalty":1.1`, `"repetition_detection":{"min_count":3}`, `"min_tokens":1`, `"stop_token_ids":[1]`, `"ignore_eos":true`,
	} {
		add(more, s, client(t, s, chat(picture(1), "Free OCR.", ","+more)))
	}
	add("stop and min_tokens", s, client(t, s, chat(picture(1), "Free OCR.", `,"stop":"a","min_tokens":1`)))
	tenant := client(t, s, chat(picture(1), "Free OCR.", ""))
	tenant.Tenant = "other"
	add("another tenant", s, tenant)

	for name, change := range map[string]func(*completions.Model){
		"another model":            func(m *completions.Model) { m.Name = "other" },
		"another recipe":           func(m *completions.Model) { m.Recipe.MaxTokens = 4096 },
		"a recipe with one member": func(m *completions.Model) { m.Recipe.Members = m.Recipe.Members[:1] },
	} {
		changed := completions.Model{Name: model, Pool: "main", ServedAs: served, Recipe: recipe}
		change(&changed)
		s, err := completions.New(completions.Config{Models: []completions.Model{changed}}, completions.Deps{Pools: map[string]completions.Pool{"main": p}, Cache: m})
		if err != nil {
			t.Fatal(err)
		}
		r := client(t, s, strings.Replace(chat(picture(1), "Free OCR.", ""), model, changed.Name, 1))
		add(name, s, r)
	}
}

func TestQuestion_ThatMayHaveSeveralAnswersIsNotRemembered(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	image := picture(1)
	for name, body := range map[string]string{
		"temperature":                  chat(image, "x", `,"temperature":0.1`),
		"a temperature that vLLM sets": chat(image, "x", `,"temperature":null`),
		"several answers":              chat(image, "x", `,"n":2`),
		"an unknown member":            chat(image, "x", `,"novelty":1`),
		"tools":                        chat(image, "x", `,"tools":[]`),
		"log probabilities":            chat(image, "x", `,"logprobs":true`),
		"a form of the answer":         chat(image, "x", `,"response_format":{"type":"json_object"}`),
		"top_p":                        chat(image, "x", `,"top_p":0.5`),
		"no image":                     `{"model":"` + model + `","messages":[{"role":"user","content":"x"}]}`,
		"usage with every event":       chat(image, "x", `,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}`),
	} {
		if _, ok := keyOf(t, s, m, client(t, s, body)); ok {
			t.Errorf("%s: the cache is asked for %.200s", name, body)
		}
	}
	prompt := &completions.Request{Model: s.Model(model), Dialect: compat.Completions, Tenant: "acme"}
	var err error
	if prompt.Client, err = compat.Parse(compat.Completions, []byte(`{"model":"`+model+`","prompt":"x","temperature":0}`), compat.Rules{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := keyOf(t, s, m, prompt); ok {
		t.Error("the cache is asked for a completion")
	}
}

func TestQuestion_OfARecipeWithoutTemperatureIsNotRemembered(t *testing.T) {
	m := new(memory)
	s, err := completions.New(completions.Config{Models: []completions.Model{{Name: model, Pool: "main"}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": answering("x", "stop")}, Cache: m})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := keyOf(t, s, m, upload(s, picture(1), "x")); ok {
		t.Error("the cache is asked for a page whose sampling nobody has set")
	}
}

func TestQuestion_OfAnotherFormThanAPageIsItsOwn(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	image := picture(1)
	b64 := base64.StdEncoding.EncodeToString([]byte(image))
	plain := chat(image, "Free OCR.", "")
	want, _ := keyOf(t, s, m, upload(s, image, "Free OCR."))
	seen := map[[32]byte]string{want: "the page"}
	for name, body := range map[string]string{
		"two images":                     strings.Replace(plain, `{"type":"text"`, `{"type":"image_url","image_url":{"url":"data:image/gif;base64,`+b64+`"}},{"type":"text"`, 1),
		"two texts":                      strings.Replace(plain, `{"type":"text"`, `{"type":"text","text":"y"},{"type":"text"`, 1),
		"two messages":                   strings.Replace(plain, `[{"role"`, `[{"role":"system","content":"x"},{"role"`, 1),
		"another role":                   strings.Replace(plain, `"user"`, `"assistant"`, 1),
		"a name in the message":          strings.Replace(plain, `"role":`, `"name":"x","role":`, 1),
		"a role in another case":         strings.Replace(plain, `"role":"user"`, `"role":"assistant","Role":"user"`, 1),
		"content in another case":        strings.Replace(plain, `"role":`, `"Content":[{"type":"text","text":"y"}],"role":`, 1),
		"a placeholder elsewhere":        chat(image, "Free <image>OCR.", ""),
		"a placeholder without its line": chat(image, "<image>Free OCR.", ""),
		"two placeholders":               chat(image, "<image>\n<image>\nFree OCR.", ""),
		"the image's base64 as text":     chat(image, "Free OCR."+b64, ""),
		"a long prompt":                  chat(image, strings.Repeat("x", 1<<17), ""),
		"slashes in escapes":             strings.Replace(plain, b64, `\u00`+"52"+b64[1:], 1), // R: a spelling that is not worth decoding twice
	} {
		for range 2 {
			key, ok := keyOf(t, s, m, client(t, s, body))
			if other := seen[key]; !ok || other != "" && other != name {
				t.Errorf("%s: asked %t, with the key of %q", name, ok, other)
			}
			seen[key] = name
		}
	}
}

func TestQuestion_WithAnImageByURLIsAboutTheImage(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	byURL := func(more, image string) *completions.Request {
		body := `{"model":"` + model + `","messages":[` + more + `{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://example.org/page"}},{"type":"text","text":"Free OCR."}]}]}`
		c, err := compat.Parse(compat.Chat, []byte(body), compat.Rules{MaxImages: 1, MaxN: 1, RemoteImages: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Images[0].MIME, c.Images[0].Raw = "image/gif", []byte(image)
		return &completions.Request{Model: s.Model(model), Client: c, Tenant: "acme", QueueFor: time.Second}
	}
	page, _ := keyOf(t, s, m, upload(s, picture(1), "Free OCR."))
	if got, ok := keyOf(t, s, m, byURL("", picture(1))); !ok || got != page {
		t.Error("it is not the question that the page is")
	}
	first, ok := keyOf(t, s, m, byURL(`{"role":"system","content":"x"},`, picture(1)))
	second, _ := keyOf(t, s, m, byURL(`{"role":"system","content":"x"},`, picture(2)))
	if !ok || first == second {
		t.Error("in a conversation, another image behind the URL is not another question")
	}
}

func TestQuestion_IsTheSameWhereItsImageWasNamedBefore(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	named := client(t, s, chat(picture(1), "Free OCR.", ""))
	sum, err := s.ImageSum(compat.Chat)(named.Client.Images[0].Base64)
	if err != nil {
		t.Fatal(err)
	}
	named.Client.Images[0].Sum = &sum
	got, ok := keyOf(t, s, m, named)
	if want, _ := keyOf(t, s, m, client(t, s, chat(picture(1), "Free OCR.", ""))); !ok || got != want {
		t.Error("it has another key")
	}
	sum[0] ^= 1
	if other, _ := keyOf(t, s, m, named); other == got {
		t.Error("the image is named once more")
	}
}

func TestService_NamesNoImageWhoseTextEndsInTheMiddle(t *testing.T) {
	sum := service(t, answering("x", "stop"), new(memory)).ImageSum(compat.Chat)
	for _, end := range []string{"AA==", "AAA=", "\n\n\n\n"} {
		text := strings.Repeat("A", 16<<10-len(end)) + end
		if _, err := sum([]byte(text + "AAAA")); err == nil {
			t.Errorf("%q after 16 kB, and more behind it: no error", end)
		}
	}
	if _, err := sum(bytes.Repeat([]byte("A"), 16<<10+4)); err != nil {
		t.Errorf("text of the same length: %v", err)
	}
}

func TestService_NamesImagesOnlyWhereAnswersAreRemembered(t *testing.T) {
	for _, d := range []compat.Dialect{compat.Chat, compat.Completions, compat.Responses} {
		if service(t, answering("x", "stop"), nil).ImageSum(d) != nil {
			t.Errorf("dialect %d without a cache: images are named", d)
		}
		if named := service(t, answering("x", "stop"), new(memory)).ImageSum(d) != nil; named != (d == compat.Chat) {
			t.Errorf("dialect %d: images are named: %t", d, named)
		}
	}
}

func TestQuestion_WithoutAnImageIsSharedWhereTheCallerWants(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	for _, c := range []struct {
		more string
		want bool
	}{{"", true}, {`,"temperature":0`, true}, {`,"temperature":1`, false}, {`,"tools":[]`, false}, {`,"n":2`, false}} {
		r := client(t, s, `{"model":"`+model+`","messages":[{"role":"user","content":"x"}]`+c.more+`}`)
		r.Control = completions.UseAlways
		if _, ok := keyOf(t, s, m, r); ok != c.want {
			t.Errorf("%q: asked %t", c.more, ok)
		}
	}
}

func TestQuestion_BelongsToATenantOrAGroup(t *testing.T) {
	m := new(memory)
	s := service(t, answering("x", "stop"), m)
	key := func(tenant, share string) [32]byte {
		r := upload(s, picture(1), "x")
		r.Tenant, r.Share = tenant, share
		key, ok := keyOf(t, s, m, r)
		if !ok {
			t.Fatal("the cache is not asked")
		}
		return key
	}
	if key("a", "") == key("b", "") || key("a", "g") == key("a", "") || key("a", "g") == key("a", "h") || key("a", "") == key("b", "a") {
		t.Error("strangers have the same key")
	}
	if key("a", "g") != key("b", "g") {
		t.Error("a group does not share")
	}
}
