package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends/sim"
)

// rewrite puts another configuration into the house's file.
func (h *house) rewrite(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// edit replaces something in it.
func (h *house) edit(old, new string) {
	h.t.Helper()
	text := h.text()
	if !strings.Contains(text, old) {
		h.t.Fatalf("no %q in\n%s", old, text)
	}
	h.rewrite(strings.Replace(text, old, new, 1))
}

// text is what the file holds.
func (h *house) text() string {
	h.t.Helper()
	text, err := os.ReadFile(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// goOn lets the backend end the stream of begin, and reads its rest.
func (h *house) goOn(body io.Reader) {
	h.t.Helper()
	if err := h.sim.SetFaults(sim.Faults{}); err != nil {
		h.t.Fatal(err)
	}
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) || bytes.Contains(rest, []byte(`"error"`)) {
		h.t.Errorf("the stream ends %v: %s", err, rest)
	}
}

func (h *house) reload() Report {
	h.t.Helper()
	r, err := h.rooms.Reload(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// ask sends a chat for a model.
func (h *house) ask(model string) *http.Response {
	h.t.Helper()
	request, err := http.NewRequest("POST", h.url+"/v1/chat/completions", strings.NewReader(strings.Replace(onePage(false), "page", model, 1)))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.key)
	request.Header.Set("Cache-Control", "no-cache")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response
}

// metric is a line of /metrics without its name and labels; "" where there is none.
func (h *house) metric(name string) string {
	h.t.Helper()
	response, err := http.Get(h.admin + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.*)$`).FindSubmatch(text)
	if found == nil {
		return ""
	}
	return string(found[1])
}

func (h *house) stop() {
	h.t.Helper()
	h.signals <- syscall.SIGTERM
	if err := <-h.stopped; err != nil {
		h.t.Errorf("stopped with %v", err)
	}
}

func TestReload_AtSIGHUP(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.edit("pool: main", "pool: main, aliases: [sheet]")
	if got := h.ask("sheet").StatusCode; got != http.StatusNotFound {
		t.Fatalf("before: %d", got)
	}
	h.signals <- syscall.SIGHUP
	h.eventually("reloaded", func() bool { return h.ask("sheet").StatusCode == http.StatusOK })
	if !strings.Contains(h.log.String(), `"changed":["models.page.aliases"]`) {
		t.Errorf("the log does not say what changed:\n%s", h.log)
	}
	h.stop()
}

func TestReload_WhenTheFileHasChangedAndABrokenOneChangesNothing(t *testing.T) {
	h := newHouse(t, 5*time.Millisecond)
	h.edit("pool: main", "pool: main, aliases: [sheet]")
	h.eventually("reloaded", func() bool { return h.ask("sheet").StatusCode == http.StatusOK })

	h.edit("pool: main, aliases: [sheet]", "pool: nowhere")
	h.eventually("refused", func() bool { return h.metric("ocrmux_config_valid") == "0" })
	if got := h.ask("sheet").StatusCode; got != http.StatusOK {
		t.Errorf("with a broken file: %d", got)
	}
	want := `"file":"` + h.path + `","line":6,"key":"models.page.pool","error":"must name one of the pools"`
	if !strings.Contains(h.log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, h.log)
	}
	if err := h.rooms.configError(); err == nil || !strings.Contains(err.Error(), "models.page.pool") {
		t.Errorf("told: %v", err)
	}

	h.edit("pool: nowhere", "pool: main, aliases: [leaf]")
	h.eventually("reloaded", func() bool { return h.ask("leaf").StatusCode == http.StatusOK })
	if got := h.ask("sheet").StatusCode; got != http.StatusNotFound {
		t.Errorf("a name that is gone: %d", got)
	}
	for result, want := range map[string]string{applied: "2", refused: "1", unchanged: "0"} {
		if got := h.metric(`ocrmux_config_reloads_total{result="` + result + `"}`); got != want {
			t.Errorf("%s: %s times, want %s", result, got, want)
		}
	}
	if got := h.metric("ocrmux_config_valid"); got != "1" || h.rooms.configError() != nil {
		t.Errorf("valid is %s, %v", got, h.rooms.configError())
	}
	h.stop()
}

// operate sends a request with the operators' token.
func (h *house) operate(method, path string) (status int, body string) {
	h.t.Helper()
	request, err := http.NewRequest(method, h.admin+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer 0123456789abcdef0123456789abcdef")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestReload_ByTheOperatorsAPIIsAnsweredWithWhatCameOfIt(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.edit("pool: main", "pool: main, aliases: [sheet]")
	h.edit("http: {", "http: {listen: \"127.0.0.1:1\", ")
	var report Report
	status, body := h.operate("POST", "/admin/reload")
	if err := json.Unmarshal([]byte(body), &report); err != nil || status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	if want := (Report{Changed: []string{"models.page.aliases"}, Unchangeable: []string{"http.listen"}}); !reflect.DeepEqual(report, want) {
		t.Errorf("got %s", body)
	}
	if status, body := h.operate("GET", "/admin/config"); status != http.StatusOK || !strings.Contains(body, `"sheet"`) || strings.Contains(body, "127.0.0.1:1\"") {
		t.Errorf("in force: %d %s", status, body)
	}
	h.edit("pool: main, aliases: [sheet]", "pool: nowhere, alias: [sheet]")
	h.edit("drain: 30s", "drain: 30")
	status, body = h.operate("POST", "/admin/reload")
	for _, want := range []string{`http.drain: \"30\" is not a duration`, "models.page.alias: unknown key"} {
		if status != http.StatusBadRequest || strings.Count(body, want) != 2 { // in the message, and in the list
			t.Errorf("%d, without %s: %s", status, want, body)
		}
	}
	h.stop()
}

func TestReload_AFileThatIsGoneChangesNothing(t *testing.T) {
	h := newHouse(t, 5*time.Millisecond)
	if err := os.Rename(h.path, h.path+".away"); err != nil {
		t.Fatal(err)
	}
	h.eventually("refused", func() bool { return h.metric("ocrmux_config_valid") == "0" })
	if got := h.ask("page").StatusCode; got != http.StatusOK {
		t.Errorf("without a file: %d", got)
	}
	if err := os.Rename(h.path+".away", h.path); err != nil {
		t.Fatal(err)
	}
	h.eventually("well again", func() bool { return h.metric("ocrmux_config_valid") == "1" })
	h.stop()
}

func TestReload_NamesWhatTakesARestartAndKeepsIt(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.edit("http: {lame_duck: 1ms,", "log: {format: text, level: warn}\nusage: {journal: x}\nhttp: {lame_duck: 2ms, listen: \"127.0.0.1:1\", idle_timeout: 1s, tls: {cert_file: a, key_file: b},")
	h.edit("keys: {pepper_file: pepper}", "keys: {pepper_file: pepper, file: other.yaml}")
	want := Report{
		Changed:      []string{"http.lame_duck", "log.level"},
		Unchangeable: []string{"http.listen", "http.tls.cert_file", "http.tls.key_file", "http.idle_timeout", "log.format", "keys.file", "usage.journal"},
	}
	if got := h.reload(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !strings.Contains(h.log.String(), `"settings":["http.listen",`) {
		t.Errorf("the log does not name them:\n%s", h.log)
	}
	want.Changed = []string{} // what takes a restart still does
	if got := h.reload(); !reflect.DeepEqual(got, want) {
		t.Errorf("again: got %+v", got)
	}
	if c := h.rooms.config(); c.Keys.File != "keys.yaml" || c.Log.Format != "json" || c.HTTP.LameDuck != 2*time.Millisecond {
		t.Errorf("in force: %+v %+v %+v", c.Keys, c.Log, c.HTTP)
	}
	h.stop()
}

func TestReload_SettingsOfEveryRoomAreInForceAtOnce(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(limit)
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	h := newHouse(t, time.Hour)
	h.edit("models:", "memory: {bodies: 16MiB}\ncache: {max_bytes: 0}\nlog: {level: debug}\nimages: {fetch: true}\nlimits: {routes: {chat: {requests_per_minute: 2}}}\nmodels:")
	got := h.reload()
	if want := []string{"log.level", "limits.routes.chat", "memory.bodies", "cache.max_bytes", "images.fetch"}; !reflect.DeepEqual(got.Changed, want) {
		t.Errorf("changed %q, want %q", got.Changed, want)
	}
	for range 2 {
		if r := h.ask("page"); r.StatusCode != http.StatusOK || r.Header.Get("x-ocrmux-cache") != "bypass" {
			t.Errorf("got %d, cache %s", r.StatusCode, r.Header.Get("x-ocrmux-cache"))
		}
	}
	if got := h.ask("page").StatusCode; got != http.StatusTooManyRequests && got != http.StatusServiceUnavailable {
		t.Errorf("above the new ceiling: %d", got)
	}
	if got := h.metric("ocrmux_body_memory_limit_bytes"); got != "1.2582912e+07" { // three quarters, as images are fetched
		t.Errorf("memory for bodies is %s", got)
	}
	if got := debug.SetMemoryLimit(-1); got != 82<<20 {
		t.Errorf("GOMEMLIMIT is %d", got)
	}
	if got := h.metric("ocrmux_image_fetch_duration_seconds_count"); got != "0" {
		t.Errorf("fetches: %q", got)
	}
	h.edit("images: {fetch: true}", "images: {fetch: true, timeout: 3s}")
	h.reload()
	h.edit("images: {fetch: true, timeout: 3s}", "")
	h.reload()
	if got := h.metric("ocrmux_image_fetch_duration_seconds_count"); got != "" {
		t.Errorf("nothing is fetched, and fetches are %q", got)
	}
	h.stop()
}

func TestReload_AStreamOutlivesThePoolThatServesIt(t *testing.T) {
	h := newHouse(t, time.Hour)
	_, gpu1 := standIn(t)
	response, body := h.begin()
	defer response.Body.Close()

	before := h.text()
	h.rewrite(houseConfig("pools: {spare: {backends: [{name: gpu1, url: "+gpu1+"}]}}", "pool: spare"))
	want := []string{"pools.main", "pools.spare", "models.page.pool"}
	if got := h.reload(); !reflect.DeepEqual(got.Changed, want) {
		t.Errorf("changed %q", got.Changed)
	}
	if r := h.ask("page"); r.StatusCode != http.StatusOK || r.Header.Get("x-ocrmux-backend") != "gpu1" {
		t.Errorf("a new request: %d from %q", r.StatusCode, r.Header.Get("x-ocrmux-backend"))
	}
	h.goOn(body)
	h.eventually("gone with its last request", func() bool {
		return h.metric(`ocrmux_backend_up{backend="gpu0",pool="main"}`) == ""
	})
	if strings.Contains(h.log.String(), "is left while") {
		t.Errorf("it was not waited for:\n%s", h.log)
	}
	h.rewrite(before)
	h.reload()
	if r := h.ask("page"); r.StatusCode != http.StatusOK || r.Header.Get("x-ocrmux-backend") != "gpu0" {
		t.Errorf("a pool that is new again: %d from %q", r.StatusCode, r.Header.Get("x-ocrmux-backend"))
	}
	h.stop()
}

func TestReload_AStreamOutlivesItsBackendInAPoolThatStays(t *testing.T) {
	h := newHouse(t, time.Hour)
	_, gpu1 := standIn(t)
	response, body := h.begin()
	defer response.Body.Close()
	h.edit("[{name: gpu0", "[{name: gpu1, url: "+gpu1+"}, {name: gpu0")
	h.reload()
	h.eventually("joined by the new backend", func() bool { return h.metric(`ocrmux_backend_up{backend="gpu1",pool="main"}`) == "1" })
	if got := h.metric(`ocrmux_backend_up{backend="gpu0",pool="main"}`); got != "1" {
		t.Errorf("the one that was there is up: %q", got)
	}
	h.rewrite(houseConfig("pools: {main: {backends: [{name: gpu1, url: "+gpu1+"}], health: {interval: 20ms}}}", ""))
	if got, want := h.reload(), []string{"pools.main.backends"}; !reflect.DeepEqual(got.Changed, want) {
		t.Errorf("changed %q", got.Changed)
	}
	if r := h.ask("page"); r.StatusCode != http.StatusOK || r.Header.Get("x-ocrmux-backend") != "gpu1" {
		t.Errorf("a new request: %d from %q", r.StatusCode, r.Header.Get("x-ocrmux-backend"))
	}
	h.goOn(body)
	h.eventually("gone with its last request", func() bool {
		return h.metric(`ocrmux_backend_in_flight{backend="gpu0",pool="main"}`) == ""
	})
	h.stop()
}

func TestReload_APoolThatIsWantedAgainIsTheSame(t *testing.T) {
	h := newHouse(t, time.Hour)
	_, gpu1 := standIn(t)
	response, body := h.begin()
	defer response.Body.Close()
	before := h.text()
	for range 2 {
		h.rewrite(houseConfig("pools: {spare: {backends: [{name: gpu1, url: "+gpu1+"}]}}", "pool: spare"))
		h.reload()
		h.rewrite(before)
		h.reload()
	}
	if got := h.metric(`ocrmux_backend_in_flight{backend="gpu0",pool="main"}`); got != "1" {
		t.Errorf("in flight: %q", got)
	}
	h.goOn(body)
	h.eventually("without the spare pool, which nobody uses", func() bool {
		return h.metric(`ocrmux_backend_up{backend="gpu1",pool="spare"}`) == ""
	})
	if r := h.ask("page"); r.StatusCode != http.StatusOK || r.Header.Get("x-ocrmux-backend") != "gpu0" {
		t.Errorf("got %d from %q", r.StatusCode, r.Header.Get("x-ocrmux-backend"))
	}
	h.stop()
	if strings.Count(h.log.String(), "has stopped") != 1 {
		t.Errorf("the log has:\n%s", h.log)
	}
}

func TestReload_APoolThatGoesIsNotWaitedForBeyondTheDrainTime(t *testing.T) {
	h := newHouse(t, time.Hour)
	_, gpu1 := standIn(t)
	response, _ := h.begin()
	defer response.Body.Close()
	h.rewrite(strings.Replace(houseConfig("pools: {spare: {backends: [{name: gpu1, url: "+gpu1+"}]}}", "pool: spare"), "drain: 30s", "drain: 10ms", 1))
	h.reload()
	h.eventually("left", func() bool { return strings.Contains(h.log.String(), "is left while") })
	h.eventually("stopped", func() bool { return strings.Contains(h.log.String(), "has stopped") })
	if r := h.ask("page"); r.StatusCode != http.StatusOK {
		t.Errorf("got %d", r.StatusCode)
	}
	h.signals <- syscall.SIGTERM
	h.signals <- syscall.SIGTERM
	_ = <-h.stopped
}

func TestMerge_NamesExactlyWhatDiffers(t *testing.T) {
	const text = `keys: {pepper_file: pepper}
http: {trusted_proxies: []}
pools:
  main: {backends: [{name: a, url: "http://127.0.0.1:1"}, {name: b, url: "http://127.0.0.1:2"}]}
models:
  page.v1: {pool: main, recipe: {temperature: 0, vllm_xargs: {a: 1}}}
legacy: {model: page.v1}
`
	for _, test := range []struct{ old, new, changed, unchangeable string }{
		{"", "", "", ""},
		{"trusted_proxies: []", "", "", ""}, // the default, said or not
		{"trusted_proxies: []", "trusted_proxies: [10.0.0.1]", "http.trusted_proxies", ""},
		{"127.0.0.1:2", "127.0.0.1:3", "pools.main.backends[1].url", ""},
		{`, {name: b, url: "http://127.0.0.1:2"}`, "", "pools.main.backends", ""},
		{"name: b,", "name: b, max_in_flight: 3, api_key: x,", "pools.main.backends[1].api_key pools.main.backends[1].max_in_flight", ""},
		{"  main: {", "  main: {health: {interval: 3s}, policy: round_robin, ", "pools.main.policy pools.main.health.interval", ""},
		{"temperature: 0", "temperature: 1, max_tokens: 9, seed: 1", `models."page.v1".recipe.max_tokens models."page.v1".recipe.seed models."page.v1".recipe.temperature`, ""},
		{"temperature: 0, vllm_xargs: {a: 1}", "vllm_xargs: {a: 1}, temperature: 0", `models."page.v1".recipe`, ""},
		{"legacy:", "admin: {listen: \"127.0.0.1:9\", token_file: pepper}\nlegacy:", "", "admin.listen admin.token_file"},
		{"legacy:", "limits: {in_progress: 9, routes: {ocr: {images_per_minute: 1}}}\nlegacy:", "limits.in_progress limits.routes.ocr", ""},
	} {
		from := mustLoad(t, text, nil)
		to := mustLoad(t, strings.Replace(text, test.old, test.new, 1), nil)
		got := merge(from, to)
		if strings.Join(got.Changed, " ") != test.changed || strings.Join(got.Unchangeable, " ") != test.unchangeable {
			t.Errorf("%q: got %+v", test.new, got)
		}
		if again := merge(from, to); len(again.Unchangeable) > 0 {
			t.Errorf("%q: kept not as it was: %+v", test.new, again)
		}
	}
}

func TestConfigJSON_IsTheSameTreeAndHidesSecrets(t *testing.T) {
	c := mustLoad(t, withSecrets, map[string]string{"VLLM_API_KEY": "canary-4711"})
	text, err := configJSON(c)
	if err != nil || bytes.Contains(text, []byte("canary-4711")) || bytes.Contains(text, []byte("0123456789abcdef")) {
		t.Fatalf("%v: %s", err, text)
	}
	var tree struct {
		HTTP  struct{ Drain string }
		Pools map[string]struct {
			Backends []struct {
				APIKey string `json:"api_key"`
			}
		}
		Models map[string]struct{ Recipe map[string]any }
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	if tree.HTTP.Drain != "1m0s" || tree.Pools["main"].Backends[0].APIKey != hidden || tree.Models["page"].Recipe["temperature"] != 0.1 {
		t.Errorf("got %s", text)
	}
}

func TestCeilings_ReachTheGate(t *testing.T) {
	c := mustLoad(t, complete+"limits: {requests_per_minute: 1, images_per_minute: 2, megapixels_per_minute: 3, tokens_per_minute: 4, in_progress: 5, routes: {ocr: {requests_per_minute: 6, images_per_minute: 7, megapixels_per_minute: 8, tokens_per_minute: 9, in_progress: 10}}}\n", nil)
	got, err := json.Marshal(c.ceilings())
	const limits = `{"requests_per_minute":%,"images_per_minute":%,"megapixels_per_minute":%,"tokens_per_minute":%,"in_progress":%}`
	want := `{"All":` + limits + `,"Routes":{"ocr":` + limits + `}}`
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"} {
		want = strings.Replace(want, "%", n, 1)
	}
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	wantProblem(t, complete+"limits: {routes: {chatter: {in_progress: 1}}}\n", `7: limits.routes.chatter: is no route; routes are: chat, completions`)
}

func TestChanged_LeavesAFileAloneThatIsBeingWritten(t *testing.T) {
	c := mustLoad(t, complete, nil)
	r := newReloads(c, prometheus.NewRegistry())
	for i, step := range []struct {
		text string
		want bool
	}{
		{complete, false},
		{complete, false}, // what was loaded
		{complete[:40], false},
		{complete[:80], false},
		{complete[:80] + " ", false}, // each look finds more
		{complete[:80] + " ", true},
		{complete, false}, // as it was, after all
		{complete, false},
	} {
		if err := os.WriteFile(c.from.path, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.changed(c.from.path); got != step.want {
			t.Errorf("look %d: got %t", i, got)
		}
	}
}
