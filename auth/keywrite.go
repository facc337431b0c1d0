package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"
)

// KeyOptions describes a key to be created.
type KeyOptions struct {
	Tenant       string
	Expires      time.Time // zero: never
	LoopbackOnly bool
	Note         string
}

// NotWrittenError says that a key file could not be written, as on a read-only
// or single-file mount, and carries what a person can insert instead.
type NotWrittenError struct {
	Path string
	// Entry is the YAML text to insert.
	Entry string
	Err   error
}

func (e *NotWrittenError) Error() string {
	return fmt.Sprintf("%s was not written: %v", e.Path, e.Err)
}

func (e *NotWrittenError) Unwrap() error { return e.Err }

// CreateKey makes a key for a tenant of the key file and adds its entry. Where
// no file is, it makes one with that tenant, without limits. The plaintext is
// kept nowhere: show it once. With a *NotWrittenError the key and its entry are
// returned too, and are good once the entry is inserted.
func CreateKey(path string, pepper []byte, opts KeyOptions) (plaintext string, entry KeyEntry, err error) {
	hashers, err := newHashers(pepper)
	if err != nil {
		return "", KeyEntry{}, err
	}
	plaintext, id := newKey()
	_, sum, err := hashers.parse(plaintext)
	if err != nil {
		return "", KeyEntry{}, err
	}
	entry = KeyEntry{
		ID:           id,
		Tenant:       opts.Tenant,
		Hash:         sum,
		Created:      time.Now().UTC().Truncate(time.Second),
		Expires:      opts.Expires.UTC().Truncate(time.Second),
		LoopbackOnly: opts.LoopbackOnly,
		Note:         opts.Note,
	}
	err = editKeyFile(path, func(content []byte) ([]byte, error) { return insertKey(path, content, entry) })
	var notWritten *NotWrittenError
	if errors.As(err, &notWritten) {
		text, encodeErr := encodeYAML([]KeyEntry{entry})
		notWritten.Entry = string(text)
		return plaintext, entry, errors.Join(err, encodeErr)
	}
	if err != nil {
		return "", KeyEntry{}, err
	}
	return plaintext, entry, nil
}

// insertKey returns a key file's content with one more key. Content is nil where
// there is no file yet.
func insertKey(path string, content []byte, entry KeyEntry) (written []byte, err error) {
	if content == nil {
		written, err = encodeYAML(KeyFile{Tenants: []Tenant{{Name: entry.Tenant}}, Keys: []KeyEntry{entry}})
	} else {
		written, err = appendKey(path, content, entry)
	}
	if err != nil {
		return nil, err
	}
	if _, err := parseKeyFile(path, written); err != nil {
		return nil, fmt.Errorf("with the new key: %w", err)
	}
	return written, nil
}

// appendKey puts an entry at the end of a file's keys and keeps the comments.
func appendKey(path string, content []byte, entry KeyEntry) ([]byte, error) {
	file, err := parseKeyFile(path, content)
	if err != nil {
		return nil, err // what is broken is repaired by hand, not written over
	}
	if !slices.ContainsFunc(file.Tenants, func(t Tenant) bool { return t.Name == entry.Tenant }) {
		return nil, fmt.Errorf("tenant %q is not in %s; it has: %s", entry.Tenant, path, tenantNames(file))
	}
	var doc, node yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, err
	}
	if err := node.Encode(entry); err != nil {
		return nil, err
	}
	name, keys := topLevel(&doc, "keys")
	if keys == nil {
		name, keys = &yaml.Node{Kind: yaml.ScalarNode, Value: "keys"}, new(yaml.Node)
		doc.Content[0].Content = append(doc.Content[0].Content, name, keys)
	}
	if keys.Kind != yaml.SequenceNode { // "keys:" and nothing, or absent
		*keys = yaml.Node{Kind: yaml.SequenceNode, HeadComment: keys.HeadComment, LineComment: keys.LineComment, FootComment: keys.FootComment}
	}
	if keys.LineComment != "" { // a sequence in lines of its own has no line for it
		name.LineComment, keys.LineComment = keys.LineComment, ""
	}
	keys.Style &^= yaml.FlowStyle
	keys.Content = append(keys.Content, &node)
	return encodeYAML(&doc)
}

func tenantNames(file *KeyFile) string {
	var names []string
	for _, t := range file.Tenants {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

func encodeYAML(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

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
		return fmt.Errorf("%s was written, but may not outlast a power failure: %w", path, err)
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
