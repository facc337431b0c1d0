package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	flips = flag.Int("flips", 1000, "bits flipped in the files of a store")
	kills = flag.Int("kills", 20, "processes killed while they write")
)

// Wherever one bit of the files is flipped, what is found is right, little else
// is lost, and the store goes on.
func TestDisk_SurvivesAFlippedBitAnywhere(t *testing.T) {
	const numbers = 40
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 160 << 10}
	d := open(t, cfg)
	for n := range numbers {
		store(t, d, n, "t")
	}
	segments := len(d.segments)
	d.Close()
	sound := contents(t, cfg.Dir)
	random := rand.New(rand.NewPCG(11, 12))
	lost, most := 0, 0
	for range *flips {
		name, at := pick(random, sound)
		damaged := slices.Clone(sound[name])
		damaged[at] ^= 1 << random.IntN(8)
		lay(t, cfg.Dir, sound)
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := OpenDisk(cfg, nil)
		if err != nil {
			t.Fatalf("%s, byte %d: %v", name, at, err)
		}
		missing := 0
		for n := range numbers {
			if !right(t, d, n) {
				missing++
			}
		}
		store(t, d, numbers, "t")
		if !right(t, d, numbers) {
			t.Fatalf("%s, byte %d: nothing is stored any more", name, at)
		}
		lost, most = lost+missing, max(most, missing)
		if missing > 1 && at >= block {
			t.Errorf("%s, byte %d: %d results lost for one bit", name, at, missing)
		}
		d.Close()
	}
	t.Logf("%d results in %d files; %d bits flipped one by one: %d results lost, at most %d at once", numbers, segments, *flips, lost, most)
	if lost < *flips/4 {
		t.Errorf("only %d results lost: were the flips where the results are?", lost)
	}
}

// pick chooses a byte of the files: any, or one in three times one of what a
// segment or a record says of itself.
func pick(random *rand.Rand, files map[string][]byte) (name string, at int) {
	names := slices.Sorted(maps.Keys(files))
	name = names[random.IntN(len(names))]
	at = random.IntN(len(files[name]))
	if random.IntN(3) == 0 {
		at = at/block*block + random.IntN(headSize)
	}
	return name, at
}

// A process that dies in the middle of a write leaves the beginning of a record.
func TestDisk_SurvivesAnUnfinishedWrite(t *testing.T) {
	cfg := DiskConfig{Dir: t.TempDir(), MaxBytes: 1 << 20}
	d := open(t, cfg)
	const numbers = 8
	var ends []int64 // of the records
	for n := range numbers {
		store(t, d, n, "t")
		ends = append(ends, d.segments[0].size)
	}
	d.Close()
	sound := contents(t, cfg.Dir)
	whole := sound[segmentName(0)]
	for size := len(whole); size >= 0; size -= 37 {
		lay(t, cfg.Dir, map[string][]byte{segmentName(0): whole[:size]})
		d := open(t, cfg)
		if d.Size() != onDisk(t, cfg.Dir)-aside(t, cfg.Dir) {
			t.Fatalf("%d bytes: %d counted, %d on disk", size, d.Size(), onDisk(t, cfg.Dir))
		}
		for n, end := range ends {
			if right(t, d, n) != (int64(size) >= end) {
				t.Fatalf("%d bytes: number %d, which ends at %d: there %t", size, n, end, int64(size) < end)
			}
		}
		store(t, d, numbers, "t") // stands where the unfinished one stood
		d.Close()
		d = open(t, cfg)
		if !right(t, d, numbers) || right(t, d, 0) != (int64(size) >= ends[0]) {
			t.Fatalf("%d bytes: what was stored next is gone", size)
		}
		d.Close()
	}
}

func aside(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "aside"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// The same while the store is open.
func TestDisk_SurvivesBitsThatFlipUnderIt(t *testing.T) {
	const numbers = 40
	d := open(t, DiskConfig{Dir: t.TempDir(), MaxBytes: 160 << 10})
	random := rand.New(rand.NewPCG(13, 14))
	found := 0
	for range *flips / 10 {
		for n := range numbers {
			store(t, d, n, "t")
		}
		for range 10 {
			s := d.segments[random.IntN(len(d.segments))]
			at, b := random.Int64N(s.size), make([]byte, 1)
			if _, err := s.file.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1 << random.IntN(8)
			if _, err := s.file.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
		for n := range numbers {
			if right(t, d, n) {
				found++
			}
		}
	}
	if found < numbers**flips/10/2 || found == numbers**flips/10 {
		t.Errorf("%d of %d found", found, numbers**flips/10)
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	names, err := filepath.Glob(filepath.Join(dir, "*.results"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = content
	}
	return files
}

// lay makes files all that is stored in dir.
func lay(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	there := contents(t, dir)
	for name := range there {
		if files[name] == nil {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, content := range files {
		if bytes.Equal(there[name], content) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// victimDir tells the test's own binary, started again, to write there until it
// is killed.
const victimDir = "OCRMUX_CACHE_VICTIM"

const (
	victimBytes   = 300 << 10
	victimNumbers = 150
)

func victim(dir string) {
	d, err := OpenDisk(DiskConfig{Dir: dir, MaxBytes: victimBytes}, nil)
	if err != nil {
		panic(err)
	}
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for {
		if random.IntN(50) == 0 {
			fmt.Println("deleting odd")
			if _, err := d.Delete(context.Background(), "odd", ""); err != nil {
				panic(err)
			}
			fmt.Println("deleted odd")
		}
		var batch []result // as Tiered does it
		for range 1 + random.IntN(8) {
			n := random.IntN(victimNumbers)
			k, value := numbered(n)
			batch = append(batch, result{k, newEntry(k, value, label{[]string{"even", "odd"}[n%2], "m"}, d.now())})
			fmt.Println("storing", n)
		}
		if err := d.store(batch); err != nil {
			panic(err)
		}
		fmt.Println("stored")
	}
}

// A process that is killed while it writes leaves right results, all that it
// said were stored among them but those that made room, and none that it said
// were deleted. The next one goes on in the same files.
func TestDisk_SurvivesKill9(t *testing.T) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	found := 0
	for range *kills {
		said := kill(t, dir, 20+random.IntN(2000))
		d, err := OpenDisk(DiskConfig{Dir: dir, MaxBytes: victimBytes}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range victimNumbers {
			there := right(t, d, n)
			if there {
				found++
			}
			if !there && said.recent[n] {
				t.Errorf("number %d was stored just before, and is gone", n)
			}
			if there && said.deleted && n%2 == 1 && !said.since[n] {
				t.Errorf("number %d was deleted, and is there", n)
			}
		}
		d.Close()
	}
	t.Logf("%d kills: %d right results found", *kills, found)
	if found == 0 {
		t.Error("no result was found at all")
	}
}

// testimony is what a killed process said of its work.
type testimony struct {
	recent  map[int]bool // stored for sure, and too new to have made room
	deleted bool         // odd numbers were deleted
	since   map[int]bool // perhaps stored since then
}

// kill starts a victim, lets it say so many lines, and kills it.
func kill(t *testing.T, dir string, lines int) testimony {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestDisk_SurvivesKill9$")
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := testimony{since: make(map[int]bool)}
	var stored, storing []int
	scanner := bufio.NewScanner(out)
	for i := 0; scanner.Scan(); i++ {
		if i == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		var n int
		switch line := scanner.Text(); {
		case line == "deleting odd": // from here on nobody knows of the odd ones
			stored = slices.DeleteFunc(stored, func(n int) bool { return n%2 == 1 })
		case line == "deleted odd":
			said.deleted = true
			clear(said.since)
		case line == "stored":
			stored, storing = append(stored, storing...), nil
		case strings.HasPrefix(line, "storing"):
			if _, err := fmt.Sscanf(line, "storing %d", &n); err != nil {
				t.Fatal(err)
			}
			storing, said.since[n] = append(storing, n), true
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the victim ended by itself: %v", err)
	}
	// A batch has eight results of 4.5 kB at most, and a sixteenth of the budget is let go at once.
	said.recent = make(map[int]bool)
	for _, n := range stored[max(0, len(stored)-30):] {
		said.recent[n] = true
	}
	return said
}
