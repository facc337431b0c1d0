package stand

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds every wait for a process to start, answer or end.
const Patience = 30 * time.Second

// Process is a program that a test has started. Its output is kept and shown
// when the test fails.
type Process struct {
	name, program string
	args          []string
	log           *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Start runs a program until the test ends.
func Start(t testing.TB, name, program string, args ...string) *Process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{name: name, program: program, args: args, log: log}
	p.Again(t)
	t.Cleanup(func() {
		p.End(t, syscall.SIGTERM)
		if text := p.Log(t); t.Failed() {
			t.Logf("%s said at the end:\n%s", name, text[max(0, len(text)-4000):])
		}
		_ = log.Close()
	})
	return p
}

// Again starts an ended program once more, with the same arguments and log.
func (p *Process) Again(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait() // how it ended is for tests to see by what it did
		close(done)
	}()
}

// Signal sends a signal and does not wait for what follows.
func (p *Process) Signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// End signals the process and waits until it is gone, at most for Patience.
func (p *Process) End(t testing.TB, signal syscall.Signal) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a stopped one would not hear
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.done:
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not end in %s after signal %v", p.name, Patience, signal)
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is all that the process has said so far.
func (p *Process) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// PeakRSS is the most memory the process has had resident, in bytes, since it
// began or since ResetPeak.
func (p *Process) PeakRSS(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// ResetPeak lets PeakRSS begin anew at what is resident now. It needs root.
func (p *Process) ResetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// WaitFor asks until the answer is 200, at most for Patience.
func WaitFor(t testing.TB, url string) {
	t.Helper()
	last := "nothing"
	client := &http.Client{Timeout: 2 * time.Second}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); <-again.C {
		res, err := client.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		_ = res.Body.Close()
		if last = res.Status; res.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatalf("%s did not become ready in %s; last: %s", url, Patience, last)
}

// FreeAddress is an address that nobody listens on at the moment. Its port lies
// below those that systems hand out to outgoing connections, of which tests make
// thousands: one of them could take it before the program that it is for.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(17000))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
	t.Fatal("a hundred ports were all in use")
	return ""
}

var (
	building sync.Once
	built    string
	buildErr error
)

// program is the path of one of our binaries: in $OCRMUX_BIN, where `make test`
// has put them, or built now, once, for this run.
func program(t testing.TB, name string) string {
	t.Helper()
	building.Do(func() {
		if built = os.Getenv("OCRMUX_BIN"); built != "" {
			return
		}
		built = filepath.Join(os.TempDir(), fmt.Sprintf("ocrmux-%d", os.Getpid()))
		out, err := exec.Command("go", "build", "-o", built+"/", Repository("cmd/router"), Repository("cmd/vllmsim")).CombinedOutput()
		if err != nil {
			buildErr = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return filepath.Join(built, name)
}
