package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"ocrmux/backends/sim"
	"ocrmux/test/stand"
)

var (
	mutations = flag.Int("mutations", 150, "mutations for each profile")
	seed      = flag.Uint64("seed", 1, "what they follow from")
)

func TestMutation_FollowsFromItsSeedAlone(t *testing.T) {
	nowhere := target{host: "h"}
	wire := func(seed, n uint64) string { return string(bytes.Join(*nowhere.bytes(mutation(seed, n).request), nil)) }
	different := 0
	for n := range uint64(300) {
		first := wire(7, n)
		if wire(7, n) != first {
			t.Fatalf("mutation %d is another one the second time", n)
		}
		if wire(8, n) != first {
			different++
		}
	}
	if different < 280 {
		t.Errorf("of 300 mutations only %d change with the seed", different)
	}
}

// Each pair is what two services might answer to one request.
func TestAnswers_DifferInWhatACallerCanTell(t *testing.T) {
	const read = `{"gpu_memory":{"available":false,"free_mb":0,"total_mb":0,"usage_percent":0,"used_mb":0},"image_path":"uploads/20251110_123456_a.png","processing_time":1.25,"text":"a"}`
	with := func(old, new string) string { return strings.Replace(read, old, new, 1) }
	tests := []struct {
		name     string
		old, new string
		same     bool
	}{
		{"nothing", read, read, true},
		{"the time", read, with("20251110_123456", "20261122_010203"), true},
		{"the file's name", read, with("_a.png", "_b.png"), false},
		{"the form of the path", read, with("20251110_123456", "20251110123456"), false},
		{"how long it took", read, with("1.25", "300.0"), true},
		{"how it is rounded", read, with("1.25", "1.251"), false},
		{"a time that is no fraction", read, with("1.25", "1"), false},
		{"a GPU's memory", read, with(`"available":false,"free_mb":0`, `"available":true,"free_mb":222.19`), true},
		{"a GPU's keys", read, with("free_mb", "free"), false},
		{"the text", read, with(`"a"`, `"b"`), false},
		{"the last line feed", read, read + "\n", false},
		{"blanks between keys", read, with(`,"text"`, `, "text"`), false},
		{"letters not escaped", `{"error":"\u6a94"}`, `{"error":"檔"}`, false},
		{"the reason of an exception", ascii(`{"error":"OCR 處理發生錯誤: CUDA \"1\"","x":1}`), ascii(`{"error":"OCR 處理發生錯誤: 發","x":1}`), true},
		{"what follows the reason", ascii(`{"error":"OCR 處理發生錯誤: CUDA \"1\"","x":1}`), ascii(`{"error":"OCR 處理發生錯誤: 發","x":2}`), false},
		{"the order of types", ascii(`{"error":"允許的類型: png, gif"}`), ascii(`{"error":"允許的類型: gif, png"}`), true},
		{"the set of types", ascii(`{"error":"允許的類型: png, gif"}`), ascii(`{"error":"允許的類型: gif, png, bmp"}`), false},
		{"a moment without microseconds", `{"timestamp":"2025-11-10T12:34:56.789012"}`, `{"timestamp":"2025-11-10T12:34:56"}`, true},
		{"a moment with a zone", `{"timestamp":"2025-11-10T12:34:56.789012"}`, `{"timestamp":"2025-11-10T12:34:56.789012Z"}`, false},
	}
	for _, test := range tests {
		var o options
		old, new := o.mask(answer{200, []string{typeJSON}, test.old}), o.mask(answer{200, []string{typeJSON}, test.new})
		if got := old.equal(new); got != test.same {
			t.Errorf("%s: got equal %v\nold %s\nnew %s", test.name, got, old, new)
		}
	}
}

func TestRun_PrintsStatusHeadersAndBodiesThatDiffer(t *testing.T) {
	serve := func(status int, header, body string) target {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("X-Request-Id", header)
			w.Header().Set("Vary", header)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return mustTarget(t, s.URL)
	}
	old := serve(200, "a", "text")
	for name, new := range map[string]target{"status": serve(201, "a", "text"), "header": serve(200, "b", "text"), "body": serve(200, "a", "Text")} {
		var out bytes.Buffer
		differences, err := options{old: old, new: new, profile: app, mutations: 5}.run(&out)
		// All requests but the HEADs, of which only bodies differ.
		if err != nil || differences < 100 || strings.Count(out.String(), "\n  new ") != differences {
			t.Errorf("%s: got %d differences, %v", name, differences, err)
		}
	}
	var out bytes.Buffer
	if differences, err := (options{old: old, new: old, profile: app, mutations: 5}).run(&out); err != nil || differences != 0 {
		t.Errorf("a service differs from itself: %d, %v\n%s", differences, err, out.String())
	}
	if _, err := (options{old: old, new: serve(401, "a", "text")}).run(io.Discard); err == nil || !strings.Contains(err.Error(), "-key") {
		t.Errorf("got %v for a router that asks for a key, want advice", err)
	}
	if _, err := (options{old: old, new: target{address: stand.FreeAddress(t)}}).run(io.Discard); err == nil {
		t.Error("no error for a service that is not there")
	}
}

// stub writes the text that a picture carries, and nothing else. An image that
// is torn is refused before, as vLLM does.
type stub struct{}

func (stub) Read(_ context.Context, page sim.Page) (sim.Text, error) {
	text, ok := comment(page.Image)
	if !ok {
		text = uncommented
	}
	return sim.Text{Content: text}, nil
}

// serveModel is the one model that the router and the reference ask.
func serveModel(t *testing.T) string {
	model := httptest.NewServer(sim.New(sim.Config{Engine: stub{}, Timing: &sim.Timing{}, MaxModelLen: 1 << 20}).Handler())
	t.Cleanup(model.Close)
	return model.URL
}

// open lets everybody in, without limits.
const open = "tenants:\n  - name: development\n  - name: anonymous\n"

func startRouter(t *testing.T, p profile, model string) target {
	t.Helper()
	s := stand.New(t, stand.Options{
		Others: []string{model},
		Keys:   open,
		Config: "legacy: {profile: " + string(p) + "}",
	})
	return mustTarget(t, s.Routers[0].URL)
}

func startReference(t *testing.T, p profile, model string) target {
	t.Helper()
	if out, err := exec.Command("reference/install").CombinedOutput(); err != nil {
		t.Fatalf("reference/install: %v\n%s", err, out)
	}
	address := stand.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	stand.Start(t, "reference", "reference/.venv/bin/python", "reference/service.py", string(p), port, model)
	stand.WaitFor(t, "http://"+address+"/health")
	return mustTarget(t, "http://"+address)
}

func mustTarget(t *testing.T, url string) target {
	t.Helper()
	target, err := newTarget(url, "")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestRouter_AnswersAsTheReferenceDoes(t *testing.T) {
	for _, p := range []profile{app, standard} {
		t.Run(string(p), func(t *testing.T) {
			model := serveModel(t)
			var out bytes.Buffer
			o := options{old: startReference(t, p, model), new: startRouter(t, p, model), profile: p, mutations: *mutations, seed: *seed, stub: true}
			differences, err := o.run(&out)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:])
			if differences > 0 {
				t.Errorf("\n%s", out.String())
			}
		})
	}
}

func TestEveryRowOfTheContractIsAnsweredAsItSays(t *testing.T) {
	for _, p := range []profile{union, app, standard} {
		t.Run("router/"+string(p), func(t *testing.T) { checkRows(t, p, startRouter(t, p, serveModel(t))) })
	}
	for _, p := range []profile{app, standard} {
		t.Run("reference/"+string(p), func(t *testing.T) { checkRows(t, p, startReference(t, p, serveModel(t))) })
	}
}

func checkRows(t *testing.T, p profile, at target) {
	t.Helper()
	for _, r := range corpus() {
		if got, want := (options{}).masked(at, r.request), r.want(p); !got.equal(want) {
			t.Errorf("%s: %s %s\n got %s\nwant %s", r.name, r.method, r.target, got, want)
		}
	}
}
