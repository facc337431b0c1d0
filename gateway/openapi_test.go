package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ocrmux/backends/sim"
	"ocrmux/gateway"
)

// reference is openapi.json, and what of it has been exercised.
type reference struct {
	t        *testing.T
	doc      map[string]any
	compiler *jsonschema.Compiler
	seen     map[string]bool // pointers of request and response contents
}

func newReference(t *testing.T, document string) *reference {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	must(t, c.AddResource("openapi.json", v))
	return &reference{t: t, doc: v.(map[string]any), compiler: c, seen: map[string]bool{}}
}

// at is what stands at the names, references resolved, and its pointer.
func (r *reference) at(names ...string) (value any, pointer string) {
	value, pointer = r.doc, "#"
	for _, name := range names {
		object, _ := value.(map[string]any)
		value = object[name]
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if object, ok := value.(map[string]any); ok && object["$ref"] != nil {
			return r.at(append(strings.Split(object["$ref"].(string)[2:], "/"), names[slices.Index(names, name)+1:]...)...)
		}
	}
	return value, pointer
}

// holds validates v against the schema at the names.
func (r *reference) holds(what string, v any, names ...string) {
	r.t.Helper()
	schema, pointer := r.at(names...)
	if schema == nil {
		r.t.Errorf("%s: openapi.json has nothing at %v", what, names)
		return
	}
	s, err := r.compiler.Compile("openapi.json" + pointer)
	must(r.t, err)
	if err := s.Validate(v); err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
}

// exchange sends a request, and holds it and its answer to what the reference
// says of the operation at path (the template of the real one).
func (r *reference) exchange(base, method, path, real string, status int, contentType string, body []byte, headers ...string) {
	r.t.Helper()
	what := fmt.Sprintf("%s %s %d", method, path, status)
	operation := []string{"paths", path, strings.ToLower(method)}
	req, err := http.NewRequest(method, base+real, bytes.NewReader(body))
	must(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
		kind, _, err := mime.ParseMediaType(contentType)
		must(r.t, err)
		if status == 200 {
			content := append(slices.Clone(operation), "requestBody", "content", kind)
			r.seen[strings.Join(content, " ")] = true
			if kind == "application/json" {
				r.holds(what+" request", decoded(r.t, body), append(content, "schema")...)
			}
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	must(r.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(r.t, err)
	if res.StatusCode != status {
		r.t.Errorf("%s: got %d %s", what, res.StatusCode, answer)
		return
	}
	response := append(slices.Clone(operation), "responses", fmt.Sprint(status))
	r.headers(what, res.Header, response)
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	must(r.t, err)
	content := append(slices.Clone(response), "content", kind)
	r.seen[strings.Join(content, " ")] = true
	switch kind {
	case "application/json":
		r.holds(what, decoded(r.t, answer), append(content, "schema")...)
	case "text/event-stream":
		for _, event := range strings.Split(strings.TrimSuffix(string(answer), "\n\n"), "\n\n") {
			if _, data, _ := strings.Cut(event, "data: "); data != "[DONE]" {
				r.holds(what, decoded(r.t, []byte(data)), append(content, "x-itemSchema")...)
			}
		}
	default:
		r.holds(what, string(answer), append(content, "schema")...)
	}
}

// headers holds an answer's headers to those that stand in the reference.
func (r *reference) headers(what string, got http.Header, response []string) {
	r.t.Helper()
	if documented, _ := r.at(response...); documented == nil {
		r.t.Errorf("%s is not in openapi.json", what)
		return
	}
	documented, _ := r.at(append(slices.Clone(response), "headers")...)
	names, _ := documented.(map[string]any)
	for name := range names {
		at := append(slices.Clone(response), "headers", name)
		required, _ := r.at(append(at, "required")...)
		switch value := got.Get(name); {
		case value != "":
			r.holds(what+" "+name, value, append(at, "schema")...)
		case required == true:
			r.t.Errorf("%s: no %s", what, name)
		}
	}
}

// unseen lists the contents that no exchange had.
func (r *reference) unseen() (list []string) {
	paths, _ := r.at("paths")
	for path, methods := range paths.(map[string]any) {
		for method, operation := range methods.(map[string]any) {
			at := []string{"paths", path, method}
			list = append(list, r.contents(append(slices.Clone(at), "requestBody"))...)
			for status := range operation.(map[string]any)["responses"].(map[string]any) {
				list = append(list, r.contents(append(slices.Clone(at), "responses", status))...)
			}
		}
	}
	return slices.DeleteFunc(list, func(name string) bool { return r.seen[name] })
}

func (r *reference) contents(at []string) (list []string) {
	content, _ := r.at(append(at, "content")...)
	kinds, _ := content.(map[string]any)
	for kind := range kinds {
		list = append(list, strings.Join(append(slices.Clone(at), "content", kind), " "))
	}
	return list
}

func decoded(t *testing.T, body []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%v: %.300s", err, body)
	}
	return v
}

// referenceKeys has a tenant for each refusal that depends on one.
const referenceKeys = `tenants:
  - name: acme
  - name: anonymous
  - name: hurried
    limits: {requests_per_minute: 1}
  - name: other
    models: [secret-model]
  - name: narrow
    routes: [ocr_batch]
    limits: {in_progress: 9}
    quota: {pages_per_month: 100}
  - name: usual
    limits: {requests_per_minute: 600, images_per_minute: 60, megapixels_per_minute: 600, tokens_per_minute: 100000, in_progress: 9}
    quota: {pages_per_month: 100, tokens_per_month: 100000}
`

func TestOpenAPI_HoldsForLiveAnswersAndNothingInItIsUntried(t *testing.T) {
	w := newWorld(t, setup{keys: referenceKeys, others: []string{"hurried", "other", "narrow", "usual"}, gateway: gateway.Config{
		OpenAI: gateway.OpenAI{MaxBody: 64 << 10}, Legacy: gateway.Legacy{MaxBody: 64 << 10},
	}})
	document := w.do("GET", "/openapi.json", "", nil)
	r := newReference(t, document.body)
	bearer := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	mine, wrong := bearer(w.key), bearer("sk-ocr-nonsense")
	hurried, other := bearer(w.keys["hurried"]), bearer(w.keys["other"])
	narrow, usual := bearer(w.keys["narrow"]), bearer(w.keys["usual"])
	const kind = "application/json"
	large := bytes.Repeat([]byte(" "), 65<<10)

	none := newWorld(t, setup{noBackend: true})
	slow := newWorld(t, setup{gateway: gateway.Config{
		OpenAI: gateway.OpenAI{Timeout: 50 * time.Millisecond}, Legacy: gateway.Legacy{Timeout: 50 * time.Millisecond},
	}})
	must(t, slow.sims[0].SetFaults(sim.Faults{Hang: true}))
	broken := newWorld(t, setup{})
	must(t, broken.sims[0].SetFaults(sim.Faults{ErrorRate: 1}))

	for path, body := range map[string]string{
		"/v1/chat/completions": chatBody(page(1), `,"temperature":0,"n":1`),
		"/v1/completions":      fmt.Sprintf(`{"model":%q,"prompt":"x","max_tokens":5}`, model),
		"/v1/responses":        responseBody(page(1), `,"max_output_tokens":5`),
	} {
		post := func(world *world, status int, body string, headers ...string) {
			t.Helper()
			r.exchange(world.url, "POST", path, path, status, kind, []byte(body), headers...)
		}
		post(w, 200, body, mine...)
		post(w, 200, strings.TrimSuffix(body, "}")+`,"stream":true}`, mine...)
		post(w, 400, `{"model":7}`, mine...)
		post(w, 401, body)
		post(w, 401, body, wrong...)
		post(w, 403, body, narrow...)
		post(w, 404, strings.Replace(strings.Replace(body, model, "nobody", 1), `"deepseek-ocr"`, `"nobody"`, 1), mine...)
		post(w, 413, string(large), mine...)
		post(w, 415, body, append(slices.Clone(mine), "Content-Encoding", "gzip")...)
		w.do("POST", path, kind, strings.NewReader(body), hurried...)
		post(w, 429, body, hurried...)
		post(broken, 502, body, bearer(broken.key)...)
		post(none, 503, body, bearer(none.key)...)
		post(slow, 504, body, bearer(slow.key)...)
	}
	r.exchange(w.url, "POST", "/v1/chat/completions", "/v1/chat/completions", 200, kind,
		[]byte(chatBody(page(1), `,"stream":true,"stream_options":{"include_usage":true}`)), mine...)
	for method, path := range map[string]string{"GET": "/v1/responses/{id}", "DELETE": "/v1/responses/{id}", "POST": "/v1/responses/{id}/cancel", "GET ": "/v1/responses/{id}/input_items"} {
		method, real := strings.TrimSpace(method), strings.Replace(path, "{id}", "resp_1", 1)
		r.exchange(w.url, method, path, real, 404, "", nil, mine...)
		r.exchange(w.url, method, path, real, 401, "", nil)
		r.exchange(w.url, method, path, real, 403, "", nil, narrow...)
	}
	get := func(base, path, real string, status int, headers ...string) {
		t.Helper()
		r.exchange(base, "GET", path, real, status, "", nil, headers...)
	}
	get(w.url, "/v1/models", "/v1/models", 200, mine...)
	get(w.url, "/v1/models", "/v1/models", 401, wrong...)
	get(w.url, "/v1/models", "/v1/models", 429, hurried...)
	get(w.url, "/v1/models/{id}", "/v1/models/"+model, 200, mine...)
	get(w.url, "/v1/models/{id}", "/v1/models/nobody", 404, mine...)
	get(w.url, "/v1/models", "/v1/models", 403, narrow...)
	get(w.url, "/v1/models/{id}", "/v1/models/"+model, 401)
	get(w.url, "/v1/models/{id}", "/v1/models/"+model, 403, narrow...)
	w.do("POST", "/v1/chat/completions", kind, strings.NewReader(chatBody(page(3), "")), usual...)
	get(w.url, "/v1/usage", "/v1/usage", 200, usual...)
	get(w.url, "/v1/usage", "/v1/usage", 401, wrong...)
	get(w.url, "/v1/usage", "/v1/usage", 403, narrow...)
	get(w.url, "/v1/usage", "/v1/usage", 429, hurried...)

	ocr := func(world *world, path string, status int, values []string, file []byte, headers ...string) {
		t.Helper()
		contentType, body := upload(t, map[string]string{"/ocr": "file", "/ocr/batch": "files"}[path], [][]byte{file}, values...)
		r.exchange(world.url, "POST", path, path, status, contentType, body, headers...)
	}
	for _, path := range []string{"/ocr", "/ocr/batch"} {
		ocr(w, path, 200, []string{"prompt", "<|grounding|>Free OCR.", "format", "json"}, page(2))
		ocr(w, path, 200, []string{"format", "markdown"}, page(2), mine...)
		ocr(w, path, 400, []string{"format", "poem"}, page(2))
		ocr(w, path, 401, nil, page(2), "X-API-Key", "sk-ocr-nonsense")
		ocr(w, path, 413, nil, large)
	}
	ocr(w, "/ocr/batch", 200, nil, []byte("no image"))
	ocr(w, "/ocr", 403, nil, page(2), other...)
	ocr(w, "/ocr", 404, []string{"model", "nobody"}, page(2))
	ocr(w, "/ocr", 415, nil, page(2), "Content-Encoding", "gzip")
	ocr(w, "/ocr", 429, nil, page(2), hurried...)
	ocr(w, "/ocr", 500, nil, []byte("no image"))
	ocr(none, "/ocr", 503, nil, page(2))
	image, err := json.Marshal(map[string]any{"image": page(2), "format": "text", "prompt": "Free OCR."})
	must(t, err)
	r.exchange(w.url, "POST", "/ocr", "/ocr", 200, kind, image)

	for _, path := range []string{"/health", "/readyz"} {
		get(w.url, path, path, 200)
		get(none.url, path, path, 503)
	}
	for _, path := range []string{"/", "/docs", "/openapi.json", "/livez"} {
		get(w.url, path, path, 200)
	}
	if list := r.unseen(); len(list) > 0 {
		slices.Sort(list)
		t.Errorf("nothing here tries\n%s", strings.Join(list, "\n"))
	}
}

// Every route is in the reference under its name, and the other way round.
func TestOpenAPI_HasEveryRoute(t *testing.T) {
	w := newWorld(t, setup{})
	r := newReference(t, w.do("GET", "/openapi.json", "", nil).body)
	documented := map[string]bool{}
	paths, _ := r.at("paths")
	for _, methods := range paths.(map[string]any) {
		for _, operation := range methods.(map[string]any) {
			if name, ok := operation.(map[string]any)["x-route"].(string); ok {
				documented[name] = true
			}
		}
	}
	files, err := filepath.Glob("*.go")
	must(t, err)
	routed := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		must(t, err)
		for _, m := range regexp.MustCompile(`s\.named\(x, "(\w+)"`).FindAllSubmatch(source, -1) {
			routed[string(m[1])] = true
		}
	}
	if !maps.Equal(documented, routed) || len(routed) < 12 {
		t.Errorf("openapi.json has %v, the gateway routes %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(routed)))
	}
}

func TestDocs_NeedNothingFromElsewhere(t *testing.T) {
	w := newWorld(t, setup{})
	r := w.do("GET", "/docs", "", nil)
	index := w.do("GET", "/", "", nil)
	if csp := r.header.Get("Content-Security-Policy"); csp == "" || csp != index.header.Get("Content-Security-Policy") {
		t.Errorf("its policy is %q", csp)
	}
	if regexp.MustCompile(`(?i)https?://|src=|@import|url\(|innerHTML`).MatchString(r.body) || !strings.Contains(r.body, `fetch("openapi.json")`) {
		t.Error("it loads more than openapi.json")
	}
}
