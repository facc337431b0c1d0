package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"ocrmux/compat"
)

// Recipe is a model's recipe as the file gives it. max_images and max_tokens
// are the gateway's; every other key becomes a member of the request, its value
// in JSON with the digits that stand in the file.
type Recipe struct {
	MaxImages int // images a request may carry
	MaxTokens int // upper bound of an answer; 0 leaves it to the backend
	Members   []compat.Member
}

func (d *decoder) recipe(n *yaml.Node, key string, r *Recipe) {
	d.pairs(n, key, func(name string, _, value *yaml.Node) {
		path := join(key, name)
		switch name {
		case "max_images":
			d.recipeCount(value, path, 1, &r.MaxImages)
		case "max_tokens":
			d.recipeCount(value, path, 0, &r.MaxTokens)
		case "model", "messages", "prompt", "input", "stream", "stream_options":
			d.fail(value.Line, path, "belongs to each request and cannot stand in a recipe")
		default:
			if raw, ok := d.json(nil, value, path); ok {
				r.Members = append(r.Members, compat.Member{Name: name, Value: raw})
			}
		}
	})
}

func (d *decoder) recipeCount(n *yaml.Node, key string, least int, target *int) {
	d.text(n, key, func(p []byte) error {
		count, err := strconv.Atoi(string(p))
		if err != nil || count < least {
			return fmt.Errorf("is not a whole number of at least %d", least)
		}
		*target = count
		return nil
	})
}

// json appends a YAML value as JSON. It is strict where the two could be read
// differently: numbers must be JSON's.
func (d *decoder) json(b []byte, n *yaml.Node, key string) ([]byte, bool) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fail(n.Line, key, "anchors and aliases are not supported; write the value out")
		return b, false
	}
	ok := true
	switch n.Kind {
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			var fine bool
			b, fine = d.json(b, item, key+"["+strconv.Itoa(i)+"]")
			ok = ok && fine
		}
		return append(b, ']'), ok
	case yaml.MappingNode:
		b = append(b, '{')
		before := len(d.list)
		d.pairs(n, key, func(name string, _, value *yaml.Node) {
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(compat.AppendQuoted(b, name), ':')
			b, _ = d.json(b, value, join(key, name))
		})
		return append(b, '}'), len(d.list) == before
	}
	return d.jsonScalar(b, n, key)
}

func (d *decoder) jsonScalar(b []byte, n *yaml.Node, key string) ([]byte, bool) {
	text, err := expand(n.Value, d.env)
	if err != nil {
		d.fail(n.Line, key, err.Error())
		return b, false
	}
	resolved := yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: n.Style}
	if n.Style != 0 {
		resolved.Tag = "!!str"
	}
	switch resolved.ShortTag() {
	case "!!null":
		return append(b, "null"...), true
	case "!!bool":
		if text != "true" && text != "false" {
			d.fail(n.Line, key, fmt.Sprintf("%q is neither true nor false as JSON writes it; quote it if it is a text", n.Value))
			return b, false
		}
		return append(b, text...), true
	case "!!int", "!!float":
		if !json.Valid([]byte(text)) {
			d.fail(n.Line, key, fmt.Sprintf("%q is not a number as JSON writes it; quote it if it is a text", n.Value))
			return b, false
		}
		return append(b, text...), true
	}
	return compat.AppendQuoted(b, text), true
}

// MarshalYAML shows the recipe as it could be written: JSON is YAML.
func (r Recipe) MarshalYAML() (any, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"max_images":%d,"max_tokens":%d`, r.MaxImages, r.MaxTokens)
	for _, m := range r.Members {
		fmt.Fprintf(&b, ",%s:%s", compat.AppendQuoted(nil, m.Name), m.Value)
	}
	b.WriteByte('}')
	var doc yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &doc); err != nil {
		return nil, err
	}
	recipe := doc.Content[0]
	recipe.Style = 0
	for _, n := range recipe.Content {
		n.Style &^= yaml.DoubleQuotedStyle
	}
	return recipe, nil
}
