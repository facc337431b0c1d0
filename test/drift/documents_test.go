package drift

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// documents are the pages that people read, by path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			pages[name] = string(text)
		}
	}
	if len(pages) < 20 {
		t.Fatalf("%d documents", len(pages))
	}
	return pages
}

var link = regexp.MustCompile(`\]\(([^)#]+)`)

func TestDocuments_LinksLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path.Dir(name), found[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

var setting = regexp.MustCompile("`([a-z]+(?:\\.[a-z_]+)+)(?::[^`]*)?`")

// settings is config.yaml as a tree.
func settings(t *testing.T) (tree map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestDocuments_SettingsStandInConfigYAML(t *testing.T) {
	config, looked := settings(t), 0
	for name, text := range documents(t) {
		for _, found := range setting.FindAllStringSubmatch(text, -1) {
			key := found[1]
			section, _, _ := strings.Cut(key, ".")
			if _, ours := config[section].(map[string]any); !ours {
				continue // a file, or something of another program
			}
			if looked++; !stands(config, key) && !isFile(key) {
				t.Errorf("%s: config.yaml has no %s", name, key)
			}
		}
	}
	if looked < 10 || stands(config, "http.lame_goose") {
		t.Errorf("looked at %d settings", looked)
	}
}

func stands(config map[string]any, key string) bool {
	first, rest, deeper := strings.Cut(key, ".")
	value, ok := config[first]
	if !deeper || !ok {
		return ok
	}
	inner, ok := value.(map[string]any)
	return ok && stands(inner, rest)
}

func isFile(name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

// code is a name in Go as prose writes it: gateway.Server.serve, Pool.Do, await.
var code = regexp.MustCompile("`((?:[a-z]+\\.)?[A-Za-z]+(?:\\.[A-Za-z]+)*)`")

func TestArchitecture_NamesWhatTheCodeHas(t *testing.T) {
	declared, config := declarations(t), settings(t)
	text := documents(t)["docs/architecture.md"]
	walks, _, found := strings.Cut(text[strings.Index(text, "## POST /ocr"):], "## Stopping")
	if !found {
		t.Fatal("docs/architecture.md has no walks")
	}
	looked := 0
	for _, found := range code.FindAllStringSubmatch(walks, -1) {
		name := found[1][strings.LastIndex(found[1], ".")+1:]
		if looked++; !declared[name] && !stands(config, found[1]) {
			t.Errorf("docs/architecture.md speaks of %s, and the code has no %s", found[1], name)
		}
	}
	if looked < 50 || declared["serveEverybody"] {
		t.Errorf("looked at %d names", looked)
	}
}

// declarations are the names of the rooms' functions, methods, types, constants,
// fields and packages.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{"error": true, "text": true, "delta": true}
	for _, room := range []string{"auth", "backends", "balancer", "cache", "cmd", "compat", "completions", "gateway"} {
		err := filepath.WalkDir(filepath.Join(root, room), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				return err
			}
			names[parsed.Name.Name] = true
			ast.Inspect(parsed, func(n ast.Node) bool {
				switch d := n.(type) {
				case *ast.FuncDecl:
					names[d.Name.Name] = true
				case *ast.TypeSpec:
					names[d.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range d.Names {
						names[name.Name] = true
					}
				case *ast.Field:
					for _, name := range d.Names {
						names[name.Name] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
