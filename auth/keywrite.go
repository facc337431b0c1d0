package auth

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The lists of a key file.
const (
	listTenants = "tenants"
	listKeys    = "keys"
)

// errUnusual says that a key file is valid and laid out in a way that an edit
// cannot follow.
var errUnusual = errors.New("its layout cannot be edited by a program without a loss")

// keyText is the text of a key file, edited an entry at a time. Lines that an
// edit does not concern keep every byte: comments cannot be lost from where
// nothing is written, and the library's own printer does lose some. An entry
// that is edited is printed anew, with its comments.
type keyText struct {
	lines []string // with their ends
	end   string   // of a line
	root  *yaml.Node
}

// lineEnd matches what YAML counts as the end of a line.
var lineEnd = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

func newKeyText(content string) (*keyText, error) {
	t := &keyText{end: "\n"}
	if strings.Contains(content, "\r\n") {
		t.end = "\r\n"
	}
	from := 0
	for _, found := range lineEnd.FindAllStringIndex(content, -1) {
		t.lines = append(t.lines, content[from:found[1]])
		from = found[1]
	}
	if from < len(content) {
		t.lines = append(t.lines, content[from:])
	}
	return t, t.parse()
}

func (t *keyText) String() string { return strings.Join(t.lines, "") }

// parse reads the lines again after they have changed.
func (t *keyText) parse() error {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(t.String()), &doc); err != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return errUnusual
	}
	t.root = doc.Content[0]
	return nil
}

// insert adds an entry at the end of a list.
func (t *keyText) insert(list string, entry any) error {
	node, err := nodeOf(entry)
	if err != nil {
		return err
	}
	if err := t.unfold(list); err != nil {
		return err
	}
	places, err := t.places(list)
	if err != nil {
		return err
	}
	if len(places) > 0 {
		last := places[len(places)-1]
		lines, err := printed(node, last.indent, "- ")
		if err != nil {
			return err
		}
		return t.splice(last.to, last.to, lines)
	}
	indent := t.root.Column - 1
	lines, err := printed(node, indent+2, "- ")
	if err != nil {
		return err
	}
	if name, _ := field(t.root, list); name != nil {
		at := t.trim(name.Line-1, t.endOf(name), indent)
		if isComment(t.lines[at-1]) { // it is the list's, and would look like the entry's
			lines = append([]string{""}, lines...)
		}
		return t.splice(at, at, lines)
	}
	at := t.trim(0, len(t.lines), indent)
	return t.splice(at, at, append([]string{strings.Repeat(" ", indent) + list + ":"}, lines...))
}

// replace changes the fields of an entry in which new differs from old.
func (t *keyText) replace(list string, i int, old, new any) error {
	before, err := nodeOf(old)
	if err != nil {
		return err
	}
	after, err := nodeOf(new)
	if err != nil {
		return err
	}
	p, err := t.detach(list, i)
	if err != nil {
		return err
	}
	return t.reprint(p, func(entry *yaml.Node) { changeFields(entry, before, after) })
}

// remove deletes an entry, with the comment that stands right above it.
func (t *keyText) remove(list string, i int) error {
	p, err := t.detach(list, i)
	if err != nil {
		return err
	}
	for p.from > 0 && isComment(t.lines[p.from-1]) && indentation(t.lines[p.from-1]) == p.indent {
		p.from--
	}
	return t.splice(p.from, p.to, nil)
}

// splice puts lines in the place of others and reads the text again.
func (t *keyText) splice(from, to int, lines []string) error {
	for i := range lines {
		lines[i] += t.end
	}
	if from == len(t.lines) && from > 0 && lineEnd.FindString(t.lines[from-1]) == "" {
		t.lines[from-1] += t.end
	}
	t.lines = slices.Replace(t.lines, from, to, lines...)
	return t.parse()
}

// place is where an entry, a list or all of a file stands.
type place struct {
	node     *yaml.Node
	from, to int    // lines; to is not part of it
	indent   int    // of the first line
	mark     string // "- " before an entry
}

var dash = regexp.MustCompile(`^ *-\s`)

// places returns where the entries of a list stand. A list that is not in
// lines of its own is errUnusual.
func (t *keyText) places(list string) ([]place, error) {
	name, sequence := field(t.root, list)
	if sequence == nil || sequence.Kind == yaml.ScalarNode {
		return nil, nil
	}
	if sequence.Kind != yaml.SequenceNode || sequence.Style&yaml.FlowStyle != 0 {
		return nil, errUnusual
	}
	places := make([]place, len(sequence.Content))
	end := t.endOf(name)
	for i, node := range slices.Backward(sequence.Content) {
		from := node.Line - 1 // of its first field; the dash may stand above
		for from >= name.Line && !dash.MatchString(t.lines[from]) {
			from--
		}
		if from < name.Line {
			return nil, errUnusual
		}
		indent := indentation(t.lines[from])
		places[i] = place{node, from, t.trim(from, end, indent), indent, "- "}
		end = from
	}
	return places, nil
}

// endOf returns the line where the value of a field of the root has ended.
func (t *keyText) endOf(name *yaml.Node) int {
	end := len(t.lines)
	for i := 0; i < len(t.root.Content); i += 2 {
		if line := t.root.Content[i].Line; line > name.Line {
			end = min(end, line-1)
		}
	}
	return end
}

// trim returns the line after the last one of what begins at from with an
// indentation. Comments and empty lines below it are not part of it.
func (t *keyText) trim(from, to, indent int) int {
	for ; to > from+1; to-- {
		line := t.lines[to-1]
		outside := strings.TrimSpace(line) == "" || strings.HasPrefix(line, "...") || isComment(line) && indentation(line) <= indent
		if !outside {
			break
		}
	}
	return to
}

// unfold puts a list that stands in brackets into lines of its own.
func (t *keyText) unfold(list string) error {
	if t.root.Style&yaml.FlowStyle != 0 {
		if err := t.reprint(place{node: t.root, to: len(t.lines)}, unfoldLists); err != nil {
			return err
		}
	}
	name, value := field(t.root, list)
	if name == nil || value.Kind == yaml.ScalarNode && value.Value == "" || value.Kind == yaml.SequenceNode && value.Style&yaml.FlowStyle == 0 {
		return nil
	}
	p := place{
		node:   &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, value}},
		from:   name.Line - 1,
		to:     t.trim(name.Line-1, t.endOf(name), name.Column-1),
		indent: name.Column - 1,
	}
	return t.reprint(p, unfoldLists)
}

// unfoldLists sets a mapping of lists to be printed in lines.
func unfoldLists(root *yaml.Node) {
	root.Style &^= yaml.FlowStyle
	for i := 1; i < len(root.Content); i += 2 {
		list := root.Content[i]
		if len(list.Content) == 0 { // would be printed as []
			*list = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", LineComment: list.LineComment}
		}
		list.Style &^= yaml.FlowStyle
		for _, entry := range list.Content {
			entry.Style &^= yaml.FlowStyle
		}
	}
}

// detach makes an entry, and those that refer to a part of it, stand without
// anchors and aliases, so that a change of one cannot change another.
func (t *keyText) detach(list string, i int) (place, error) {
	var all []place
	for _, name := range []string{listTenants, listKeys} {
		if _, value := field(t.root, name); name != list && (value == nil || !tied(value)) {
			continue
		}
		if err := t.unfold(name); err != nil {
			return place{}, err
		}
	}
	for _, name := range []string{listTenants, listKeys} {
		places, err := t.places(name)
		if err != nil && name == list {
			return place{}, err
		}
		all = append(all, places...)
	}
	slices.SortFunc(all, func(a, b place) int { return a.from - b.from })
	_, entries := field(t.root, list)
	concerned := map[*yaml.Node]bool{} // nodes of the entry and of those that refer to it
	for _, p := range all {            // an alias stands below its anchor
		if p.node == entries.Content[i] || refers(p.node, concerned) {
			collect(p.node, concerned)
		}
	}
	for _, p := range slices.Backward(all) { // from the end, so that lines keep their numbers
		if concerned[p.node] && tied(p.node) {
			if err := t.reprint(p, func(*yaml.Node) {}); err != nil {
				return place{}, err
			}
		}
	}
	places, err := t.places(list)
	if err != nil {
		return place{}, err
	}
	return places[i], nil
}

// reprint prints what stands at a place anew, changed, with its comments. Those
// that find no place of their own come first.
func (t *keyText) reprint(p place, change func(*yaml.Node)) error {
	text := strings.ReplaceAll(strings.Join(t.lines[p.from:p.to], ""), "\r\n", "\n")
	node := alone(p, text)
	change(node)
	lines, err := printed(node, p.indent, p.mark)
	if err != nil {
		return err
	}
	left := comments(strings.Join(lines, "\n"))
	var lost []string
	for _, comment := range comments(text) {
		if i := slices.Index(left, comment); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			lost = append(lost, strings.Repeat(" ", p.indent)+comment)
		}
	}
	return t.splice(p.from, p.to, append(lost, lines...))
}

// alone returns what stands at a place as a document of its own. The library
// gives a node in its document comments that stand outside of it; here it
// cannot. Where an alias or an anchor forbids that, all comments are left out.
func alone(p place, text string) *yaml.Node {
	var doc yaml.Node
	if p.mark != "" {
		text = strings.Replace(text, "-", " ", 1)
	}
	if yaml.Unmarshal([]byte(text), &doc) == nil && len(doc.Content) == 1 && !(p.mark != "" && tied(doc.Content[0])) {
		return doc.Content[0]
	}
	return expanded(p.node)
}

// printed returns the lines of a node, without their ends. Comments that head
// an entry come before its dash.
func printed(node *yaml.Node, indent int, mark string) ([]string, error) {
	if mark != "" {
		node.Style &^= yaml.FlowStyle
	}
	text, err := encodeYAML(node)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	pad := strings.Repeat(" ", indent)
	begun := false
	for i, line := range lines {
		switch {
		case line == "":
		case begun:
			lines[i] = pad + strings.Repeat(" ", len(mark)) + line
		case line[0] == '#':
			lines[i] = pad + line
		default:
			lines[i] = pad + mark + line
			begun = true
		}
	}
	return lines, nil
}
