package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocrmux/backends/sim"
)

// TestMain lets the test binary play vllmsim, so that tests meet a process.
func TestMain(m *testing.M) {
	if os.Getenv("PLAY_VLLMSIM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "PLAY_VLLMSIM=1")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

var address = regexp.MustCompile(`address=(\S+)`)

func TestProcess_ServesUntilSIGTERM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := command(ctx, "-listen", "127.0.0.1:0", "-ttft", "0s")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(log)
	first, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(first, "not DeepSeek-OCR") {
		t.Fatalf("log begins %q, %v", first, err)
	}
	url := "http://" + address.FindStringSubmatch(first)[1]

	// A request that hangs must not keep the process.
	post(t, url+"/sim/faults", `{"hang":true}`)
	go func() {
		_, _ = http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(`{"messages":[{"role":"user","content":"x"}]}`))
	}()
	for !strings.Contains(get(t, url+"/sim/stats"), `"in_progress":1`) {
		if ctx.Err() != nil {
			t.Fatal("the request never arrived")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit %v, log %s", err, rest)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func post(t *testing.T, url, body string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

func TestProcess_NamesABusyPortInOneLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := command(t.Context(), "-listen", l.Addr().String()).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(l.Addr().String()+" is in use")) || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("got %v and %q", err, out)
	}
}

func TestProcess_HelpSaysThatItIsAStandIn(t *testing.T) {
	out, err := command(t.Context(), "-h").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("not DeepSeek-OCR")) || !bytes.Contains(out, []byte("-speed")) {
		t.Errorf("got %v and %s", err, out)
	}
}

func TestConfigure(t *testing.T) {
	listen, cfg, err := configure([]string{"-listen", "x:1", "-tokens", "100-200", "-seed", "7", "-tpot", "2ms"})
	if err != nil || listen != "x:1" || cfg.Seed != 7 {
		t.Fatalf("got %q %+v %v", listen, cfg, err)
	}
	if want := (sim.Synthetic{Seed: 7, Tokens: sim.Range{Min: 100, Max: 200}}); cfg.Engine != want {
		t.Errorf("engine %+v, want %+v", cfg.Engine, want)
	}
	if want := (sim.Timing{PerToken: 2 * time.Millisecond}); cfg.Timing == nil || *cfg.Timing != want {
		t.Errorf("timing %+v, want %+v", cfg.Timing, want)
	}
	if _, cfg, _ := configure(nil); cfg.Timing != nil {
		t.Errorf("without flags timing is %+v, want the model", cfg.Timing)
	}
	if _, cfg, err := configure([]string{"-engine", "tesseract"}); err != nil || cfg.Timing == nil {
		t.Errorf("tesseract: timing %+v, %v", cfg.Timing, err)
	}
	for _, bad := range [][]string{{"-engine", "magic"}, {"-tokens", "0"}, {"-tokens", "9-3"}, {"-tokens", "many"}, {"extra"}} {
		if _, _, err := configure(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
