// Package imports holds the floors of the house as data: which package may
// import which. A floor imports only lower floors, and neighbours never import
// each other.
package imports

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for every package, the packages of this module that it may
// import. A new package fails until it has its line, and its floor, here.
var allowed = map[string][]string{
	// floor 0
	"auth":             {},
	"balancer":         {},
	"cache":            {},
	"compat":           {},
	"compat/grounding": {},
	"compat/legacy":    {"compat", "compat/grounding"},
	"usage":            {},
	"vision":           {},
	// floor 1
	"backends":     {"balancer", "compat"},
	"backends/sim": {"compat", "vision"},
	"fetch":        {},
	// floor 2
	"completions": {"backends", "balancer", "compat"},
	// floor 3
	"admin":   {"auth", "backends", "compat", "usage"},
	"gateway": {"auth", "backends", "balancer", "compat", "compat/legacy", "completions", "fetch", "usage", "vision"},
	// floor 4
	"cmd/router":  {"admin", "auth", "backends", "balancer", "cache", "compat", "compat/legacy", "completions", "fetch", "gateway", "usage"},
	"cmd/vllmsim": {"backends/sim"},
}

// outside lists the packages and files that may import what has one place only.
var outside = map[string][]string{
	"flag":                              {"cmd", "samples"},
	"github.com/sashabaranov/go-openai": {"compat"},
	"github.com/valyala/fasthttp":       {"gateway"},
	"go.yaml.in/yaml":                   {"cmd", "auth/keyfile.go", "auth/keywrite.go"},
	"net/http":                          {"admin", "backends", "cmd", "compat/legacy", "fetch"}, // a client: backends, fetch and cmd alone
}

// free are the trees that no binary is made of; they may import anything.
var free = []string{"test", "bench", "samples", "auth/authtest", "cache/cachetest"}

func within(name string, trees []string) bool {
	return slices.ContainsFunc(trees, func(t string) bool { return name == t || strings.HasPrefix(name, t+"/") })
}

// wrong lists what file, a path from the module's root, may not import.
func wrong(file string, imports []string) (found []string) {
	dir := path.Dir(file)
	if within(dir, free) || strings.HasSuffix(file, "_test.go") {
		return nil
	}
	floor, known := allowed[dir]
	if !known {
		found = append(found, fmt.Sprintf("%s: package %s has no floor", file, dir))
	}
	for _, imported := range imports {
		room, ours := strings.CutPrefix(imported, "ocrmux/")
		if ours && !slices.Contains(floor, room) {
			found = append(found, fmt.Sprintf("%s may not import %s", file, imported))
		}
		for library, homes := range outside {
			if within(imported, []string{library}) && !within(file, homes) {
				found = append(found, fmt.Sprintf("%s may not import %s", file, imported))
			}
		}
	}
	return found
}

func TestEveryImportGoesDownAFloor(t *testing.T) {
	root, checked := os.DirFS("../.."), 0
	err := fs.WalkDir(root, ".", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && file != "." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if err != nil || path.Ext(file) != ".go" {
			return err
		}
		source, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, spec := range parsed.Imports {
			imports = append(imports, strings.Trim(spec.Path.Value, "\"`"))
		}
		for _, one := range wrong(file, imports) {
			t.Error(one)
		}
		checked++
		return nil
	})
	if err != nil || checked < 20 {
		t.Fatalf("looked at %d files: %v", checked, err)
	}
}

func TestANewEdgeIsFound(t *testing.T) {
	for file, imported := range map[string]string{
		"balancer/balancer.go":  "ocrmux/backends",     // up
		"auth/gate.go":          "ocrmux/cache",        // a neighbour
		"completions/cache.go":  "ocrmux/cache",        // past the interface
		"cmd/router/serve.go":   "ocrmux/backends/sim", // the stand-in in production
		"backends/send.go":      "github.com/valyala/fasthttp",
		"completions/stream.go": "github.com/sashabaranov/go-openai/jsonschema",
		"gateway/config.go":     "go.yaml.in/yaml/v3",
		"auth/lease.go":         "go.yaml.in/yaml/v3",
		"gateway/chat.go":       "net/http",
		"cache/lru.go":          "flag",
		"helpers/strings.go":    "strings", // a package without a floor
	} {
		if len(wrong(file, []string{imported})) != 1 {
			t.Errorf("%s imports %s and nobody minds: %q", file, imported, wrong(file, []string{imported}))
		}
	}
	for file, imported := range map[string]string{
		"gateway/server.go":     "github.com/valyala/fasthttp",
		"cmd/router/decode.go":  "go.yaml.in/yaml/v3",
		"auth/keyfile.go":       "go.yaml.in/yaml/v3",
		"backends/send.go":      "net/http/httptrace",
		"test/e2e/main_test.go": "ocrmux/backends/sim",
		"completions/model.go":  "ocrmux/compat",
	} {
		if found := wrong(file, []string{imported}); len(found) > 0 {
			t.Error(found)
		}
	}
}
