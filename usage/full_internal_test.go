package usage

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAFullDisk_StopsTheJournalAndNotTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &disk{random: rand.New(rand.NewPCG(3, 3))}
		path := filepath.Join(t.TempDir(), "usage.jsonl")
		var log strings.Builder
		l, err := open(Config{Path: path}, Deps{Log: slog.New(slog.NewTextHandler(&log, nil))}, disk.open)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- l.Run(ctx) }()
		images := int64(0)
		work := func(seconds int) {
			for range seconds {
				for i := range 20 {
					l.Record(Who{Tenant: "acme", Key: fmt.Sprint(i)}, Counts{Images: 1})
					images++
				}
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		work(5)
		good := l.journal.size
		disk.full.Store(true)
		work(60)
		if got := testutil.ToFloat64(l.metrics.writable); got != 0 {
			t.Errorf("writable: %v, want 0", got)
		}
		if got := testutil.ToFloat64(l.metrics.errors); got < 18 || got > 22 {
			t.Errorf("%v attempts in a minute, want one in 3 s", got)
		}
		if pages, _ := l.Month("acme"); pages != images {
			t.Errorf("%d pages are known, want %d", pages, images)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != good {
			t.Errorf("%d bytes, want %d: half of a write stays (%v)", info.Size(), good, err)
		}
		disk.full.Store(false)
		work(5)
		for range 3 { // every second again
			before := l.journal.size
			work(1)
			if l.journal.size == before {
				t.Error("nothing was written in a second")
			}
		}
		if got := testutil.ToFloat64(l.metrics.writable); got != 1 {
			t.Errorf("writable: %v, want 1", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "written again") {
			t.Errorf("the log has %d lines:\n%s", lines, log.String())
		}
		l, err = Open(Config{Path: path}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		if pages, _ := l.Month("acme"); pages != images {
			t.Errorf("%d pages after a restart, want %d", pages, images)
		}
	})
}

func TestRun_SaysWhereTheLastWriteFailed(t *testing.T) {
	disk := &disk{random: rand.New(rand.NewPCG(3, 3))}
	l, err := open(Config{Path: filepath.Join(t.TempDir(), "usage.jsonl")}, Deps{}, disk.open)
	if err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	l.Record(Who{Tenant: "acme"}, Counts{Images: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err == nil {
		t.Error("no error")
	}
}

// A disk of 64 KiB, where the system lets a test have one.
func TestASmallFileSystem_FillsUpAndIsEmptied(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no file system for a test: ", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path, ballast := filepath.Join(dir, "usage.jsonl"), filepath.Join(dir, "ballast")
	l, err := Open(Config{Path: path}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	images := int64(0)
	for i := 0; ; i++ {
		l.Record(Who{Tenant: "acme", Key: fmt.Sprint(i % 40)}, Counts{Images: 1})
		images++
		if l.tell(l.write(true)); l.failing {
			break
		}
		if i == 20 {
			if err := os.WriteFile(ballast, make([]byte, 40<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if i > 1000 {
			t.Fatal("it does not fill up")
		}
	}
	for i := range 100 {
		l.Record(Who{Tenant: "acme", Key: fmt.Sprint(i)}, Counts{Images: 1})
		images++
	}
	l.tell(l.write(true))
	if !l.failing {
		t.Fatal("written without room")
	}
	if err := l.journal.close(); err != nil { // a router that dies now
		t.Fatal(err)
	}
	if l, err = Open(Config{Path: path}, Deps{}); err != nil { // and starts on a full disk
		t.Fatal(err)
	}
	if pages, _ := l.Month("acme"); pages != images-101 {
		t.Errorf("%d pages after a crash, want %d", pages, images-101)
	}
	images -= 101
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l.Record(Who{Tenant: "acme"}, Counts{Images: 1})
	images++
	if l.tell(l.write(true)); l.failing {
		t.Fatal("not written with room")
	}
	if err := l.journal.close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(Config{Path: path}, Deps{}); err != nil {
		t.Fatal(err)
	}
	if pages, _ := l.Month("acme"); pages != images {
		t.Errorf("%d pages, want %d", pages, images)
	}
	if err := l.journal.close(); err != nil {
		t.Fatal(err)
	}
}

// The system's own limit on the size of files stops a write in its middle,
// without rights and without a fake.
func TestALimitOnFiles_StopsTheJournalUntilItIsLifted(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+filepath.Join(t.TempDir(), "usage.jsonl"), childMode+"=limit")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// recordWithoutRoom is the process of the test above. It returns its exit code.
func recordWithoutRoom(path string) int {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(Config{Path: path}, Deps{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	record := func() {
		for i := range 30 {
			l.Record(Who{Tenant: "acme", Key: fmt.Sprint(i)}, Counts{Images: 1})
		}
	}
	limit := func(size uint64) error {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			return err
		}
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: min(size, old.Max), Max: old.Max})
	}
	record()
	if err := l.write(true); err != nil {
		fmt.Println("without a limit:", err)
		return 1
	}
	if err := limit(uint64(l.journal.size) + 1000); err != nil {
		fmt.Println(err)
		return 1
	}
	for range 3 {
		record()
		err := l.write(true)
		info, statErr := os.Stat(path)
		if err == nil || statErr != nil || info.Size() != l.journal.size {
			fmt.Println("under a limit:", err, info, statErr)
			return 1
		}
	}
	if err := limit(1 << 30); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := l.write(true); err != nil {
		fmt.Println("with the limit lifted:", err)
		return 1
	}
	if err := l.journal.close(); err != nil {
		fmt.Println(err)
		return 1
	}
	if l, err = Open(Config{Path: path}, Deps{}); err != nil {
		fmt.Println(err)
		return 1
	}
	if pages, _ := l.Month("acme"); pages != 120 {
		fmt.Println("pages:", pages)
		return 1
	}
	return 0
}
