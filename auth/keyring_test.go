package auth_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/auth"
)

func keyRing(t testing.TB, path string) *auth.KeyRing {
	t.Helper()
	ring, err := auth.NewKeyRing(path, pepper)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestKeyRing_CreateMakesAFileWhereNoneIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	key, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme", Note: "first"})
	if id := identify(t, newGate(t, path, auth.Deps{}), key); id.Tenant.Name != "acme" {
		t.Errorf("%+v", id.Tenant)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	content, _ := os.ReadFile(path)
	if strings.Contains(string(content), strings.Split(key, "-")[3]) {
		t.Error("the file holds the secret")
	}
}

func TestKeyRing_CreateKeepsCommentsModeAndEntries(t *testing.T) {
	for _, c := range []struct{ name, content string }{
		{"block", "# of the reading room\ntenants: # who\n  # the first\n  - name: acme # a\n\n# the keys\nkeys:\n  # scanner\n  - id: 0a1b2c3d # old\n    tenant: acme\n    hash: " + someHash + "\n# the end\n"},
		{"flow", "# of the reading room\ntenants: [{name: acme}] # who\nkeys: [] # the end\n"},
		{"no value", "# of the reading room\ntenants: [{name: acme}] # who\nkeys: # the end\n"},
		{"absent", "# of the reading room\ntenants: [{name: acme}] # who\n# the end\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, c.content)
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			before, err := auth.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			_, first := createKey(t, path, auth.KeyOptions{Tenant: "acme", Note: "a # b: c"})
			_, second := createKey(t, path, auth.KeyOptions{Tenant: "acme", Expires: time.Now().Add(time.Hour), LoopbackOnly: true})
			after, err := auth.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			want := append(before.Keys, first, second)
			if len(after.Keys) != len(want) {
				t.Fatalf("%d keys, want %d", len(after.Keys), len(want))
			}
			for i, k := range after.Keys {
				if k.ID != want[i].ID || k.Hash != want[i].Hash || k.Note != want[i].Note || k.LoopbackOnly != want[i].LoopbackOnly || !k.Expires.Equal(want[i].Expires) {
					t.Errorf("key %d: %+v, want %+v", i, k, want[i])
				}
			}
			content, _ := os.ReadFile(path)
			for _, line := range strings.Split(c.content, "\n") {
				if _, comment, found := strings.Cut(line, "# "); found && !strings.Contains(string(content), "# "+comment) {
					t.Errorf("comment %q is lost:\n%s", comment, content)
				}
			}
			if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
}

func TestKeyRing_CreateRefusesWhatWouldNotLoad(t *testing.T) {
	for _, c := range []struct{ name, content, tenant, want string }{
		{"unknown tenant", "tenants: [{name: acme}, {name: other}]\n", "acmee", "there are: acme, other"},
		{"anonymous", "tenants: [{name: anonymous}]\n", "anonymous", "without a key"},
		{"broken file", "tenants: [{nam: acme}]\n", "acme", "field nam not found"},
	} {
		path := writeFile(t, c.content)
		if _, _, err := keyRing(t, path).Create(auth.KeyOptions{Tenant: c.tenant}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if content, _ := os.ReadFile(path); string(content) != c.content {
			t.Errorf("%s: the file has changed", c.name)
		}
	}
	path := filepath.Join(t.TempDir(), "keys.yaml")
	for _, tenant := range []string{"", "a/b", auth.AnonymousTenant} {
		if _, _, err := keyRing(t, path).Create(auth.KeyOptions{Tenant: tenant}); err == nil {
			t.Errorf("a new file with tenant %q", tenant)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused key left a file")
	}
}

func TestKeyRing_CreateGivesTheEntryWhereTheFileCannotBeWritten(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\nkeys:\n")
	// What stops even root, and stays the same for all: the lock file's name is a directory.
	if err := os.Mkdir(path+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	key, _, err := keyRing(t, path).Create(auth.KeyOptions{Tenant: "acme"})
	var notWritten *auth.NotWrittenError
	if !errors.As(err, &notWritten) || key == "" {
		t.Fatalf("%v", err)
	}
	content, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(content, notWritten.Entry...), 0o600); err != nil {
		t.Fatal(err)
	}
	identify(t, newGate(t, path, auth.Deps{}), key)
	if strings.Contains(notWritten.Entry+err.Error(), strings.Split(key, "-")[3]) {
		t.Error("the entry or the error tells the secret")
	}
}

func TestKeyRing_CreateWritesThroughALink(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\n")
	link := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	key, _ := createKey(t, link, auth.KeyOptions{Tenant: "acme"})
	identify(t, newGate(t, path, auth.Deps{}), key)
	if info, _ := os.Lstat(link); info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link has been replaced")
	}
}

func TestKeyRing_CreateLosesNoneOfManyWriters(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\n")
	var group sync.WaitGroup
	keys := make([]string, 16)
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], _, err = keyRing(t, path).Create(auth.KeyOptions{Tenant: "acme"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	gate := newGate(t, path, auth.Deps{})
	for _, key := range keys {
		identify(t, gate, key)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keys.yaml-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
