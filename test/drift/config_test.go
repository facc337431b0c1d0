// Package drift fails when what is shipped beside the code no longer says what
// the code does.
package drift

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// atDefault is the end of a line that shows what holds without it.
var atDefault = regexp.MustCompile(`(?m)^.*\S # default\n`)

// check is what router check prints of a configuration that stands in the root.
func check(t *testing.T, router, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "configs"), os.DirFS(filepath.Join(root, "configs"))); err != nil {
		t.Fatal(err)
	}
	keys, err := os.ReadFile(filepath.Join(root, "keys.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.yaml")
	for name, content := range map[string][]byte{path: []byte(text), filepath.Join(dir, "keys.yaml"): keys} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, wrong bytes.Buffer
	command := exec.Command(router, "check", "-config", path)
	command.Stdout, command.Stderr = &out, &wrong
	if err := command.Run(); err != nil || wrong.Len() > 0 {
		t.Fatalf("router check: %v\n%s", err, &wrong)
	}
	return out.String()
}

// routerBinary is what make has built, or builds it.
func routerBinary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("OCRMUX_BIN"); bin != "" {
		return filepath.Join(bin, "router")
	}
	router := filepath.Join(t.TempDir(), "router")
	if out, err := exec.Command("go", "build", "-o", router, "ocrmux/cmd/router").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return router
}

func TestConfigYAML_ShowsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	lines := atDefault.FindAllString(text, -1)
	if marked := strings.Count(text, "# default\n"); len(lines) < 40 || len(lines) != marked {
		t.Fatalf("%d lines show a default, %d are marked so", len(lines), marked)
	}
	router := routerBinary(t)
	without := check(t, router, atDefault.ReplaceAllString(text, ""))
	if got := drifted(check(t, router, text), without); len(got) > 0 {
		t.Errorf("config.yaml calls these defaults, and without their lines they are not in force: %q", got)
	}
	// The same means find a line that says something else.
	wrong := strings.Replace(text, "drain: 1m # default", "drain: 2m # default", 1)
	if got := drifted(check(t, router, wrong), without); len(got) != 1 || got[0] != "drain: 2m0s" {
		t.Errorf("a drain of 2m passes for the default: %q", got)
	}
}

// drifted lists the lines of stated that stand otherwise in without.
func drifted(stated, without string) (found []string) {
	others := strings.Split(without, "\n")
	for i, line := range strings.Split(stated, "\n") {
		if i >= len(others) || others[i] != line {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
