package auth_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ocrmux/auth"
)

// writerOf makes this test's binary a writer: of the key file that the variable names.
const writerOf = "OCRMUX_TEST_WRITER_OF"

const (
	writers   = 4
	editsEach = 5
)

func TestKeyRing_WritersInSeveralProcessesLoseNoEdit(t *testing.T) {
	if path := os.Getenv(writerOf); path != "" {
		write(t, path, os.Getenv(writerOf+"_NAME"))
		return
	}
	path := writeFile(t, "# first\ntenants:\n  # of all\n  - name: acme\n# last\n")
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	printed := make([]string, writers)
	for i := range writers {
		group.Go(func() {
			cmd := exec.Command(test, "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), writerOf+"="+path, fmt.Sprintf("%s_NAME=w%d", writerOf, i))
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("writer %d: %v\n%s", i, err, out)
			}
			printed[i] = string(out)
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	file, err := auth.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, path, auth.Deps{})
	for i, out := range printed {
		keys := slices.DeleteFunc(strings.Fields(out), func(word string) bool { return !strings.HasPrefix(word, "sk-ocr-") })
		if len(keys) != editsEach {
			t.Fatalf("writer %d made %d keys", i, len(keys))
		}
		for _, key := range keys {
			if id := identify(t, gate, key); id.Tenant.Limits.InProgress != editsEach {
				t.Errorf("tenant of writer %d: %+v", i, id.Tenant)
			}
		}
	}
	if len(file.Tenants) != 1+writers || len(file.Keys) != writers*(editsEach+1) {
		t.Errorf("%d tenants, %d keys", len(file.Tenants), len(file.Keys))
	}
	for _, k := range file.Keys {
		if k.Disabled != (k.Note == "for a moment") {
			t.Errorf("%+v", k)
		}
	}
	content, _ := os.ReadFile(path)
	for _, comment := range []string{"# first\n", "# of all\n", "# last\n"} {
		if strings.Count(string(content), comment) != 1 {
			t.Errorf("lost %q:\n%s", comment, content)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keys.yaml-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// write makes edits of all kinds and prints the keys that are good afterwards.
func write(t *testing.T, path, name string) {
	ring := keyRing(t, path)
	_, spare, err := ring.Create(auth.KeyOptions{Tenant: "acme", Note: "for a moment"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range editsEach {
		if _, err := ring.SetTenant(auth.Tenant{Name: name, Limits: auth.Limits{InProgress: i + 1}}); err != nil {
			t.Fatal(err)
		}
		key, _, err := ring.Create(auth.KeyOptions{Tenant: name})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(key)
		_, gone, err := ring.Create(auth.KeyOptions{Tenant: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Delete(gone.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Disable(spare.ID); err != nil {
			t.Fatal(err)
		}
	}
}
