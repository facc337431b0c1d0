package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrUnknownKey says that no key has that id.
var ErrUnknownKey = errors.New("there is no such key")

// ErrUnknownTenant says that no tenant has that name.
var ErrUnknownTenant = errors.New("there is no such tenant")

// ErrTenantHasKeys says that a tenant cannot be deleted before its keys.
var ErrTenantHasKeys = errors.New("the tenant has keys")

// ErrKeyDisabled says that a key must be enabled first.
var ErrKeyDisabled = errors.New("the key is disabled")

// InvalidError is a value that a key file must not hold.
type InvalidError struct {
	// Field is the one with the value, such as "grace".
	Field string
	Err   error
}

func (e *InvalidError) Error() string { return e.Err.Error() }

func (e *InvalidError) Unwrap() error { return e.Err }

// KeyRing edits a key file while people and other programs edit it too, and
// routers follow it. Every method reads the file anew, changes one thing under
// a lock and keeps the comments around it. What cannot be written is a
// *NotWrittenError; a file that does not load is returned as Load would and is
// left alone.
type KeyRing struct {
	path    string
	hashers *hashers
}

// NewKeyRing returns the ring of a key file, which need not exist yet.
func NewKeyRing(path string, pepper []byte) (*KeyRing, error) {
	hashers, err := newHashers(pepper)
	if err != nil {
		return nil, err
	}
	return &KeyRing{path: path, hashers: hashers}, nil
}

// File returns what the key file says now.
func (r *KeyRing) File() (*KeyFile, error) { return Load(r.path) }

// KeyOptions describes a key to be created.
type KeyOptions struct {
	Tenant       string
	Expires      time.Time // zero: never
	LoopbackOnly bool
	Limits       Limits
	Note         string
}

// Create makes a key for a tenant of the key file and adds its entry. Where no
// file is, it makes one with that tenant, without limits. The plaintext is kept
// nowhere: show it once. With a *NotWrittenError the key and its entry are
// returned too, and are good once the entry is inserted.
func (r *KeyRing) Create(o KeyOptions) (plaintext string, entry KeyEntry, err error) {
	plaintext, entry, err = r.newKey(o, time.Now())
	if err != nil {
		return "", KeyEntry{}, err
	}
	err = r.edit(func(d *draft) error {
		if d.fresh {
			if err := d.addTenant(Tenant{Name: o.Tenant}); err != nil {
				return err
			}
		}
		d.instead(`insert under "keys:"`, entry)
		return d.addKey(entry)
	})
	if err != nil && !keepsKey(err) {
		return "", KeyEntry{}, err
	}
	return plaintext, entry, err
}

// Rotate makes a key with the same tenant, limits and note as another one, and
// lets that one expire after grace, if it does not sooner. Until then both are
// good. The new key has no end, whatever the old one had. The plaintext is as
// with Create, also with a *NotWrittenError.
func (r *KeyRing) Rotate(id string, grace time.Duration) (plaintext string, entry, old KeyEntry, err error) {
	if grace < 0 {
		return "", KeyEntry{}, KeyEntry{}, &InvalidError{"grace", errors.New("grace must not be negative")}
	}
	err = r.edit(func(d *draft) error {
		i, err := d.key(id)
		if err != nil {
			return err
		}
		old = d.file.Keys[i]
		if old.Disabled {
			return fmt.Errorf("key %s: %w; enable it first, or create another", id, ErrKeyDisabled)
		}
		now := time.Now()
		plaintext, entry, err = r.newKey(KeyOptions{
			Tenant:       old.Tenant,
			LoopbackOnly: old.LoopbackOnly,
			Limits:       old.Limits,
			Note:         old.Note,
		}, now)
		if err != nil {
			return err
		}
		if end := wholeSeconds(now.Add(grace)); old.Expires.IsZero() || end.Before(old.Expires) {
			old.Expires = end
		}
		d.instead(`write under "keys:", in place of key `+id, old, entry)
		if err := d.setKey(i, old); err != nil {
			return err
		}
		return d.addKey(entry)
	})
	if err != nil && !keepsKey(err) {
		return "", KeyEntry{}, KeyEntry{}, err
	}
	return plaintext, entry, old, err
}

// Disable makes a key be refused until it is enabled. Work in progress ends as it would.
func (r *KeyRing) Disable(id string) (KeyEntry, error) { return r.setDisabled(id, true) }

// Enable takes Disable back. A key that has expired stays so.
func (r *KeyRing) Enable(id string) (KeyEntry, error) { return r.setDisabled(id, false) }

func (r *KeyRing) setDisabled(id string, disabled bool) (entry KeyEntry, err error) {
	err = r.edit(func(d *draft) error {
		i, err := d.key(id)
		if err != nil {
			return err
		}
		entry = d.file.Keys[i]
		if entry.Disabled == disabled {
			return errUnchanged
		}
		entry.Disabled = disabled
		d.instead(`write under "keys:", in place of key `+id, entry)
		return d.setKey(i, entry)
	})
	return entry, err
}

// Delete takes a key's entry away, and returns what it was.
func (r *KeyRing) Delete(id string) (entry KeyEntry, err error) {
	err = r.edit(func(d *draft) error {
		i, err := d.key(id)
		if err != nil {
			return err
		}
		entry = d.file.Keys[i]
		d.instead("delete the entry of key " + id)
		d.file.Keys = slices.Delete(d.file.Keys, i, i+1)
		return d.text.remove(listKeys, i)
	})
	return entry, err
}

// newKey makes a key and the entry that a key file keeps of it.
func (r *KeyRing) newKey(o KeyOptions, now time.Time) (plaintext string, entry KeyEntry, err error) {
	plaintext, id := newKey()
	_, sum, err := r.hashers.parse(plaintext)
	if err != nil {
		return "", KeyEntry{}, err
	}
	return plaintext, KeyEntry{
		ID:           id,
		Tenant:       o.Tenant,
		Hash:         sum,
		Created:      wholeSeconds(now),
		Expires:      wholeSeconds(o.Expires),
		LoopbackOnly: o.LoopbackOnly,
		Limits:       o.Limits,
		Note:         o.Note,
	}, nil
}

// wholeSeconds rounds down: a key that ends now has ended.
func wholeSeconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// errUnchanged ends an edit that would change nothing. Nobody gets to see it.
var errUnchanged = errors.New("unchanged")

// draft is a key file while it is edited: what it is to say, and how it says it.
type draft struct {
	file  *KeyFile
	text  *keyText
	fresh bool // there was no file
	help  NotWrittenError
}

// edit changes the key file. The text is written only if it says what the draft's
// file says: an edit never changes what it was not asked to.
func (r *KeyRing) edit(change func(*draft) error) error {
	var d *draft
	err := editKeyFile(r.path, func(content []byte) (written []byte, err error) {
		if d, err = newDraft(r.path, content); err != nil {
			return nil, err
		}
		if err := change(d); err != nil {
			return nil, err
		}
		return d.written(r.path)
	})
	var notWritten *NotWrittenError
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case errors.Is(err, errUnusual):
		notWritten = &NotWrittenError{Path: r.path, Err: err}
	case !errors.As(err, &notWritten):
		return err
	}
	notWritten.Instead, notWritten.Entry = d.help.Instead, d.help.Entry
	return notWritten
}

func newDraft(path string, content []byte) (*draft, error) {
	d := &draft{fresh: content == nil, help: NotWrittenError{Instead: "edit it by hand"}}
	if d.fresh {
		content = []byte(listTenants + ":\n" + listKeys + ":\n")
	}
	var err error
	if d.file, err = parseKeyFile(path, content); err != nil {
		return nil, err // what is broken is repaired by hand, not written over
	}
	d.text, err = newKeyText(string(content))
	return d, err
}

// written returns the new text, after a proof that it is right.
func (d *draft) written(path string) ([]byte, error) {
	written := []byte(d.text.String())
	if len(written) > maxKeyFileBytes {
		return nil, fmt.Errorf("%s would be larger than %d MiB", path, maxKeyFileBytes>>20)
	}
	got, err := parseKeyFile(path, written)
	if err != nil {
		return nil, errUnusual
	}
	if !d.file.equal(got) {
		return nil, errUnusual
	}
	return written, nil
}

// key returns the place of a key in the file.
func (d *draft) key(id string) (int, error) {
	i := slices.IndexFunc(d.file.Keys, func(k KeyEntry) bool { return k.ID == id })
	if i < 0 {
		return 0, ErrUnknownKey
	}
	return i, nil
}

func (d *draft) addKey(entry KeyEntry) error {
	switch {
	case entry.Tenant == AnonymousTenant:
		return &InvalidError{"tenant", fmt.Errorf("tenant %q is for callers without a key", entry.Tenant)}
	case !slices.ContainsFunc(d.file.Tenants, func(t Tenant) bool { return t.Name == entry.Tenant }):
		return fmt.Errorf("tenant %q: %w; there are: %s", entry.Tenant, ErrUnknownTenant, strings.Join(d.tenantNames(), ", "))
	case !entry.Limits.valid():
		return &InvalidError{"limits", fmt.Errorf("a limit must not be negative, and at most %d", int64(maxLimit))}
	}
	d.file.Keys = append(d.file.Keys, entry)
	return d.text.insert(listKeys, entry)
}

func (d *draft) setKey(i int, entry KeyEntry) error {
	old := d.file.Keys[i]
	d.file.Keys[i] = entry
	return d.text.replace(listKeys, i, old, entry)
}

// instead prepares what a person is told if the file cannot be written.
func (d *draft) instead(do string, entries ...any) {
	d.help.Instead = do
	if len(entries) > 0 {
		text, err := encodeYAML(entries)
		if err != nil {
			panic(err) // entries and tenants can always be written as YAML
		}
		d.help.Entry = string(text)
	}
}

// keepsKey reports whether a new key is, or can become, good in spite of an error.
func keepsKey(err error) bool {
	var notWritten *NotWrittenError
	return errors.As(err, &notWritten) || errors.Is(err, errUnsynced)
}
