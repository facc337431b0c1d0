package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
	"ocrmux/fetch"
	"ocrmux/gateway"
)

// write puts a configuration with its pepper into a directory of its own.
func write(t *testing.T, text string) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "config.yaml")
	for name, content := range map[string]string{path: text, filepath.Join(dir, "pepper"): "0123456789abcdef0123456789abcdef\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func environment(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

// complete is the least that a configuration must say, on lines 1 to 6.
const complete = `keys: {pepper_file: pepper}
pools:
  main: {backends: [{name: a, url: "http://127.0.0.1:1"}]}
models:
  page: {pool: main}
log: {level: info}
`

func mustLoad(t *testing.T, text string, variables map[string]string) *Config {
	t.Helper()
	c, err := load(write(t, text), environment(variables))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad_EveryErrorNamesItsLineAndKey(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"empty file":           {"", `1: the file is empty`},
		"only comments":        {"# nothing\n", `1: the file is empty`},
		"not YAML":             {"a: [\n", `not YAML: `},
		"not a mapping":        {"- a\n", `1: must be a mapping of keys to values`},
		"second document":      {complete + "---\na: 1\n", `7: a second document begins here; one is allowed`},
		"unknown section":      {complete + "htp: {}\n", `7: htp: unknown key; known here: http, admin, `},
		"unknown key":          {complete + "http:\n  lisen: x\n", `8: http.lisen: unknown key; known here: listen, `},
		"key given twice":      {complete + "log: {}\n", `7: log: is given twice`},
		"merge key":            {complete + "http:\n  <<: {listen: x}\n", `8: http.<<: merge keys are not supported`},
		"anchor":               {complete + "http: &a {listen: x}\n", `7: http: anchors and aliases are not supported`},
		"no value":             {complete + "http:\n  listen:\n", `8: http.listen: has no value`},
		"list for a scalar":    {complete + "http:\n  listen: [a]\n", `8: http.listen: must be a single value`},
		"scalar for a list":    {complete + "http:\n  trusted_proxies: a\n", `8: http.trusted_proxies: must be a list`},
		"scalar for a section": {complete + "http: 1\n", `7: http: must be a mapping`},
		"not a number":         {complete + "legacy:\n  batch:\n    parallel: many\n", `9: legacy.batch.parallel: "many" is not a whole number`},
		"number too low":       {complete + "legacy:\n  batch:\n    parallel: 0\n", `9: legacy.batch.parallel: must be at least 1`},
		"not a duration":       {complete + "http: {drain: 5}\n", `7: http.drain: "5" is not a duration such as`},
		"negative duration":    {complete + "http: {drain: -5s}\n", `7: http.drain: must be at least 1ms`},
		"not a size":           {complete + "memory: {bodies: 1GB}\n", `7: memory.bodies: "1GB" is not a size such as`},
		"size too low":         {complete + "memory: {bodies: 1KiB}\n", `7: memory.bodies: must be at least 1MiB`},
		"not a network":        {complete + "http: {trusted_proxies: [10.0.0.0/8, x]}\n", `7: http.trusted_proxies[1]: "x" is not a network`},
		"unknown word":         {complete + "legacy: {profile: flask}\n", `7: legacy.profile: must be one of: union, app, app_standard`},
		"address without port": {complete + "http: {listen: 127.0.0.1}\n", `7: http.listen: must be an address and a port`},
		"address by name":      {complete + "http: {listen: \"example.org:80\"}\n", `7: http.listen: must be an IP address and a port; "example.org" is no IP address`},
		"half of TLS":          {complete + "http:\n  tls: {cert_file: a}\n", `8: http.tls: needs both cert_file and key_file`},
		"no pools":             {strings.Replace(complete, "pools:\n  main: {backends: [{name: a, url: \"http://127.0.0.1:1\"}]}\n", "", 1), `1: pools: at least one pool is needed`},
		"unset variable":       {complete + "http: {listen: \"${ADDRESS}\"}\n", `7: http.listen: the environment variable ADDRESS is not set`},
		"missing secret file":  {complete + "admin: {token_file: nowhere}\n", `7: admin.token_file: "nowhere" cannot be read: `},
		"no pepper":            {strings.Replace(complete, "{pepper_file: pepper}", "{}", 1), `1: keys.pepper_file: must name a file`},
		"host with a scheme":   {complete + "images: {hosts: [a.example, \"https://a.example\"]}\n", `7: images.hosts[1]: must be a host's whole name`},
		"unknown legacy model": {complete + "legacy: {model: other}\n", `7: legacy.model: must name one of the models`},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, test.text, test.want) })
	}
}

func TestLoad_ErrorsInPoolsAndModelsNameTheElement(t *testing.T) {
	pools := func(text string) string {
		return "keys: {pepper_file: pepper}\nmodels: {page: {pool: main}}\npools:\n" + text
	}
	models := func(text string) string {
		return "keys: {pepper_file: pepper}\npools: {main: {backends: [{name: a, url: \"http://127.0.0.1:1\"}]}}\nmodels:\n" + text
	}
	for name, test := range map[string]struct{ text, want string }{
		"no backends":           {pools("  main: {policy: round_robin}\n"), `4: pools.main.backends: at least one backend is needed`},
		"too few in flight":     {pools("  main:\n    backends:\n    - {name: a, url: \"http://h:1\"}\n    - {name: b, url: \"http://h:2\", max_in_flight: 0}\n"), `7: pools.main.backends[1].max_in_flight: must be at least 1`},
		"command":               {pools("  main:\n    backends: [{name: a, url: \"http://h:1\", command: vllm}]\n"), `5: pools.main.backends[0].command: unknown key`},
		"url with path":         {pools("  main:\n    backends: [{name: a, url: \"http://h:1/v1\"}]\n"), `5: pools.main.backends[0].url: must end after the port`},
		"url with password":     {pools("  main:\n    backends: [{name: a, url: \"http://u:p@h:1\"}]\n"), `5: pools.main.backends[0].url: must not hold a password`},
		"url without scheme":    {pools("  main:\n    backends: [{name: a, url: \"h:1\"}]\n"), `5: pools.main.backends[0].url: must be of the form`},
		"name missing":          {pools("  main:\n    backends: [{url: \"http://h:1\"}]\n"), `5: pools.main.backends[0].name: must be given`},
		"name twice":            {pools("  main:\n    backends: [{name: a, url: \"http://h:1\"}]\n  more:\n    backends: [{name: a, url: \"http://h:1\"}]\n"), `7: pools.more.backends[0].name: is the name of pools.main.backends[0] too`},
		"two keys":              {pools("  main:\n    backends: [{name: a, url: \"http://h:1\", api_key: x, api_key_file: pepper}]\n"), `5: pools.main.backends[0].api_key: cannot stand beside api_key_file`},
		"unknown policy":        {pools("  main:\n    policy: random\n    backends: [{name: a, url: \"http://h:1\"}]\n"), `5: pools.main.policy: must be one of: least_loaded, round_robin`},
		"fallback to itself":    {pools("  main:\n    fallback: main\n    backends: [{name: a, url: \"http://h:1\"}]\n"), `5: pools.main.fallback: must name another pool`},
		"breaker upside down":   {pools("  main:\n    breaker: {open_min: 5m}\n    backends: [{name: a, url: \"http://h:1\"}]\n"), `5: pools.main.breaker.open_max: must be at least open_min`},
		"no models":             {models("  {}\n"), `3: models: at least one model is needed`},
		"unknown pool":          {models("  gpt-4.1: {pool: other}\n"), `4: models."gpt-4.1".pool: must name one of the pools`},
		"alias of another":      {models("  a: {pool: main}\n  b: {pool: main, aliases: [c, a]}\nlegacy: {model: a}\n"), `5: models.b.aliases[1]: must be a name that no other model has`},
		"which model":           {models("  a: {pool: main}\n  b: {pool: main}\n"), `legacy.model: must be given where there are several models`},
		"recipe: bad number":    {models("  a:\n    pool: main\n    recipe: {x: {y: [1, 0x10]}}\n"), `6: models.a.recipe.x.y[1]: "0x10" is not a number as JSON writes it`},
		"recipe: bad bool":      {models("  a:\n    pool: main\n    recipe: {x: True}\n"), `6: models.a.recipe.x: "True" is neither true nor false`},
		"recipe: not a default": {models("  a:\n    pool: main\n    recipe: {messages: []}\n"), `6: models.a.recipe.messages: belongs to each request`},
		"recipe: max_images":    {models("  a:\n    pool: main\n    recipe: {max_images: 0}\n"), `6: models.a.recipe.max_images: "0" is not a whole number of at least 1`},
		"recipe: twice":         {models("  a:\n    pool: main\n    recipe: {x: {y: 1, y: 2}}\n"), `6: models.a.recipe.x.y: is given twice`},
	} {
		t.Run(name, func(t *testing.T) { wantProblem(t, test.text, test.want) })
	}
}

func wantProblem(t *testing.T, text, want string) {
	t.Helper()
	_, err := load(write(t, text), environment(nil))
	var found *problems
	if !errors.As(err, &found) {
		t.Fatalf("got error %v, want %q", err, want)
	}
	if !strings.Contains(err.Error(), "config.yaml:") || !strings.Contains(err.Error(), want) {
		t.Errorf("got\n%v\nwant %q", err, want)
	}
	if len(found.list) != 1 {
		t.Errorf("got %d errors for one mistake:\n%v", len(found.list), err)
	}
}

func TestLoad_TellsAllErrorsAtOnceInTheOrderOfTheFile(t *testing.T) {
	_, err := load(write(t, complete+"http: {lisen: x}\nlegacy: {profile: flask}\nmemory: {bodies: much}\ncache: {max_bytes: -1}\nlegacy: {}\n"), environment(nil))
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.Lines(err.Error()) {
		_, place, _ := strings.Cut(line, "config.yaml:")
		got = append(got, strings.Join(strings.SplitN(place, ": ", 3)[:2], " "))
	}
	want := []string{"7 http.lisen", "8 legacy.profile", "9 memory.bodies", "10 cache.max_bytes", "11 legacy"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoad_ExpandsTheEnvironment(t *testing.T) {
	c := mustLoad(t, strings.Replace(complete, "  page: {pool: main}", `  page:
    pool: "${P}"
    recipe:
      temperature: "${T}"
      seed: ${T}
      note: $${T} costs $1`, 1),
		map[string]string{"P": "main", "T": "0.70"})
	if got := c.Models["page"].Pool; got != "main" {
		t.Errorf("pool is %q", got)
	}
	var got []string
	for _, m := range c.Models["page"].Recipe.Members {
		got = append(got, m.Name+"="+string(m.Value))
	}
	// Quoted, a value is a text; bare, it is what it reads as.
	if want := []string{`temperature="0.70"`, `seed=0.70`, `note="${T} costs $1"`}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExpand(t *testing.T) {
	env := environment(map[string]string{"A": "x", "EMPTY": "", "NESTED": "${A}"})
	for text, want := range map[string]string{
		"":             "",
		"${A}":         "x",
		"a${A}b${A}":   "axbx",
		"${EMPTY}":     "",
		"${NESTED}":    "${A}", // not expanded twice
		"$A $ $$":      "$A $ $$",
		"$${A}":        "${A}",
		"${MISSING}":   "error: the environment variable MISSING is not set",
		"${}":          "error: ${} is not of the form ${NAME}; a literal ${ is written $${",
		"${A":          "error: ${A is not of the form ${NAME}; a literal ${ is written $${",
		"${A:-x}":      "error: ${A:-x} is not of the form ${NAME}; a literal ${ is written $${",
		"${M1} ${M2}":  "error: the environment variable M1 is not set\nthe environment variable M2 is not set",
		"${9A}":        "error: ${9A} is not of the form ${NAME}; a literal ${ is written $${",
		"x$${A}${A}$$": "x${A}x$$",
	} {
		got, err := expand(text, env)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestLoad_ErrorsNeverShowWhatAVariableHolds(t *testing.T) {
	_, err := load(write(t, complete+"legacy: {batch: {parallel: \"${SECRET}\"}}\nmemory: {bodies: \"${SECRET}\"}\nhttp: {drain: \"${SECRET}\", trusted_proxies: [\"${SECRET}\"]}\n"),
		environment(map[string]string{"SECRET": "canary-4711"}))
	if err == nil || strings.Contains(err.Error(), "canary-4711") {
		t.Errorf("got %v", err)
	}
}

const withSecrets = `keys: {pepper_file: pepper}
http: {trusted_proxies: [10.1.2.3, 10.0.0.9/8, "2001:db8::/32"]}
admin: {token_file: pepper}
pools:
  main:
    backends:
      - {name: a, url: "http://127.0.0.1:1", api_key: "${VLLM_API_KEY}"}
      - {name: b, url: "http://127.0.0.1:2", api_key_file: pepper}
models:
  page: {pool: main, aliases: [p], recipe: {temperature: 0.10, vllm_xargs: {z: 1, a: [1e3, "<td>"]}, stop: ["\n"], none: null, max_tokens: 5}}
`

func TestPrintConfig_HidesSecrets(t *testing.T) {
	c := mustLoad(t, withSecrets, map[string]string{"VLLM_API_KEY": "canary-4711"})
	if b := c.pool("main").Backends; b[0].APIKey != "canary-4711" || b[1].APIKey != "0123456789abcdef0123456789abcdef" {
		t.Fatalf("the pool does not get the keys: %+v", b)
	}
	var out bytes.Buffer
	if err := printConfig(&out, c); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "canary-4711") || strings.Contains(text, "0123456789abcdef") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	for _, want := range []string{"api_key: (hidden)\n", "api_key_file: pepper\n", "token_file: pepper\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &out)
		}
	}
}

func TestPrintConfig_PrintsWhatCanBeLoadedAgain(t *testing.T) {
	first := mustLoad(t, withSecrets, map[string]string{"VLLM_API_KEY": "x"})
	var once, twice bytes.Buffer
	if err := printConfig(&once, first); err != nil {
		t.Fatal(err)
	}
	second := mustLoad(t, once.String(), nil)
	if err := printConfig(&twice, second); err != nil {
		t.Fatal(err)
	}
	if once.String() != twice.String() {
		t.Errorf("first\n%s\nthen\n%s", &once, &twice)
	}
	if got, want := second.Models, first.Models; !reflect.DeepEqual(got, want) {
		t.Errorf("models: got %+v, want %+v", got, want)
	}
}

func TestRecipe_KeepsOrderAndDigits(t *testing.T) {
	c := mustLoad(t, withSecrets, map[string]string{"VLLM_API_KEY": "x"})
	r := c.Models["page"].Recipe
	var got []string
	for _, m := range r.Members {
		got = append(got, m.Name+"="+string(m.Value))
	}
	want := []string{`temperature=0.10`, `vllm_xargs={"z":1,"a":[1e3,"<td>"]}`, `stop=["\n"]`, `none=null`}
	if !reflect.DeepEqual(got, want) || r.MaxTokens != 5 || r.MaxImages != 1 {
		t.Errorf("got %q and %d, %d, want %q and 5, 1", got, r.MaxTokens, r.MaxImages, want)
	}
}

func TestSize_ReadsAndWrites(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "512": 512, "1000": 1000, "16KiB": 16 << 10, "1024KiB": 1 << 20, "32 MiB": 32 << 20, "1GiB": 1 << 30,
	} {
		var got, again Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		written, _ := got.MarshalText()
		if err := again.UnmarshalText(written); err != nil || again != want {
			t.Errorf("%q is written %q, which reads as %d, %v", text, written, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "1MB", "1.5GiB", "-1", "0x10", "9999999999999GiB"} {
		if err := new(Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestLoad_FilesAreFoundBesideTheConfiguration(t *testing.T) {
	c := mustLoad(t, complete, nil)
	if got, want := c.file(c.Keys.File), filepath.Join(c.dir(), "keys.yaml"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.file("/etc/keys.yaml"); got != "/etc/keys.yaml" {
		t.Errorf("got %q", got)
	}
}

// Every value is another one, so that none can be taken for its neighbour.
func TestParts_EverySettingReachesItsRoom(t *testing.T) {
	c := mustLoad(t, `
http:
  trusted_proxies: [10.0.0.9/8, "::1"]
  header_timeout: 1s
  body_timeout: 2s
  idle_timeout: 3s
  write_timeout: 4s
  lame_duck: 5s
memory: {bodies: 6MiB}
openai: {max_body: 7KiB, max_n: 8, queue: 9s, timeout: 10s, stream_timeout: 11s, silence: 12s, keep_alive: 13s}
legacy: {profile: app_standard, model: b, max_body: 14KiB, timeout: 15s, batch: {parallel: 16}}
keys: {pepper_file: pepper}
pools:
  main:
    policy: round_robin
    max_queue: 17
    fallback: other
    health: {interval: 18s, timeout: 19s, down_after: 20, up_after: 21, silence: 22s, probe_overdue: 23s}
    breaker: {open_min: 24s, open_max: 25s}
    retry: {percent: 26, min: 27}
    backends: [{name: x, url: "http://127.0.0.1:28", api_key: k, max_in_flight: 29}]
  other: {backends: [{name: y, url: "http://127.0.0.1:30"}]}
images: {fetch: true, max_bytes: 34KiB, timeout: 35s, hosts: [A.Example]}
models:
  b: {pool: main, served_as: B, aliases: [bb], recipe: {max_tokens: 31, max_images: 32, top_k: 33}, guard: {repeats: 36, cut: true}}
  a: {pool: other}
`, nil)
	if got, want := c.gateway(), (gateway.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		BodiesBytes:    6 << 20,
		OpenAI: gateway.OpenAI{
			MaxBody: 7 << 10, MaxN: 8, Queue: 9 * time.Second, Timeout: 10 * time.Second,
			Streaming: 11 * time.Second, Silence: 12 * time.Second,
		},
		Legacy: gateway.Legacy{Profile: legacy.Standard, Model: "b", MaxBody: 14 << 10, Timeout: 15 * time.Second, BatchParallel: 16},
		Time: gateway.Time{
			Header: time.Second, Body: 2 * time.Second, Idle: 3 * time.Second, Write: 4 * time.Second,
			LameDuck: 5 * time.Second, KeepAlive: 13 * time.Second,
		},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("gateway: got %+v, want %+v", got, want)
	}
	if got, want := c.fetch(), (fetch.Config{MaxBytes: 34 << 10, Timeout: 35 * time.Second, Hosts: []string{"a.example"}}); !reflect.DeepEqual(got, want) || !c.Images.Fetch {
		t.Errorf("fetch: got %+v, want %+v", got, want)
	}
	if got, want := c.pool("main"), (backends.Config{
		Name: "main", Policy: "round_robin", MaxQueue: 17, Models: []string{"B"},
		ProbeInterval: 18 * time.Second, ProbeTimeout: 19 * time.Second, DownAfter: 20, UpAfter: 21,
		StallSilence: 22 * time.Second, StallProbe: 23 * time.Second,
		BreakerOpenMin: 24 * time.Second, BreakerOpenMax: 25 * time.Second, RetryShare: 0.26, RetryMin: 27,
		Backends: []backends.Backend{{Name: "x", URL: "http://127.0.0.1:28", APIKey: "k", MaxInFlight: 29}},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("pool: got %+v, want %+v", got, want)
	}
	if got, want := c.pool("other").Models, []string{"a", "B"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the fallback must serve %q, want %q", got, want)
	}
	if got, want := c.completions(), (completions.Config{Models: []completions.Model{
		{Name: "a", Pool: "other", ServedAs: "a", Recipe: completions.Recipe{MaxImages: 1}, Guard: completions.Guard{Repeats: 20}},
		{Name: "b", Pool: "main", ServedAs: "B", Aliases: []string{"bb"}, Recipe: completions.Recipe{
			MaxTokens: 31, MaxImages: 32, Members: []compat.Member{{Name: "top_k", Value: []byte("33")}},
		}, Guard: completions.Guard{Repeats: 36, Cut: true}},
	}}); !reflect.DeepEqual(got, want) {
		t.Errorf("completions: got %+v, want %+v", got, want)
	}
}

func TestMemory_FollowsFromTheBudgets(t *testing.T) {
	for _, test := range []struct {
		bodies, cache Size
		limit         int64
		percent       int64
	}{
		{1 << 30, 256 << 20, 1504 << 20, 400}, // the default
		{128 << 20, 0, 208 << 20, 225},
		{1 << 20, 0, 64<<20 + 9<<17, 50},
		{64 << 30, 8 << 30, 64<<20 + 81<<30, 400},
	} {
		c := &Config{Memory: Memory{Bodies: test.bodies}, Cache: Cache{MaxBytes: test.cache}}
		limit := memoryLimit(c)
		if percent := heapGrowth(limit); limit != test.limit || percent != test.percent {
			t.Errorf("%d and %d: got %d, %d %%, want %d, %d %%", test.bodies, test.cache, limit, percent, test.limit, test.percent)
		}
	}
}

func TestGCPercent_LetsWhatIsCachedMakeNoRoomForGarbage(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live, cached int64 // MiB
		want         int   // per cent of live
	}{
		{32, 0, 400},     // no cache: as much as there may be
		{4, 0, 400},      // hardly anything lives
		{290, 256, 7},    // a full cache: a twelfth of it
		{48, 16, 233},    // a small one: what works counts, what is cached is taken off
		{1500, 256, 314}, // bodies outweigh the cache
		{10, 30, 50},     // the heap was measured before the cache filled
	} {
		if got := gcPercent(400, test.live*mib, test.cached*mib); got != test.want {
			t.Errorf("%d MiB live, %d cached: %d %%, want %d", test.live, test.cached, got, test.want)
		}
	}
}

// root is where the repository's own files are.
const root = "../.."

func TestConfigYAML_StatesEverySetting(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	stated := map[string]bool{}
	collectKeys(doc.Content[0], "", stated)
	for _, want := range settings(reflect.TypeFor[Config](), "") {
		if !stated[want] {
			t.Errorf("config.yaml does not state %s", want)
		}
	}
}

func TestConfigYAML_MarksWhatTakesARestart(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var marks func(path string, n *yaml.Node, of reflect.Type)
	marks = func(path string, n *yaml.Node, of reflect.Type) {
		for i := range of.NumField() {
			field := of.Field(i)
			name := fieldKey(field)
			at := slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return name != "" && k.Value == name })
			if at < 0 {
				continue
			}
			restart := field.Tag.Get("change") == "restart"
			if marked := strings.Contains(n.Content[at].HeadComment, "(restart)"); marked != restart {
				t.Errorf("%s takes a restart: %t; is marked so: %t", join(path, name), restart, marked)
			}
			if field.Type.Kind() == reflect.Struct && !restart {
				marks(join(path, name), n.Content[at+1], field.Type)
			}
		}
	}
	marks("", doc.Content[0], reflect.TypeFor[Config]())
}

// collectKeys collects the paths of a document, names and indexes as *.
func collectKeys(n *yaml.Node, path string, found map[string]bool) {
	found[path] = true
	for i := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			collectKeys(n.Content[i], path+".*", found)
		case i%2 == 1:
			collectKeys(n.Content[i], strings.TrimPrefix(path+"."+n.Content[i-1].Value, "."), found)
			if path == "pools" || path == "models" || path == "limits.routes" {
				collectKeys(n.Content[i], path+".*", found)
			}
		}
	}
}

func settings(t reflect.Type, path string) (found []string) {
	switch {
	case t == reflect.TypeFor[Recipe]():
		return []string{path + ".max_images", path + ".max_tokens"}
	case t == reflect.TypeFor[SecretFile](), t == reflect.TypeFor[Network](), t == reflect.TypeFor[time.Duration]():
		return []string{path}
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if name := fieldKey(t.Field(i)); name != "" {
				found = append(found, settings(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."))...)
			}
		}
		return found
	case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[Network]():
		return settings(t.Elem(), path+".*")
	}
	return []string{path}
}
