package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ocrmux/auth"
	"ocrmux/backends/sim"
)

// onePage is a chat request with a page of one pixel.
func onePage(stream bool) string {
	const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
	return fmt.Sprintf(`{"model":"page","stream":%t,"messages":[{"role":"user","content":[`+
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}},{"type":"text","text":"Free OCR."}]}]}`, stream, pixel)
}

// house is a whole router in this process before one stand-in.
type house struct {
	t       *testing.T
	url     string
	admin   string
	key     string
	path    string // of its config.yaml
	rooms   *rooms
	log     *syncBuffer
	sim     *sim.Server
	signals chan os.Signal
	stopped chan error
}

// fasthttpsOwn are two goroutines that fasthttp leaves to sleep: its clock, and
// the cleaner of its workers, which ends at its next turn.
var fasthttpsOwn = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
}

func newHouse(t *testing.T, interval time.Duration) *house {
	t.Helper()
	h := &house{t: t, signals: make(chan os.Signal, 2), stopped: make(chan error, 1), log: new(syncBuffer)}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, fasthttpsOwn...)
	})
	var gpu string
	h.sim, gpu = standIn(t)
	h.path = write(t, houseConfig("pools: {main: {backends: [{name: gpu0, url: "+gpu+"}], health: {interval: 20ms}}}", ""))
	path := h.path
	var out bytes.Buffer
	if code := command([]string{"keys", "create", "-config", path, "-tenant", "somebody"}, &out, io.Discard); code != exitOK {
		t.Fatalf("keys create exits %d", code)
	}
	h.key = strings.TrimSpace(out.String())
	c, err := load(path, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	log, level := newLogger(c.Log, h.log)
	if h.rooms, err = build(c, c.durable(), log, level); err != nil {
		t.Fatal(err)
	}
	h.rooms.interval = interval
	main, admin := local(t), local(t)
	h.url, h.admin = "http://"+main.Addr().String(), "http://"+admin.Addr().String()
	go func() { h.stopped <- h.rooms.run(main, admin, h.signals) }()
	h.eventually("ready", func() bool { return h.get(h.admin+"/readyz") == http.StatusOK })
	return h
}

// houseConfig is config.yaml with these pools, and more in the model's section.
func houseConfig(pools, model string) string {
	if model == "" {
		model = "pool: main"
	}
	return `
http: {lame_duck: 1ms, drain: 30s}
admin: {token_file: pepper}
keys: {pepper_file: pepper}
` + pools + `
models: {page: {` + model + `, recipe: {temperature: 0}}}
`
}

// standIn is a server of its own for the model "page", until the test ends.
func standIn(t *testing.T) (s *sim.Server, url string) {
	t.Helper()
	s = sim.New(sim.Config{Model: "page", Timing: &sim.Timing{}})
	l := local(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		_ = <-served
	})
	return s, `"http://` + l.Addr().String() + `"`
}

// syncBuffer is a log that a test reads while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func local(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// eventually polls, for what only another process or the network decides.
func (h *house) eventually(what string, holds func() bool) {
	h.t.Helper()
	for range 2000 {
		if holds() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.t.Fatalf("not %s in time", what)
}

func (h *house) get(url string) (status int) {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// begin opens a stream and returns it after its first event, when the backend
// has said all that it will say before the fault.
func (h *house) begin() (*http.Response, *bufio.Reader) {
	h.t.Helper()
	if err := h.sim.SetFaults(sim.Faults{MidStream: "hang", AfterEvents: 2}); err != nil {
		h.t.Fatal(err)
	}
	request, err := http.NewRequest("POST", h.url+"/v1/chat/completions", strings.NewReader(onePage(true)))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	body := bufio.NewReader(response.Body)
	if line, err := body.ReadString('\n'); err != nil || response.StatusCode != http.StatusOK {
		h.t.Fatalf("got %d %q, %v", response.StatusCode, line, err)
	}
	return response, body
}

func TestRun_TheFirstSignalLetsWorkInProgressFinish(t *testing.T) {
	h := newHouse(t, time.Hour)
	response, body := h.begin()
	defer response.Body.Close()
	h.signals <- syscall.SIGTERM
	h.eventually("unready", func() bool { return h.get(h.admin+"/readyz") == http.StatusServiceUnavailable })
	h.eventually("closed to new connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-h.stopped:
		t.Fatalf("stopped while a stream was in progress: %v", err)
	default:
	}
	if err := h.sim.SetFaults(sim.Faults{}); err != nil { // the backend goes on
		t.Fatal(err)
	}
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.HasSuffix(rest, []byte("data: [DONE]\n\n")) || bytes.Contains(rest, []byte(`"error"`)) {
		t.Errorf("the stream ends %v: %s", err, rest)
	}
	if err := <-h.stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if got := h.sim.Stats(); got.Completed != 1 || got.InProgress != 0 {
		t.Errorf("the backend counts %+v", got)
	}
}

func TestRun_ASecondSignalCutsWork(t *testing.T) {
	h := newHouse(t, time.Hour)
	response, _ := h.begin()
	defer response.Body.Close()
	h.signals <- syscall.SIGTERM
	h.signals <- syscall.SIGTERM
	if err := <-h.stopped; err == nil || !strings.Contains(err.Error(), "second signal") {
		t.Errorf("stopped with %v", err)
	}
}

func TestListen_NamesABusyAddress(t *testing.T) {
	l := local(t)
	defer l.Close()
	_, err := listen("http.listen", l.Addr().String())
	if want := "http.listen: another program is listening on " + l.Addr().String() + " already"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCommand_ExitCodes(t *testing.T) {
	good := write(t, complete)
	if err := os.WriteFile(filepath.Join(filepath.Dir(good), "keys.yaml"), []byte("tenants: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		code int
		out  string // somewhere in what is written
	}{
		{"", exitUsage, "Usage:"},
		{"help", exitOK, "Usage:"},
		{"version", exitOK, "ocrmux router"},
		{"sevre", exitUsage, `there is no subcommand "sevre"`},
		{"check -config " + good, exitOK, "max_in_flight: 48"},
		{"check -config " + good + ".missing", exitFailed, "no such file"},
		{"check -config " + write(t, "x: 1\n"), exitFailed, "config.yaml:1: x: unknown key"},
		{"check -config " + write(t, complete), exitFailed, "keys.yaml: no such file"},
		{"check -nonsense", exitUsage, "nonsense"},
		{"check more", exitUsage, `unexpected "more"`},
		{"check -h", exitOK, "-config"},
		{"serve -config " + write(t, "x: 1\n"), exitFailed, "unknown key"},
		{"keys", exitUsage, "create, list"},
		{"keys help", exitOK, "router keys create"},
		{"keys make", exitUsage, `there is no "make"`},
		{"keys create -config " + good, exitUsage, "-tenant is needed"},
		{"keys create -tenant nobody -config " + good, exitFailed, `tenant "nobody": there is no such tenant`},
		{"keys create -tenant a -expires tomorrow -config " + good, exitUsage, "tomorrow"},
	} {
		var out bytes.Buffer
		if code := command(strings.Fields(test.args), &out, &out); code != test.code || !strings.Contains(out.String(), test.out) {
			t.Errorf("router %s: got %d, want %d and %q in\n%s", test.args, code, test.code, test.out, &out)
		}
	}
}

func TestKeys_ACreatedKeyWorksAndIsListed(t *testing.T) {
	path := write(t, complete)
	var out, about bytes.Buffer
	if code := command([]string{"keys", "create", "-config", path, "-tenant", "lab", "-note", "for a test"}, &out, &about); code != exitOK {
		t.Fatalf("exits %d: %s", code, &about)
	}
	key := strings.TrimSuffix(out.String(), "\n")
	if strings.Contains(about.String(), key) {
		t.Errorf("the key is shown beside stdout: %s", &about)
	}
	c, err := load(path, environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	gate := gateOf(t, c)
	if id, err := gate.Identify(key, netip.MustParseAddr("192.0.2.1")); err != nil || id.Tenant.Name != "lab" {
		t.Errorf("got %+v, %v", id, err)
	}
	out.Reset()
	if code := command([]string{"keys", "list", "-config", path}, &out, &about); code != exitOK {
		t.Fatalf("exits %d: %s", code, &about)
	}
	if text := out.String(); strings.Contains(text, key) || !strings.Contains(text, "lab") || !strings.Contains(text, "active") {
		t.Errorf("got %s", text)
	}
}

func gateOf(t *testing.T, c *Config) *auth.Gate {
	t.Helper()
	gate, err := auth.New(auth.Config{KeyFile: c.file(c.Keys.File), Pepper: []byte(c.Keys.PepperFile.value)}, auth.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// developmentKey is the one that the development configuration prints.
func developmentKey(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "\n# development key: ")
	key, _, _ := strings.Cut(rest, "\n")
	if !ok || !strings.HasPrefix(key, "sk-ocr-") {
		t.Fatalf("config.yaml prints no development key: %q", key)
	}
	return key
}

func TestDevelopmentKey_WorksFromThisMachineOnly(t *testing.T) {
	c, err := load(filepath.Join(root, "config.yaml"), environment(nil))
	if err != nil {
		t.Fatal(err)
	}
	gate, key := gateOf(t, c), developmentKey(t)
	if id, err := gate.Identify(key, netip.MustParseAddr("127.0.0.1")); err != nil || id.Tenant.Name != "development" {
		t.Errorf("from this machine: %+v, %v", id, err)
	}
	if _, err := gate.Identify(key, netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("the key works from elsewhere")
	}
	if !loopback(c.HTTP.Listen) || len(warnings(c)) > 0 {
		t.Errorf("development listens on %s: %q", c.HTTP.Listen, warnings(c))
	}
	c.HTTP.Listen = ":5000"
	if got := warnings(c); len(got) != 1 || !strings.Contains(got[0], "works from this machine only") {
		t.Errorf("listening for everybody warns %q", got)
	}
}

func TestWarnings_AnOpenAdminListenerIsTold(t *testing.T) {
	for address, want := range map[string]int{"127.0.0.1:5001": 0, "[::1]:5001": 0, "localhost:5001": 0, ":5001": 1, "0.0.0.0:5001": 1, "10.0.0.1:5001": 1} {
		c := mustLoad(t, complete+"admin: {listen: \""+address+"\"}\n", nil)
		if got := warnings(c); len(got) != want {
			t.Errorf("%s: got %q", address, got)
		}
		c = mustLoad(t, complete+"admin: {listen: \""+address+"\", token_file: pepper}\n", nil)
		if got := warnings(c); len(got) != 0 {
			t.Errorf("%s with a token: got %q", address, got)
		}
	}
}

// The example names files that only its owner has; with them it must load.
func TestProductionExample_IsInOrder(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "configs", "production.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, string(data))
	for name, content := range map[string]string{"admin.token": "token", "keys.yaml": "tenants: [{name: lab, limits: {requests_per_minute: 600}}]\n"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := load(path, environment(map[string]string{"VLLM_API_KEY": "secret"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := build(c, durable{}, slog.New(slog.DiscardHandler), new(slog.LevelVar)); err != nil {
		t.Fatal(err)
	}
	if got := warnings(c); len(got) > 0 {
		t.Errorf("it warns: %q", got)
	}
	if _, err := gateOf(t, c).Anonymous(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("callers without a key are let in")
	}
	for i, b := range c.Pools["main"].Backends {
		line := fmt.Sprintf("CUDA_VISIBLE_DEVICES=%d vllm serve deepseek-ai/DeepSeek-OCR --host 127.0.0.1 --port %s ", i, b.URL[len("http://127.0.0.1:"):])
		if !strings.Contains(string(data), line) {
			t.Errorf("no line starts %s: %q", b.Name, line)
		}
	}
}

func TestCertificate_ARenewedOneIsUsedAndABrokenOneIsNot(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("missing files are no error")
	}
	writePair(t, certFile, keyFile, 1)
	c, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now()
	change := func(what func()) {
		what()
		later = later.Add(time.Minute) // file systems' clocks are coarse
		for _, name := range []string{certFile, keyFile} {
			if err := os.Chtimes(name, later, later); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(serial int64) {
		t.Helper()
		pair, err := c.get(nil)
		if err != nil || pair.Leaf.SerialNumber.Int64() != serial {
			t.Errorf("got %v, %v, want %d", pair.Leaf.SerialNumber, err, serial)
		}
		c.checked = time.Time{} // the next look is not too soon
	}
	want(1)
	change(func() { writePair(t, certFile, keyFile, 2) })
	want(2)
	change(func() {
		if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	want(2)
	change(func() { writePair(t, certFile, keyFile, 3) })
	want(3)
}

func writePair(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		t.Fatal(err)
	}
}
