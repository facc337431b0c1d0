package auth

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	Tenants []Tenant   `yaml:"tenants" json:"tenants"`
	Keys    []KeyEntry `yaml:"keys" json:"keys"`
}

// equal reports whether two files say the same.
func (f *KeyFile) equal(g *KeyFile) bool {
	sameKey := func(a, b KeyEntry) bool {
		sameTimes := a.Created.Equal(b.Created) && a.Expires.Equal(b.Expires)
		a.Created, a.Expires = b.Created, b.Expires // these may be the same moment in two zones
		return sameTimes && a == b
	}
	sameTenant := func(a, b Tenant) bool {
		ours, err := encodeYAML(a) // where a list without elements is none
		theirs, otherErr := encodeYAML(b)
		return errors.Join(err, otherErr) == nil && bytes.Equal(ours, theirs)
	}
	return slices.EqualFunc(f.Keys, g.Keys, sameKey) && slices.EqualFunc(f.Tenants, g.Tenants, sameTenant)
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
	key, value = field(doc.Content[0], name)
	if value != nil && value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	return key, value
}

// field returns the name of a mapping's field and its value, or nil.
func field(mapping *yaml.Node, name string) (key, value *yaml.Node) {
	if mapping.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if mapping.Content[i].Value == name {
				return mapping.Content[i], mapping.Content[i+1]
			}
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

func encodeYAML(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

func nodeOf(value any) (*yaml.Node, error) {
	node := new(yaml.Node)
	return node, node.Encode(value)
}

// changeFields makes the changes between two mappings in a third one, which
// says the same as the first in other words and keeps them where it can.
func changeFields(target, before, after *yaml.Node) {
	for i := 0; i < len(after.Content); i += 2 {
		name, value := after.Content[i], after.Content[i+1]
		_, old := field(before, name.Value)
		_, current := field(target, name.Value)
		switch {
		case old != nil && sameNode(old, value):
		case current == nil:
			target.Content = append(target.Content, name, value)
		case old != nil && current.Kind == yaml.MappingNode && old.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			changeFields(current, old, value)
		default:
			head, line, foot := current.HeadComment, current.LineComment, current.FootComment
			*current = *value
			current.HeadComment, current.LineComment, current.FootComment = head, line, foot
		}
	}
	for i := 0; i < len(before.Content); i += 2 {
		name := before.Content[i].Value
		if key, _ := field(after, name); key != nil {
			continue
		}
		if at := slices.IndexFunc(target.Content, func(n *yaml.Node) bool { return n.Value == name }); at >= 0 {
			target.Content = slices.Delete(target.Content, at, at+2)
		}
	}
}

func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, sameNode)
}

// tied reports whether a node has a part that another can refer to, or refers to one.
func tied(n *yaml.Node) bool {
	return n.Anchor != "" || n.Kind == yaml.AliasNode || n.Tag == "!!merge" || slices.ContainsFunc(n.Content, tied)
}

// refers reports whether a part of a node is an alias of one of those.
func refers(n *yaml.Node, those map[*yaml.Node]bool) bool {
	return those[n.Alias] || slices.ContainsFunc(n.Content, func(part *yaml.Node) bool { return refers(part, those) })
}

// collect adds a node and all of its parts.
func collect(n *yaml.Node, into map[*yaml.Node]bool) {
	into[n] = true
	for _, part := range n.Content {
		collect(part, into)
	}
}

// expanded returns a copy of a node with what its aliases and merge keys stand
// for in their place, and without comments.
func expanded(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return expanded(n.Alias)
	}
	free := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value}
	var merged []*yaml.Node
	for i, part := range n.Content {
		switch {
		case part.Tag == "!!merge":
		case i%2 == 1 && n.Kind == yaml.MappingNode && n.Content[i-1].Tag == "!!merge":
			if base := expanded(part); base.Kind == yaml.SequenceNode {
				merged = append(merged, base.Content...)
			} else {
				merged = append(merged, base)
			}
		default:
			free.Content = append(free.Content, expanded(part))
		}
	}
	for _, base := range merged { // what stands in the mapping, or earlier, wins
		for i := 0; i+1 < len(base.Content); i += 2 {
			if key, _ := field(free, base.Content[i].Value); key == nil {
				free.Content = append(free.Content, base.Content[i], base.Content[i+1])
			}
		}
	}
	return free
}
