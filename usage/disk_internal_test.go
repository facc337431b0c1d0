package usage

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
)

// disk gives files that fail when they are told to, and that lose in a power
// failure what was not synced, each sector for itself.
type disk struct {
	random *rand.Rand

	faults bool        // operations fail at random
	full   atomic.Bool // every write stops somewhere
}

const sector = 128 // small, so that a batch has many

type diskFile struct {
	*os.File
	disk   *disk
	synced []byte // content when it was last synced
}

func (d *disk) open(path string, flag int) (file, error) {
	if d.fails() {
		return nil, syscall.EIO
	}
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d, synced: content}, nil
}

func (d *disk) fails() bool { return d.faults && d.random.IntN(4) == 0 }

func (f *diskFile) WriteAt(text []byte, offset int64) (int, error) {
	if f.disk.full.Load() || f.disk.fails() {
		n, err := f.File.WriteAt(text[:f.disk.random.IntN(len(text)+1)], offset)
		if err != nil {
			return n, err
		}
		return n, syscall.ENOSPC
	}
	return f.File.WriteAt(text, offset)
}

func (f *diskFile) Truncate(size int64) error {
	if f.disk.fails() {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

func (f *diskFile) Sync() error {
	content, err := os.ReadFile(f.name())
	if err != nil {
		return err
	}
	if f.disk.fails() {
		f.synced = f.disk.mix(f.synced, content) // some of it got there
		return syscall.EIO
	}
	f.synced = content
	return nil
}

// name is where the file is now, by its descriptor.
func (f *diskFile) name() string {
	target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		panic(err)
	}
	return target
}

// mix returns what a file may be after a power failure that was old when it was
// synced and is fresh now.
func (d *disk) mix(old, fresh []byte) []byte {
	size := len(fresh)
	if d.random.IntN(2) == 0 {
		size = len(old)
	}
	mixed := make([]byte, size) // what neither has is zero
	for from := 0; from < size; from += sector {
		source := fresh
		if d.random.IntN(2) == 0 {
			source = old
		}
		if from < len(source) {
			copy(mixed[from:min(from+sector, size)], source[from:])
		}
	}
	return mixed
}

// fail takes the power from all files: the journal is left as a crash may leave
// it, and its lock is free.
func (d *disk) fail(t testing.TB, l *Ledger) {
	t.Helper()
	current := l.journal.file.(*diskFile)
	content, err := os.ReadFile(l.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.journal.path, d.mix(current.synced, content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.journal.close(); err != nil {
		t.Fatal(err)
	}
}
