package completions_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"ocrmux/compat"
	"ocrmux/completions"
)

// sent is the body that a backend gets for a client's.
func sent(t *testing.T, maxModelLen int, body string) string {
	t.Helper()
	p := answering("x", "stop")
	p.maxLen = maxModelLen
	s := service(t, p, nil)
	if _, err := s.Whole(t.Context(), client(t, s, body)); err != nil {
		t.Fatal(err)
	}
	return p.body()
}

func TestRecipe_IsAddedInItsOrderWhereTheClientSaysNothing(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]`
	const x = `"vllm_xargs":{"ngram_size":30}`
	for _, c := range []struct{ name, in, want string }{
		{"nothing given", `{"model":"` + model + `",` + messages + `}`, `{"model":"` + served + `",` + messages + `,"temperature":0,"skip_special_tokens":false,` + x + `}`},
		{"one given", `{"model":"` + model + `","skip_special_tokens": true ,` + messages + `}`, `{"model":"` + served + `","skip_special_tokens": true ,` + messages + `,"temperature":0,` + x + `}`},
		{"null is given", `{"model":"` + model + `",` + messages + `,"vllm_xargs":null}`, `{"model":"` + served + `",` + messages + `,"vllm_xargs":null,"temperature":0,"skip_special_tokens":false}`},
		{"a name in escapes", `{"model":"` + model + `",` + messages + `,"temp\u0065rature":0.5}`, `{"model":"` + served + `",` + messages + `,"temp\u0065rature":0.5,"skip_special_tokens":false,` + x + `}`},
		{"by its alias", `{ "model" : "` + alias + `",` + messages + `}`, `{ "model" : "` + served + `",` + messages + `,"temperature":0,"skip_special_tokens":false,` + x + `}`},
	} {
		if got := sent(t, 8192, c.in); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestRecipe_HasNoGreedySamplingForSeveralAnswers(t *testing.T) {
	const body = `{"model":"` + model + `","messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		more string
		want int // times that temperature stands in the body
	}{
		{`,"n":2}`, 0}, // vLLM: n must be 1 when using greedy sampling
		{`,"n":1}`, 1},
		{`,"n":null}`, 1},
		{`,"n":2,"temperature":0.5}`, 1},
	} {
		got := sent(t, 8192, body+c.more)
		if n := strings.Count(got, `"temperature"`); n != c.want {
			t.Errorf("%s: temperature %d times, want %d: %s", c.more, n, c.want, got)
		}
		if !strings.Contains(got, `"skip_special_tokens":false`) {
			t.Errorf("%s: the rest of the recipe is missing: %s", c.more, got)
		}
	}
}

func TestMaxTokens_AreSentOnlyWhereTheContextHasRoomBesideThem(t *testing.T) {
	const body = `{"model":"` + model + `","messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		maxModelLen int
		more        string
		want        bool
	}{
		{0, "}", false}, // not known
		{8192, "}", false},
		{8192 + 1200, "}", false},
		{8192 + 1201, "}", true},
		{32768, `,"max_tokens":5}`, false},
		{32768, `,"max_completion_tokens":5}`, false},
		{32768, `,"max_completion_tokens":null}`, true},
	} {
		got := sent(t, c.maxModelLen, body+c.more)
		if has := strings.Contains(got, `"max_tokens":8192`); has != c.want {
			t.Errorf("context %d, client %s: got %v, want %v: %s", c.maxModelLen, c.more, has, c.want, got)
		}
	}
}

func TestRecipe_IsForChatAlone(t *testing.T) {
	p := answering("x", "stop")
	s := service(t, p, nil)
	const body = `{"model":"` + model + `","prompt":"x"}`
	c, err := compat.Parse(compat.Completions, []byte(body), compat.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Whole(t.Context(), &completions.Request{Model: s.Model(model), Dialect: compat.Completions, Client: c}); err != nil {
		t.Fatal(err)
	}
	if got, want := p.body(), `{"model":"`+served+`","prompt":"x"}`; got != want || p.asked[0].Dialect != compat.Completions {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPage_BecomesTheChatThatItStandsFor(t *testing.T) {
	p := answering("a b c", "stop")
	p.maxLen = 32768
	s := service(t, p, nil)
	image := picture(1)
	a, err := s.Whole(t.Context(), upload(s, image, "Say \"x\"\n\xff"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Text != "a b c" || a.Finish != "stop" || a.Usage.TotalTokens != 10 || a.JSON != nil || a.Receipt.Backend != "gpu0" {
		t.Errorf("got %+v", a)
	}
	want := `{"model":"` + served + `","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/gif;base64,` +
		base64.StdEncoding.EncodeToString([]byte(image)) + `"}},{"type":"text","text":"Say \"x\"\n` + "\ufffd" + `"}]}],"stream":true,"stream_options":{"include_usage":true},` +
		`"temperature":0,"skip_special_tokens":false,"vllm_xargs":{"ngram_size":30},"max_tokens":8192}`
	if p.body() != want {
		t.Errorf("\n got %s\nwant %s", p.body(), want)
	}
	if !json.Valid([]byte(p.body())) || !p.asked[0].Stream || p.asked[0].Model != served {
		t.Errorf("asked %+v", p.asked[0])
	}
}
