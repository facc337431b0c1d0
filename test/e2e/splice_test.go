package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"ocrmux/test/stand"
)

// What the router may write itself: the model's own name, how the answer comes,
// and recipe keys that the client left out.
var routersOwn = []string{"model", "stream", "stream_options"}

// Whatever valid body a client sends, the backend gets every value of it byte by
// byte and in the client's order, but for the router's own.
func TestBodies_ReachTheBackendByteByByteButForTheRoutersOwnKeys(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-tokens", "1", "-ttft", "1us"}, Config: noCache})
	const bodies = 300
	seed := rand.Uint64()
	t.Logf("bodies of seed %d", seed)
	random := bodyWriter{rand.New(rand.NewPCG(seed, 0))}
	var sent [][]byte
	for number := range bodies {
		body := random.body(number)
		post(t, s, body)
		sent = append(sent, body)
	}
	received := s.Backends[0].Requests(t)
	if len(received) != bodies {
		t.Fatalf("%d bodies arrived of %d", len(received), bodies)
	}
	for number, body := range sent {
		if difference := compareBodies(t, body, received[number].Body); difference != "" {
			t.Errorf("body %d: %s\nsent     %.600s\nreceived %.600s", number, difference, body, received[number].Body)
		}
	}
}

func TestBodies_ThatDifferAreFound(t *testing.T) {
	sent := []byte(`{"model":"m", "a":1.0, "b":{"c":null},"messages":[]}`)
	for received, want := range map[string]string{
		`{"model":"other","a":1.0,"b":{"c":null},"messages":[],"temperature":0}`: "",
		`{"model":"m","a":1,"b":{"c":null},"messages":[]}`:                       "a is 1, want 1.0",
		`{"model":"m","b":{"c":null},"a":1.0,"messages":[]}`:                     `b is {"c":null}, want a 1.0`,
		`{"model":"m","a":1.0,"b":{"c":null}}`:                                   "messages is missing",
		`{"model":"m","a":1.0,"b":{ "c":null},"messages":[]}`:                    `b is { "c":null}, want {"c":null}`,
		`{"model":"m","a":1.0,"b":{"c":null},"messages":[],"x":1}`:               "x was added",
	} {
		if got := compareBodies(t, sent, []byte(received)); got != want {
			t.Errorf("%s: %q, want %q", received, got, want)
		}
	}
}

func post(t *testing.T, s *stand.Stand, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Routers[0].URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.Key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s %v\n%s", answer.Status, said, err, body)
	}
}

type member struct{ name, value string }

// readMembers lists an object's members in order, their values as they stand.
func readMembers(t *testing.T, body []byte) (list []member) {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := d.ReadToken(); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		known := name.String()
		value, err := d.ReadValue()
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		list = append(list, member{known, string(value)})
	}
	return list
}

// compareBodies says where received is not what may become of sent.
func compareBodies(t *testing.T, sent, received []byte) string {
	t.Helper()
	own := func(m member) bool { return slices.Contains(routersOwn, m.name) }
	want := slices.DeleteFunc(readMembers(t, sent), own)
	got := slices.DeleteFunc(readMembers(t, received), own)
	for i, m := range want {
		switch {
		case i >= len(got):
			return m.name + " is missing"
		case got[i].name != m.name:
			return fmt.Sprintf("%s is %s, want %s %s", got[i].name, got[i].value, m.name, m.value)
		case got[i].value != m.value:
			return fmt.Sprintf("%s is %s, want %s", m.name, got[i].value, m.value)
		}
	}
	for _, m := range got[len(want):] {
		if !slices.Contains([]string{"temperature", "skip_special_tokens", "vllm_xargs"}, m.name) {
			return m.name + " was added"
		}
	}
	return ""
}

// bodyWriter writes valid bodies of every shape.
type bodyWriter struct{ *rand.Rand }

func (w bodyWriter) body(number int) []byte {
	members := []string{
		w.key("model") + ":" + w.space() + w.pick(`"deepseek-ai/DeepSeek-OCR"`, `"deepseek-ocr"`, `"deepseek-ai\/DeepSeek-OCR"`, `"deepseek\u002docr"`),
		w.key("messages") + `:[{"role":"user",` + w.space() + `"content":` + w.pick(
			w.string(), `[{"type":"text","text":`+w.string()+`}`+w.space()+`]`, `null`) + `}]`,
	}
	for i := range w.IntN(8) {
		members = append(members, w.key(fmt.Sprintf("x%d_%d", number, i))+w.space()+":"+w.value(4))
	}
	for _, known := range []string{
		`"stream":` + w.pick("true", "false", "null"), `"temperature":` + w.pick("0", "0.0", "0e3", "0.70", "null"),
		`"skip_special_tokens":` + w.pick("true", "false", "null"), `"vllm_xargs":` + w.pick(`{}`, `{"ngram_size": 12}`),
		`"seed":` + w.pick("7", "null"), `"user":` + w.string(), `"stop":` + w.pick(`"§"`, `["§",  "¶"]`, "null"),
	} {
		if w.IntN(3) == 0 {
			members = append(members, known)
		}
	}
	w.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return []byte(w.space() + "{" + w.space() + strings.Join(members, w.space()+","+w.space()) + "}" + w.space())
}

func (w bodyWriter) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w bodyWriter) space() string { return w.pick("", "", "", " ", "\n\t", "\r\n  ") }

// key writes a name, now and then with one of its characters escaped.
func (w bodyWriter) key(name string) string {
	if w.IntN(4) > 0 {
		return `"` + name + `"`
	}
	at := w.IntN(len(name))
	return fmt.Sprintf(`"%s\u%04x%s"`, name[:at], name[at], name[at+1:])
}

func (w bodyWriter) string() string {
	var b strings.Builder
	for range w.IntN(6) {
		b.WriteString(w.pick(`a`, `\"`, `\\`, `\/`, `\u00e9`, `é`, `中文`, `\ud83d\ude00`, `😀`, `\n`, `\u0000`, "\u2028", `data:image/png`, `}`, `]`, `{\"`, ` `))
	}
	return `"` + b.String() + `"`
}

func (w bodyWriter) number() string {
	return w.pick("0", "-0", "-0.0", "1E400", "-1e-400", "12345678901234567890123", "0.1000", "1e+05", "9007199254740993", "3.14159265358979323846")
}

func (w bodyWriter) value(depth int) string {
	kind := w.IntN(7)
	if depth == 0 {
		kind = w.IntN(5)
	}
	switch kind {
	case 0:
		return w.number()
	case 1, 2:
		return w.string()
	case 3:
		return w.pick("true", "false")
	case 4:
		return "null"
	case 5:
		items := make([]string, w.IntN(4))
		for i := range items {
			items[i] = w.space() + w.value(depth-1)
		}
		return "[" + strings.Join(items, w.space()+",") + w.space() + "]"
	default:
		items := make([]string, w.IntN(4))
		for i := range items {
			items[i] = w.space() + w.key(fmt.Sprintf("k%d", i)) + ":" + w.value(depth-1)
		}
		return "{" + strings.Join(items, ",") + w.space() + "}"
	}
}

// The bodies are what they should be: JSON, and now and then with everything.
func TestBodies_AreValidAndVaried(t *testing.T) {
	random := bodyWriter{rand.New(rand.NewPCG(1, 1))}
	var all []byte
	for number := range 100 {
		body := random.body(number)
		if !json.Valid(body) || !jsontext.Value(body).IsValid() {
			t.Errorf("not JSON: %s", body)
		}
		all = append(all, body...)
	}
	for _, part := range []string{"1E400", `\ud83d\ude00`, "中文", "null", `\u0000`, "[]", "{}", "\r\n", `"skip_special_tokens":true`, "9007199254740993"} {
		if !bytes.Contains(all, []byte(part)) {
			t.Errorf("no body has %q", part)
		}
	}
}
