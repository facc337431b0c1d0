package drivers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience bounds one command; an SDK itself would wait for ten minutes.
const patience = 2 * time.Minute

// process is an SDK of another language.
type process struct {
	kill   func() error
	stdin  io.Writer
	stdout *bufio.Reader
	stderr *strings.Builder
}

// start runs a driver program; it ends with the test, and fails the test if it
// did not end well.
func start(t testing.TB, name string, args ...string) Driver {
	t.Helper()
	cmd := exec.Command(name, args...)
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // ends the driver's loop
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, stderr)
		}
	})
	return &process{kill: cmd.Process.Kill, stdin: stdin, stdout: bufio.NewReader(stdout), stderr: stderr}
}

func (p *process) Do(c Command, began func()) (Answer, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return Answer{}, err
	}
	late := time.AfterFunc(patience, func() { _ = p.kill() })
	defer late.Stop()
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return Answer{}, fmt.Errorf("the driver has ended: %w\n%s", err, p.stderr)
	}
	for {
		line, err := p.stdout.ReadBytes('\n')
		if err != nil {
			return Answer{}, fmt.Errorf("the driver has ended: %w\n%s", err, p.stderr)
		}
		var said struct {
			Began bool `json:"began"`
			Answer
		}
		if err := json.Unmarshal(line, &said); err != nil {
			return Answer{}, fmt.Errorf("the driver said %.500q: %w", line, err)
		}
		if !said.Began {
			return said.Answer, nil
		}
		began()
	}
}
