// Package stand puts up, for tests, what an operator would: a router before
// stand-in backends, all of them built binaries in processes of their own, which
// can be killed, stopped and started again one by one.
package stand

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Model is what a stand serves.
const Model = "deepseek-ai/DeepSeek-OCR"

// Options is what a test wants of its stand. Zero values are one router and two
// backends with instant answers.
type Options struct {
	Backends int
	// Others are the URLs of further backends, which the test serves itself.
	// With them Backends may be 0.
	Others []string
	Sim    []string // arguments of every vllmsim
	// MaxInFlight is how many requests a backend gets at once; 0 is the
	// router's default.
	MaxInFlight int
	Routers     int // before the same backends
	// Config has lines for the router's configuration at the top level, beside
	// http, admin, keys, pools and models.
	Config string
	// HTTP has lines within the configuration's http.
	HTTP string
	// Pool has lines within the pool.
	Pool string
	// Pools and Models are further entries of pools and models.
	Pools, Models string
	// Keys is the key file's text, tenants and keys; "" means the repository's
	// own with the development key.
	Keys string
}

// Stand is routers before backends. Everything ends with the test.
type Stand struct {
	Routers  []*Router
	Backends []*Backend
	Key      string // the development key
	others   []string
}

// Router is one router process.
type Router struct {
	*Process
	URL    string // of the main listener
	Admin  string // of the operators'
	Config string // path of its configuration
	Keys   string // path of its key file
}

// Backend is one vllmsim process.
type Backend struct {
	*Process
	URL string
}

// New puts up a stand and waits until it is ready.
func New(t testing.TB, o Options) *Stand {
	t.Helper()
	s := &Stand{Key: developmentKey(t), others: o.Others}
	if o.Backends == 0 && o.Others == nil {
		o.Backends = 2
	}
	for i := range o.Backends {
		address := FreeAddress(t)
		b := &Backend{URL: "http://" + address}
		b.Process = Start(t, fmt.Sprintf("vllmsim%d", i), program(t, "vllmsim"), append([]string{"-listen", address}, o.Sim...)...)
		s.Backends = append(s.Backends, b)
	}
	for _, b := range s.Backends {
		WaitFor(t, b.URL+"/health")
	}
	for i := range max(1, o.Routers) {
		s.Routers = append(s.Routers, s.startRouter(t, i, o))
	}
	for _, r := range s.Routers {
		WaitFor(t, r.Admin+"/readyz")
		r.waitForBackends(t, len(s.Backends)+len(o.Others))
	}
	return s
}

func (s *Stand) startRouter(t testing.TB, i int, o Options) *Router {
	t.Helper()
	address, admin := FreeAddress(t), FreeAddress(t)
	keys := Repository("keys.yaml")
	if o.Keys != "" {
		keys = filepath.Join(t.TempDir(), "keys.yaml")
		write(t, keys, o.Keys)
	}
	var c strings.Builder
	fmt.Fprintf(&c, "http:\n  listen: %s\n%s\n", address, indent(o.HTTP, 2))
	fmt.Fprintf(&c, "admin: {listen: %s}\n", admin)
	fmt.Fprintf(&c, "keys: {file: %s, pepper_file: %s}\n", keys, Repository("configs/development.pepper"))
	fmt.Fprintf(&c, "%s\n", o.Config)
	fmt.Fprintf(&c, "pools:\n  main:\n%s\n    backends:\n", indent(o.Pool, 4))
	slots := ""
	if o.MaxInFlight > 0 {
		slots = fmt.Sprintf(", max_in_flight: %d", o.MaxInFlight)
	}
	for n, b := range s.Backends {
		fmt.Fprintf(&c, "      - {name: gpu%d, url: %q%s}\n", n, b.URL, slots)
	}
	for n, url := range s.others {
		fmt.Fprintf(&c, "      - {name: other%d, url: %q%s}\n", n, url, slots)
	}
	fmt.Fprintf(&c, "%s\nmodels:\n%s\n  %s:\n    pool: main\n    aliases: [deepseek-ocr]\n    recipe:\n", indent(o.Pools, 2), indent(o.Models, 2), Model)
	fmt.Fprintf(&c, "      max_tokens: 8192\n      temperature: 0\n      skip_special_tokens: false\n")
	fmt.Fprintf(&c, "      vllm_xargs: {ngram_size: 30, window_size: 90, whitelist_token_ids: [128821, 128822]}\n")
	path := filepath.Join(t.TempDir(), "config.yaml")
	write(t, path, c.String())
	return &Router{
		Process: Start(t, fmt.Sprintf("router%d", i), program(t, "router"), "serve", "-config", path),
		URL:     "http://" + address,
		Admin:   "http://" + admin,
		Config:  path,
		Keys:    keys,
	}
}

// WaitUntilReady waits until a router that was started again has its backends.
func (r *Router) WaitUntilReady(t testing.TB, backends int) {
	t.Helper()
	WaitFor(t, r.Admin+"/readyz")
	r.waitForBackends(t, backends)
}

// Program is the path of one of the built binaries, "router" or "vllmsim".
func Program(t testing.TB, name string) string { return program(t, name) }

// Request is a completion request as a backend recorded it; see GET /sim/requests.
type Request struct {
	Body           []byte
	Arrived, Ended time.Time
	Outcome        string // "" while it is in progress
}

// Requests are the latest of a backend, at most 4096.
func (b *Backend) Requests(t testing.TB) (list []Request) {
	t.Helper()
	GetJSON(t, b.URL+"/sim/requests", &list)
	return list
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func indent(lines string, by int) string {
	lines = strings.TrimRight(lines, "\n")
	if lines == "" {
		return ""
	}
	pad := strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(lines, "\n", "\n"+pad)
}

// waitForBackends waits until the router sends work to n backends.
func (r *Router) waitForBackends(t testing.TB, n int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%d backends are up", n), func() bool { return r.Up(t) == n })
}

// Up is how many backends the router takes for usable.
func (r *Router) Up(t testing.TB) int {
	up := 0
	for _, b := range r.Status(t) {
		if b.State == "up" && b.Breaker == "closed" {
			up++
		}
	}
	return up
}

// BackendStatus is one backend in GET /admin/backends.
type BackendStatus struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Breaker  string `json:"breaker"`
	InFlight int    `json:"in_flight"`
}

// Status is the router's own picture of its backends.
func (r *Router) Status(t testing.TB) []BackendStatus {
	t.Helper()
	var v struct {
		Pools []struct {
			Backends []BackendStatus `json:"backends"`
		} `json:"pools"`
	}
	GetJSON(t, r.Admin+"/admin/backends", &v)
	return v.Pools[0].Backends
}

var metricLine = `(?m)^%s(?:\{[^}]*\})? ([0-9.e+-]+)$`

// Metric is the sum of a metric over all its labels.
func (r *Router) Metric(t testing.TB, name string) float64 {
	t.Helper()
	sum := 0.0
	for _, m := range regexp.MustCompile(fmt.Sprintf(metricLine, regexp.QuoteMeta(name))).FindAllStringSubmatch(Get(t, r.Admin+"/metrics"), -1) {
		var v float64
		if _, err := fmt.Sscan(m[1], &v); err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// Stats is what a backend counted; see GET /sim/stats.
type Stats struct {
	Received, Completed, Aborted, Refused, Failed int64
	InProgress                                    int64 `json:"in_progress"`
}

// Stats asks a backend what it counted.
func (b *Backend) Stats(t testing.TB) (s Stats) {
	t.Helper()
	GetJSON(t, b.URL+"/sim/stats", &s)
	return s
}

// SetFaults puts a backend's faults in place; see POST /sim/faults.
func (b *Backend) SetFaults(t testing.TB, faults map[string]any) {
	t.Helper()
	body, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(b.URL+"/sim/faults", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("POST /sim/faults %s: %s %s", body, res.Status, said)
	}
}

// Kill ends a backend at once, as kill -9 does.
func (b *Backend) Kill(t testing.TB) { b.End(t, syscall.SIGKILL) }

// Restart starts a killed backend again, at its old address.
func (b *Backend) Restart(t testing.TB) {
	t.Helper()
	b.Again(t)
	WaitFor(t, b.URL+"/health")
}

// Get returns the body of an answer, which must be 200.
func Get(t testing.TB, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", url, res.Status, err)
	}
	return string(body)
}

// GetJSON decodes the answer into v.
func GetJSON(t testing.TB, url string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(Get(t, url)), v); err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
}

// Eventually waits for what other processes bring about, at most Patience.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.Now().Add(Patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen in %s: %s", Patience, what)
		}
		<-again.C
	}
}

// Repository is the absolute path of one of the repository's files.
func Repository(file string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", file)
}

var keyLine = regexp.MustCompile(`(?m)^# *development key: *(\S+)`)

// developmentKey is the key that config.yaml prints for use on this machine.
func developmentKey(t testing.TB) string {
	t.Helper()
	config, err := os.ReadFile(Repository("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := keyLine.FindStringSubmatch(string(config))
	if found == nil {
		t.Fatal("config.yaml has no line `# development key: ...`")
	}
	return found[1]
}

// Reset sets a backend's counters to zero and forgets its recorded requests.
func (b *Backend) Reset(t testing.TB) {
	t.Helper()
	res, err := http.Post(b.URL+"/sim/reset", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}
