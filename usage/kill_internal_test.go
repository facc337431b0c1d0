package usage

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childEnv names the journal to a process of this test binary that is to be
// killed, and childMode what it does.
const (
	childEnv  = "OCRMUX_TEST_USAGE_JOURNAL"
	childMode = "OCRMUX_TEST_USAGE_MODE"
)

// TestMain lets the test binary be the process that records.
func TestMain(m *testing.M) {
	path := os.Getenv(childEnv)
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "run":
		recordForever(path, func(l *Ledger) { _ = l.Run(context.Background()) })
	case "rewrite":
		recordForever(path, func(l *Ledger) {
			for range time.Tick(10 * time.Millisecond) {
				l.tell(l.write(true))
				l.adopt(<-l.rewrite())
			}
		})
	case "limit":
		os.Exit(recordWithoutRoom(path))
	}
}

// burst is how many images are recorded at once.
const burst = 20

// recordForever records images and tells on standard output how many there
// were, until it is killed.
func recordForever(path string, run func(*Ledger)) {
	l, err := Open(Config{Path: path}, Deps{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go run(l)
	var recorded uint64
	for range time.Tick(time.Millisecond) {
		for range burst {
			recorded++
			l.Record(Who{Tenant: "acme", Key: fmt.Sprint(recorded % 500), Model: "m", Route: "/ocr"}, Counts{Requests: 1, Images: 1})
		}
		if err := binary.Write(os.Stdout, binary.LittleEndian, recorded); err != nil {
			os.Exit(0) // the test is gone
		}
	}
}

// slack is what a busy machine may add to the second that a kill may cost.
const slack = 750 * time.Millisecond

func TestKilledProcesses_LoseASecondAtMost(t *testing.T) {
	kills := 3
	if testing.Short() {
		kills = 1
	}
	for _, mode := range []string{"run", "run", "rewrite", "rewrite"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "usage.jsonl")
			var known uint64
			for range kills {
				lived := 300*time.Millisecond + rand.N(2*time.Second)
				known = killed(t, path, mode, known, lived)
			}
		})
	}
}

// killed lets a process record for some time, kills it, and returns how many
// images the journal has then.
func killed(t *testing.T, path, mode string, before uint64, lived time.Duration) uint64 {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+path, childMode+"="+mode)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	type mark struct {
		at       time.Time
		recorded uint64
	}
	var marks []mark
	timer := time.AfterFunc(lived, func() { _ = child.Process.Kill() })
	defer timer.Stop()
	in := bufio.NewReader(out)
	for {
		var recorded uint64
		if err := binary.Read(in, binary.LittleEndian, &recorded); err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, mark{time.Now(), recorded})
	}
	if err := child.Wait(); err == nil || len(marks) == 0 {
		t.Fatalf("the process ended by itself: %v", err)
	}
	l, err := Open(Config{Path: path}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	total := l.Report(Filter{}).Month.Total
	if err := l.journal.close(); err != nil {
		t.Fatal(err)
	}
	last := marks[len(marks)-1]
	got := uint64(total.Images)
	if got > before+last.recorded+burst || total.Requests != total.Images {
		t.Fatalf("%+v, and only %d and %d were recorded", total, before, last.recorded)
	}
	lost := last.at.Sub(marks[0].at) // how old the oldest is that was lost
	for _, m := range marks {
		if before+m.recorded <= got {
			lost = last.at.Sub(m.at)
		}
	}
	if lost > time.Second+slack {
		t.Errorf("killed after %v: the last %v are lost", lived, lost)
	}
	t.Logf("killed after %v: %d recorded, the last %v of it lost", lived.Round(time.Millisecond), last.recorded, lost.Round(time.Millisecond))
	return got
}
