package auth

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxKeyFileBytes bounds what is read as a key file: room for 100,000 keys.
const maxKeyFileBytes = 32 << 20

const hashScheme = "hmac-sha256:"

// KeyFile is what keys.yaml says: tenants, and the keys that each of them holds.
type KeyFile struct {
	Tenants []Tenant   `yaml:"tenants"`
	Keys    []KeyEntry `yaml:"keys"`
}

// KeyEntry is a key as keys.yaml keeps it.
type KeyEntry struct {
	// ID is the part of the key that stands after sk-ocr-.
	ID string `yaml:"id"`
	// Tenant is the name of the tenant that holds the key.
	Tenant string `yaml:"tenant"`
	// Hash proves the key and does not tell it.
	Hash KeyHash `yaml:"hash"`
	// Created is for people to read.
	Created time.Time `yaml:"created,omitempty"`
	// Expires is the moment from which the key is refused. Absent means never.
	Expires time.Time `yaml:"expires,omitempty"`
	// Disabled keys are refused.
	Disabled bool `yaml:"disabled,omitempty"`
	// LoopbackOnly keys are refused from any peer but this machine.
	LoopbackOnly bool `yaml:"loopback_only,omitempty"`
	// Limits bound what this key may do, beside its tenant's: the tighter one counts.
	Limits Limits `yaml:"limits,omitempty"`
	// Note is for people to read.
	Note string `yaml:"note,omitempty"`
}

// Load reads a key file. Unknown keys, broken references and values out of range
// are errors, which name the line.
func Load(path string) (*KeyFile, error) {
	content, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	return parseKeyFile(path, content)
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxKeyFileBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxKeyFileBytes>>20)
	}
	return content, nil
}

// leaked finds a key that somebody put where it does not belong.
var leaked = regexp.MustCompile(keyPrefix + `[\w-]*`)

func parseKeyFile(path string, content []byte) (*KeyFile, error) {
	file, err := decodeKeyFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, leaked.ReplaceAllString(err.Error(), keyPrefix+"***"))
	}
	return file, nil
}

func decodeKeyFile(content []byte) (*KeyFile, error) {
	// Twice: the decoder knows what is unknown, the nodes know their lines.
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, plainYAMLError(err)
	}
	_, tenants := topLevel(&doc, "tenants")
	_, keys := topLevel(&doc, "keys")
	if err := errors.Join(checkEntries(tenants), checkEntries(keys)); err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	file := new(KeyFile)
	switch err := decoder.Decode(file); {
	case errors.Is(err, io.EOF):
		// An editor that empties a file before it writes must not revoke every key.
		return nil, errors.New(`is empty; "keys: []" says that there are no keys`)
	case err != nil:
		return nil, plainYAMLError(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("a second document follows the first")
	}
	return file, file.complete(entryLines(tenants), entryLines(keys))
}

// checkEntries says where an entry is empty or a time cannot be read: the
// decoder skips the one, and names no line for the other.
func checkEntries(sequence *yaml.Node) error {
	if sequence == nil {
		return nil
	}
	for _, entry := range sequence.Content {
		if entry.Tag == "!!null" {
			return fmt.Errorf("line %d: entry is empty", entry.Line)
		}
		for i := 0; i+1 < len(entry.Content); i += 2 {
			name, value := entry.Content[i].Value, entry.Content[i+1]
			if (name == "created" || name == "expires") && value.Decode(new(time.Time)) != nil {
				return fmt.Errorf("line %d: %s is not a time such as 2027-01-31T12:00:00Z", value.Line, name)
			}
		}
	}
	return nil
}

// complete sets what is absent to its default and checks the whole. The lines
// are those of the tenants and keys, in order.
func (f *KeyFile) complete(tenantLines, keyLines []int) error {
	tenants := make(map[string]bool, len(f.Tenants))
	for i := range f.Tenants {
		t := &f.Tenants[i]
		if err := t.complete(); err != nil {
			return fmt.Errorf("line %d: %w", tenantLines[i], err)
		}
		if tenants[t.Name] {
			return fmt.Errorf("line %d: tenant %q stands here a second time", tenantLines[i], t.Name)
		}
		tenants[t.Name] = true
	}
	ids := make(map[string]bool, len(f.Keys))
	for i := range f.Keys {
		k := &f.Keys[i]
		switch {
		case !keyIDPattern.MatchString(k.ID):
			return fmt.Errorf("line %d: id must be %d of the letters and digits that keys are made of", keyLines[i], keyIDLength)
		case ids[k.ID]:
			return fmt.Errorf("line %d: key %s stands here a second time", keyLines[i], k.ID)
		case !k.Limits.valid():
			return fmt.Errorf("line %d: key %s: a limit must not be negative, and at most %d", keyLines[i], k.ID, int64(maxLimit))
		case k.Hash == KeyHash{}:
			return fmt.Errorf("line %d: key %s has no hash", keyLines[i], k.ID)
		case k.Tenant == AnonymousTenant:
			return fmt.Errorf("line %d: key %s belongs to tenant %q, which is for callers without a key", keyLines[i], k.ID, k.Tenant)
		case !tenants[k.Tenant]:
			return fmt.Errorf("line %d: key %s belongs to tenant %q, which is not in the file", keyLines[i], k.ID, k.Tenant)
		}
		ids[k.ID] = true
	}
	return nil
}

var (
	keyIDPattern = regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{8}$`)
	// A name becomes a metric label and part of cache keys: short and printable.
	tenantNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

func (t *Tenant) complete() error {
	if t.Class == "" {
		t.Class = ClassInteractive
	}
	if t.Weight == 0 {
		t.Weight = 1
	}
	switch {
	case !tenantNamePattern.MatchString(t.Name):
		return fmt.Errorf("tenant name %q: 1 to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit", t.Name)
	case t.Class != ClassInteractive && t.Class != ClassBatch:
		return fmt.Errorf("tenant %s: class %q is neither %s nor %s", t.Name, t.Class, ClassInteractive, ClassBatch)
	case !(t.Weight > 0) || math.IsInf(t.Weight, 1): // catches NaN too
		return fmt.Errorf("tenant %s: weight must be above 0", t.Name)
	case !t.Limits.valid() || t.Quota.PagesPerMonth < 0 || t.Quota.TokensPerMonth < 0:
		return fmt.Errorf("tenant %s: a limit or quota must not be negative, and at most %d", t.Name, int64(maxLimit))
	}
	for _, route := range t.Routes {
		if !slices.Contains(Routes, route) {
			return fmt.Errorf("tenant %s: there is no route %q; there are %s", t.Name, route, strings.Join(Routes, ", "))
		}
	}
	return nil
}

// maxLimit keeps sums of charges, megapixels in pixels among them, far from overflow.
const maxLimit = 1_000_000_000

func (l Limits) valid() bool {
	for _, limit := range []int64{l.RequestsPerMinute, l.ImagesPerMinute, l.MegapixelsPerMinute, l.TokensPerMinute, int64(l.InProgress)} {
		if limit < 0 || limit > maxLimit {
			return false
		}
	}
	return true
}

// entryLines returns the line of each entry of a sequence.
func entryLines(sequence *yaml.Node) []int {
	if sequence == nil {
		return nil
	}
	lines := make([]int, len(sequence.Content))
	for i, entry := range sequence.Content {
		lines[i] = entry.Line
	}
	return lines
}

// topLevel returns a top-level key and its value, or nil.
func topLevel(doc *yaml.Node, name string) (key, value *yaml.Node) {
	if len(doc.Content) == 0 {
		return nil, nil
	}
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key, value := root.Content[i], root.Content[i+1]; key.Value == name {
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			return key, value
		}
	}
	return nil, nil
}

// goType is what the library adds for programmers and an operator need not read.
var goType = regexp.MustCompile(` in type [\w.]+| into \S*auth\.\w+`)

func plainYAMLError(err error) error {
	var typeError *yaml.TypeError
	if !errors.As(err, &typeError) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	lines := make([]string, len(typeError.Errors))
	for i, line := range typeError.Errors {
		lines[i] = goType.ReplaceAllString(line, "")
	}
	return errors.New(strings.Join(lines, "; "))
}

// MarshalYAML implements yaml.Marshaler.
func (h KeyHash) MarshalYAML() (any, error) {
	return hashScheme + hex.EncodeToString(h[:]), nil
}

// UnmarshalYAML implements yaml.Unmarshaler. Its error does not repeat the
// value, which may be a key that somebody pasted into the wrong place.
func (h *KeyHash) UnmarshalYAML(node *yaml.Node) error {
	digits, ok := strings.CutPrefix(node.Value, hashScheme)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != len(h) {
		return fmt.Errorf("line %d: hash is not %s and %d hexadecimal digits", node.Line, hashScheme, 2*len(h))
	}
	copy(h[:], sum)
	return nil
}
