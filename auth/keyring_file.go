package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// NotWrittenError says that a key file could not be written, as on a read-only
// or single-file mount, and carries what a person can do instead.
type NotWrittenError struct {
	Path string
	// Instead is what to do by hand, with Entry, as a clause without an end.
	Instead string
	// Entry is YAML text: the entries as they should stand. Empty where one is to be deleted.
	Entry string
	Err   error
}

func (e *NotWrittenError) Error() string {
	return fmt.Sprintf("%s was not written: %v", e.Path, e.Err)
}

func (e *NotWrittenError) Unwrap() error { return e.Err }

// Help tells a person what to do instead. It holds hashes and no key.
func (e *NotWrittenError) Help() string {
	if e.Entry == "" {
		return e.Instead
	}
	return e.Instead + ":\n\n" + e.Entry
}

// errUnsynced says that a change has been made and may be lost again.
var errUnsynced = errors.New("was written, but may not outlast a power failure")

// editKeyFile replaces a key file's content by what change makes of it (nil
// where there is no file yet), under a lock that other writers respect. Readers
// see the old content or the new one, also after a crash. What change returns
// as an error is returned as it is; what the file system refuses becomes a
// *NotWrittenError.
func editKeyFile(path string, change func(content []byte) ([]byte, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the rename replaces the file, not a link to it
	}
	unlock, lockErr := lockFile(path + ".lock")
	if lockErr == nil {
		defer unlock()
	}
	content, err := readKeyFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && content == nil {
		content = []byte{}
	}
	changed, err := change(content) // before lockErr: a mistake is told as such on a read-only mount too
	if err != nil {
		return err
	}
	if lockErr == nil {
		lockErr = replaceFile(path, changed)
	}
	if lockErr != nil {
		return &NotWrittenError{Path: path, Err: lockErr}
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s %w: %w", path, errUnsynced, err)
	}
	return nil
}

// replaceFile writes beside path, with its owner and mode (0600 where there was
// no file), and renames.
func replaceFile(path string, content []byte) (err error) {
	beside, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			beside.Close()
			os.Remove(beside.Name())
		}
	}()
	if old, statErr := os.Stat(path); statErr == nil {
		if err := keepOwner(beside, old); err != nil {
			return err
		}
	}
	if _, err := beside.Write(content); err != nil {
		return err
	}
	if err := beside.Sync(); err != nil {
		return err
	}
	if err := beside.Close(); err != nil {
		return err
	}
	return os.Rename(beside.Name(), path)
}

func keepOwner(f *os.File, old fs.FileInfo) error {
	if owner, ok := old.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(old.Mode().Perm()) // after the owner, who could otherwise lose it
}

// syncDirectory makes a rename last.
func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// lockPatience is how long a writer waits for another one.
const lockPatience = 5 * time.Second

// lockFile takes the lock that the file at path stands for. The system drops it
// with the process that holds it, and the file stays: removing it would let two
// writers hold two locks of the same name.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
