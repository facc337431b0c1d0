package main

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// problem is one thing that is wrong with a configuration, and where.
type problem struct {
	line int
	key  string // full path, "" for the file as a whole
	text string
}

// problems is the error of a configuration: all that is wrong with it, in the
// order of the file.
type problems struct {
	file string
	list []problem
}

func (p *problems) Error() string { return strings.Join(p.lines(), "\n") }

func (p *problems) lines() []string {
	slices.SortStableFunc(p.list, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var lines []string
	for _, one := range p.list {
		where := p.file + ":" + strconv.Itoa(one.line) + ": "
		if one.key != "" {
			where += one.key + ": "
		}
		lines = append(lines, where+one.text)
	}
	return lines
}

// Unwrap returns them one by one.
func (p *problems) Unwrap() []error {
	var all []error
	for _, line := range p.lines() {
		all = append(all, errors.New(line))
	}
	return all
}

// decoder fills structs from a YAML document. Unlike the library's own
// decoder it knows the full path and the line of every key, finds all errors
// at once, and expands environment variables in values. Anchors, aliases and
// merge keys are refused: what a file says then stands where it is read.
type decoder struct {
	problems
	dir   string                      // where relative files are looked for
	env   func(string) (string, bool) // os.LookupEnv
	lines map[string]int              // line of every key that the file gives
}

// defaulter is a value that does not start at zero when a list or a map gets
// a new element.
type defaulter interface{ setDefaults() }

// document decodes the one document of a file into v. It reports whether the
// file is YAML of the right kind at all; then v is worth a closer look, even
// where some of its values could not be read.
func (d *decoder) document(data []byte, v any) bool {
	d.lines = map[string]int{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		d.fail(1, "", "the file is empty")
		return false
	case err != nil:
		d.syntax(err)
		return false
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		d.fail(second.Line, "", "a second document begins here; one is allowed")
	case !errors.Is(err, io.EOF):
		d.syntax(err)
	}
	before := len(d.list)
	d.value(doc.Content[0], "", reflect.ValueOf(v).Elem())
	return before == 0 && doc.Content[0].Kind == yaml.MappingNode
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func (d *decoder) syntax(err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = err.Error()[len(m[0]):]
	}
	d.fail(line, "", "not YAML: "+text)
}

// givenTwice is the one problem of a key whose (first) value was read all the same.
const givenTwice = "is given twice"

func (d *decoder) fail(line int, key, text string) {
	d.list = append(d.list, problem{line, key, text})
}

// failAt is for what is found wrong after decoding: the line is that of the
// key, or of the nearest thing around it that the file gives.
func (d *decoder) failAt(key, format string, args ...any) {
	for _, known := range d.list {
		if known.key != "" && known.text != givenTwice && (within(key, known.key) || within(known.key, key)) {
			return // what stands there could not be read: no wonder
		}
	}
	at, line := key, 1
	for at != "" {
		if n, ok := d.lines[at]; ok {
			line = n
			break
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.fail(line, key, fmt.Sprintf(format, args...))
}

// within reports whether a path is outer or leads into it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (d *decoder) value(n *yaml.Node, key string, v reflect.Value) {
	if _, seen := d.lines[key]; !seen {
		d.lines[key] = n.Line
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fail(n.Line, key, "anchors and aliases are not supported; write the value out")
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *Recipe:
		d.recipe(n, key, target)
		return
	case *SecretFile:
		d.secretFile(n, key, target)
		return
	case encoding.TextUnmarshaler:
		d.text(n, key, target.UnmarshalText)
		return
	case *time.Duration:
		d.text(n, key, func(p []byte) error { return parseDuration(string(p), target) })
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, key, v)
	case reflect.Map:
		d.mapping(n, key, v)
	case reflect.Slice:
		d.sequence(n, key, v)
	default:
		d.text(n, key, func(p []byte) error { return setScalar(string(p), v) })
	}
}

func (d *decoder) structure(n *yaml.Node, key string, v reflect.Value) {
	fields := map[string]reflect.Value{}
	var known []string
	for i := range v.NumField() {
		if name := fieldKey(v.Type().Field(i)); name != "" {
			fields[name] = v.Field(i)
			known = append(known, name)
		}
	}
	d.pairs(n, key, func(name string, k, value *yaml.Node) {
		field, ok := fields[name]
		if !ok {
			d.fail(k.Line, join(key, name), "unknown key; known here: "+strings.Join(known, ", "))
			return
		}
		d.value(value, join(key, name), field)
	})
}

func (d *decoder) mapping(n *yaml.Node, key string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, key, func(name string, _, value *yaml.Node) {
		element := newElement(v.Type().Elem())
		d.value(value, join(key, name), element)
		v.SetMapIndex(reflect.ValueOf(name), element)
	})
}

func (d *decoder) sequence(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, key, "must be a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for i, item := range n.Content {
		element := newElement(v.Type().Elem())
		d.value(item, key+"["+strconv.Itoa(i)+"]", element)
		v.Set(reflect.Append(v, element))
	}
}

// pairs calls each for every key of a mapping and refuses what may not be a
// key. A mapping without content is an empty one.
func (d *decoder) pairs(n *yaml.Node, key string, each func(name string, k, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, key, "must be a mapping of keys to values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		path := join(key, k.Value)
		switch {
		case k.Kind != yaml.ScalarNode || k.Value == "":
			d.fail(k.Line, key, "a key must be a plain word")
		case k.ShortTag() == "!!merge":
			d.fail(k.Line, path, "merge keys are not supported; write the keys out")
		case seen[k.Value]:
			d.fail(k.Line, path, givenTwice)
		default:
			seen[k.Value] = true
			d.lines[path] = k.Line
			each(k.Value, k, value)
		}
	}
}

// text expands the environment in a scalar and gives it to set. Errors quote
// the file, never the expanded value, which may be a secret.
func (d *decoder) text(n *yaml.Node, key string, set func([]byte) error) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n.Line, key, "must be a single value")
		return
	}
	if n.ShortTag() == "!!null" {
		d.fail(n.Line, key, "has no value")
		return
	}
	expanded, err := expand(n.Value, d.env)
	if err != nil {
		d.fail(n.Line, key, err.Error())
		return
	}
	if err := set([]byte(expanded)); err != nil {
		d.fail(n.Line, key, fmt.Sprintf("%q %v", n.Value, err))
	}
}

func setScalar(text string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("is neither true nor false")
		}
		v.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("is not a whole number")
		}
		v.SetInt(int64(n))
	default:
		panic("no decoding for " + v.Type().String())
	}
	return nil
}

func parseDuration(text string, d *time.Duration) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("is not a duration such as 500ms, 30s or 5m")
	}
	*d = parsed
	return nil
}

func newElement(t reflect.Type) reflect.Value {
	element := reflect.New(t)
	if d, ok := element.Interface().(defaulter); ok {
		d.setDefaults()
	}
	return element.Elem()
}

// fieldKey is the key of a struct's field in YAML, "" for one that is not
// configured.
func fieldKey(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if !f.IsExported() || name == "-" {
		return ""
	}
	return name
}

// join makes a path. A name with a dot is quoted, so that paths stay readable.
func join(key, name string) string {
	if strings.ContainsAny(name, ".[") {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}
