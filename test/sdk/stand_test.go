package sdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// root is the repository, seen from this package.
const root = "../.."

// model is what the stand serves.
const model = "deepseek-ai/DeepSeek-OCR"

// patience bounds every wait for a process to start, answer or end.
const patience = 30 * time.Second

// stand is a router before two stand-in backends, all processes of their own.
type stand struct {
	url      string
	key      string
	backends []*backend
}

// backend is one vllmsim process, which can be killed and started again.
type backend struct {
	url     string
	program string
	args    []string
	running *exec.Cmd
}

// configuration is the router's: no cache, so that every answer is a backend's;
// a breaker that forgives at once, since these backends fail on purpose; and the
// repository's own development key.
const configuration = `
http:
  listen: %s
admin:
  listen: %s
keys:
  file: %s
  pepper_file: %s
cache:
  max_bytes: 0
pools:
  pages:
    backends:
      - {name: first, url: %q}
      - {name: second, url: %q}
    health: {interval: 100ms}
    breaker: {open_min: 10ms, open_max: 20ms}
models:
  deepseek-ai/DeepSeek-OCR:
    pool: pages
    served_as: deepseek-ai/DeepSeek-OCR
    aliases: [deepseek-ocr]
`

// startStand starts a router and two vllmsim with the given arguments, and ends
// them with the test.
func startStand(t *testing.T, vllmsimArgs ...string) *stand {
	t.Helper()
	s := &stand{key: developmentKey(t)}
	for range 2 {
		address := freeAddress(t)
		b := &backend{
			url:     "http://" + address,
			program: filepath.Join(programs, "vllmsim"),
			args:    append([]string{"-listen", address}, vllmsimArgs...),
		}
		b.start(t)
		t.Cleanup(func() { end(b.running, syscall.SIGTERM) })
		s.backends = append(s.backends, b)
	}
	s.waitForBackends(t)

	address, admin := freeAddress(t), freeAddress(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf(configuration, address, admin,
		absolute(t, "keys.yaml"), absolute(t, "configs/development.pepper"), s.backends[0].url, s.backends[1].url)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	router := start(t, filepath.Join(programs, "router"), "serve", "-config", config)
	t.Cleanup(func() { end(router, syscall.SIGTERM) })
	s.url = "http://" + address
	waitFor(t, s.url+"/readyz")
	return s
}

func (b *backend) start(t *testing.T) {
	t.Helper()
	b.running = start(t, b.program, b.args...)
}

// kill ends the process at once, as kill -9 does.
func (b *backend) kill() { end(b.running, syscall.SIGKILL) }

func (s *stand) waitForBackends(t *testing.T) {
	t.Helper()
	for _, b := range s.backends {
		waitFor(t, b.url+"/health")
	}
}

// setFaults puts every backend's faults in place; see POST /sim/faults.
func (s *stand) setFaults(t *testing.T, faults map[string]any) {
	t.Helper()
	body, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range s.backends {
		answer, err := http.Post(b.url+"/sim/faults", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("POST /sim/faults %s: %s %s", body, answer.Status, said)
		}
	}
}

// start runs a program whose output appears when the test fails.
func start(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(program)+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s said at the end:\n%s", filepath.Base(program), text[max(0, len(text)-4000):])
		}
		_ = log.Close()
	})
	return cmd
}

// end signals a process and waits until it is gone, at most for patience.
func end(cmd *exec.Cmd, signal syscall.Signal) {
	_ = cmd.Process.Signal(signal) // fails only if it has ended already
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait() // a killed process is no error here
}

// waitFor asks until the answer is 200.
func waitFor(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		last := ""
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
			last = answer.Status
		} else {
			last = err.Error()
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s did not become ready in %s; last: %s", url, patience, last)
		}
	}
}

// freeAddress is an address that nobody listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var keyLine = regexp.MustCompile(`(?m)^# *development key: *(\S+)`)

// developmentKey is the key that config.yaml prints for use on this machine.
func developmentKey(t *testing.T) string {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := keyLine.FindStringSubmatch(string(config))
	if found == nil {
		t.Fatal("config.yaml has no line `# development key: ...`")
	}
	return found[1]
}

// programs is the folder of router and vllmsim: OCRMUX_BIN, or made for this run.
var programs string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if programs = os.Getenv("OCRMUX_BIN"); programs == "" {
		folder, err := os.MkdirTemp("", "ocrmux-sdk-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		programs = folder
		if !ran("go", "build", "-o", folder, root+"/cmd/router", root+"/cmd/vllmsim") {
			return 1
		}
	}
	if !ran(root+"/scripts/sdk", "python") || !ran(root+"/scripts/sdk", "node") {
		return 1
	}
	return m.Run()
}

func ran(program string, args ...string) bool {
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", program, strings.Join(args, " "), err)
		return false
	}
	return true
}
