package usage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrLocked says that another process writes the journal. Two would write over
// each other's lines.
var ErrLocked = errors.New("another process writes this journal")

// errReplaced says that the journal is not the file any more that was opened.
var errReplaced = errors.New("the journal was moved, removed or cut off")

// file is what the journal needs of an *os.File.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// opener opens a file for reading and writing. It is a parameter so that tests
// can lose power.
type opener func(path string, flag int) (file, error)

func openFile(path string, flag int) (file, error) {
	return os.OpenFile(path, os.O_RDWR|flag, 0o600)
}

// journal is a file that only grows, until it is written anew. Only one
// goroutine uses it, but for rewrite.
type journal struct {
	path string
	open opener
	lock *os.File
	file file
	size int64 // what is before it is written and synced
	// renamed says that the name of a file written anew may not outlast a power
	// failure yet.
	renamed bool
}

func openJournal(path string, open opener) (j *journal, err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // writing anew replaces the file, not a link to it
	}
	j = &journal{path: path, open: open, renamed: true}
	if j.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	if j.file, err = open(path, os.O_CREATE); err != nil {
		return nil, errors.Join(err, j.lock.Close())
	}
	if err := os.Remove(j.beside()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, j.close())
	}
	return j, nil
}

// lockFile takes the lock that the file at path stands for. The system drops it
// with the process. It is not the journal's own: that is replaced.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

func (j *journal) close() error { return errors.Join(j.file.Close(), j.lock.Close()) }

// replay reads the journal and goes on behind its last good line.
func (j *journal) replay(apply func(record)) (findings, error) {
	found, err := replay(io.NewSectionReader(j.file, 0, 1<<62), apply)
	j.size = found.good
	return found, err
}

// append writes a batch and syncs it. After an error, nothing but the same batch
// may be appended, or the journal be written anew: a part of it may be on the
// disk and stay there.
func (j *journal) append(batch []byte) error {
	if err := j.inPlace(); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(batch, j.size); err != nil {
		return errors.Join(err, j.cut()) // nobody shall read half a line
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	if err := j.syncName(); err != nil {
		return err
	}
	j.size += int64(len(batch))
	return nil
}

// cut drops what is behind the last good line.
func (j *journal) cut() error { return j.file.Truncate(j.size) }

// inPlace finds out whether somebody moved, removed or emptied the journal: what
// is written to a file without a name is lost.
func (j *journal) inPlace() error {
	mine, err := j.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(j.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!os.SameFile(mine, named) || named.Size() < j.size) {
		return errReplaced
	}
	return err
}

func (j *journal) syncName() error {
	if !j.renamed {
		return nil
	}
	dir, err := os.Open(filepath.Dir(j.path))
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return err
	}
	j.renamed = false
	return nil
}

// beside is where the journal is written anew. Only who has the lock writes
// there, so a fixed name will do, and a crash leaves one such file at most.
func (j *journal) beside() string { return j.path + ".new" }

// rewrite writes text to a file beside the journal, synced. It may run while
// the journal is appended to.
func (j *journal) rewrite(text []byte) (file, error) {
	f, err := j.open(j.beside(), os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, j.discard(f))
	}
	return f, nil
}

func (j *journal) discard(beside file) error {
	return errors.Join(beside.Close(), os.Remove(j.beside()))
}

// adopt puts a file of that size in the journal's place, after copying to it
// what the journal got from the offset on.
func (j *journal) adopt(beside file, size, from int64) error {
	tail := io.NewSectionReader(j.file, from, j.size-from)
	n, err := io.Copy(io.NewOffsetWriter(beside, size), tail)
	if err == nil && n != tail.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && n > 0 {
		err = beside.Sync()
	}
	if err == nil {
		err = os.Rename(j.beside(), j.path)
	}
	if err != nil {
		return errors.Join(err, j.discard(beside))
	}
	j.file.Close() // all that it said is in the new one
	j.file, j.size, j.renamed = beside, size+n, true
	return nil
}
