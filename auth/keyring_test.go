package auth_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

func TestKeyRing_RotateGivesAnEqualKeyAndLetsTheOldOneExpire(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name    string
		expires time.Time // of the old key
		grace   time.Duration
		want    time.Time
	}{
		{"after grace", time.Time{}, 24 * time.Hour, time.Now().Add(24 * time.Hour)},
		{"at its own end", soon, 24 * time.Hour, soon},
		{"before its own end", soon, time.Minute, time.Now().Add(time.Minute)},
		{"at once", time.Time{}, 0, time.Now()},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, "tenants: [{name: acme}]\n")
			options := auth.KeyOptions{Tenant: "acme", Expires: c.expires, LoopbackOnly: true, Limits: auth.Limits{ImagesPerMinute: 3}, Note: "scanner"}
			first, created := createKey(t, path, options)
			second, entry, old, err := keyRing(t, path).Rotate(created.ID, c.grace)
			if err != nil {
				t.Fatal(err)
			}
			if old.ID != created.ID || old.Expires.Sub(c.want).Abs() > 5*time.Second {
				t.Errorf("old key %s expires %v, want %v", old.ID, old.Expires, c.want)
			}
			if entry.ID == old.ID || entry.Tenant != "acme" || !entry.LoopbackOnly || entry.Limits != options.Limits || entry.Note != options.Note || !entry.Expires.IsZero() {
				t.Errorf("%+v", entry)
			}
			gate := newGate(t, path, auth.Deps{})
			identify(t, gate, second)
			if _, err := gate.Identify(first, local); (err == nil) != (c.grace > 0) {
				t.Errorf("old key: %v", err)
			}
		})
	}
}

func TestKeyRing_RefusesByWhatTheCallerMayDoNext(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\n")
	ring := keyRing(t, path)
	_, entry := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	if _, err := ring.Disable(entry.ID); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	invalid := new(auth.InvalidError)
	for name, c := range map[string]struct {
		edit func() error
		want any // an error to be, or a pointer to a kind to be of
	}{
		"rotate unknown":   {func() error { _, _, _, err := ring.Rotate("zzzzzzzz", 0); return err }, auth.ErrUnknownKey},
		"rotate disabled":  {func() error { _, _, _, err := ring.Rotate(entry.ID, 0); return err }, auth.ErrKeyDisabled},
		"negative grace":   {func() error { _, _, _, err := ring.Rotate(entry.ID, -1); return err }, &invalid},
		"disable unknown":  {func() error { _, err := ring.Disable("zzzzzzzz"); return err }, auth.ErrUnknownKey},
		"enable nothing":   {func() error { _, err := ring.Enable(""); return err }, auth.ErrUnknownKey},
		"delete unknown":   {func() error { _, err := ring.Delete("zzzzzzzz"); return err }, auth.ErrUnknownKey},
		"key of nobody":    {func() error { _, _, err := ring.Create(auth.KeyOptions{Tenant: "nobody"}); return err }, auth.ErrUnknownTenant},
		"key of anonymous": {func() error { _, _, err := ring.Create(auth.KeyOptions{Tenant: auth.AnonymousTenant}); return err }, &invalid},
		"negative limit": {func() error {
			_, _, err := ring.Create(auth.KeyOptions{Tenant: "acme", Limits: auth.Limits{InProgress: -1}})
			return err
		}, &invalid},
		"tenant without a name": {func() error { _, err := ring.SetTenant(auth.Tenant{}); return err }, &invalid},
		"tenant of no class":    {func() error { _, err := ring.SetTenant(auth.Tenant{Name: "acme", Class: "first"}); return err }, &invalid},
		"tenant with keys":      {func() error { return ring.DeleteTenant("acme") }, auth.ErrTenantHasKeys},
		"unknown tenant":        {func() error { return ring.DeleteTenant("nobody") }, auth.ErrUnknownTenant},
	} {
		err := c.edit()
		if want, is := c.want.(error); is && !errors.Is(err, want) || !is && !errors.As(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("the file has changed:\n%s", after)
	}
}

func TestKeyRing_SaysWhatToDoWhereTheFileCannotBeWritten(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}, {name: other}]\n")
	ring := keyRing(t, path)
	_, entry := createKey(t, path, auth.KeyOptions{Tenant: "acme", Note: "scanner"})
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	for name, c := range map[string]struct {
		edit func() error
		want []string
	}{
		"rotate": {func() error {
			key, _, _, err := ring.Rotate(entry.ID, time.Hour)
			if key == "" {
				t.Error("no key")
			}
			return err
		}, []string{"in place of key " + entry.ID, "id: " + entry.ID, "expires:", "note: scanner"}},
		"disable":       {func() error { _, err := ring.Disable(entry.ID); return err }, []string{"in place of key " + entry.ID, "disabled: true"}},
		"delete":        {func() error { _, err := ring.Delete(entry.ID); return err }, []string{"delete the entry of key " + entry.ID}},
		"new tenant":    {func() error { _, err := ring.SetTenant(auth.Tenant{Name: "third"}); return err }, []string{`insert under "tenants:"`, "name: third"}},
		"set tenant":    {func() error { _, err := ring.SetTenant(auth.Tenant{Name: "acme", Wait: true}); return err }, []string{"in place of tenant acme", "wait: true"}},
		"delete tenant": {func() error { return ring.DeleteTenant("other") }, []string{"delete the entry of tenant other"}},
	} {
		err := c.edit()
		var notWritten *auth.NotWrittenError
		if !errors.As(err, &notWritten) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(notWritten.Help(), want) {
				t.Errorf("%s: %q is not in %q", name, want, notWritten.Help())
			}
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Errorf("the file has changed:\n%s", after)
	}
}

func TestKeyEntry_TellsItsStateAndNeverItsHash(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for state, entry := range map[string]auth.KeyEntry{
		auth.KeyActive:       {Expires: now.Add(time.Second)},
		auth.KeyExpired:      {Expires: now, LoopbackOnly: true},
		auth.KeyDisabled:     {Expires: now, Disabled: true},
		auth.KeyLoopbackOnly: {LoopbackOnly: true},
	} {
		entry.ID, entry.Tenant, entry.Hash, entry.Limits = "0a1b2c3d", "acme", auth.KeyHash{1, 2, 3}, auth.Limits{InProgress: 2}
		text, err := json.Marshal(entry.Public(now))
		if err != nil || !strings.HasPrefix(string(text), `{"id":"0a1b2c3d","tenant":"acme","state":"`+state+`"`) || !strings.Contains(string(text), `"limits":{"in_progress":2}`) {
			t.Errorf("%s, %v", text, err)
		}
		whole, err := json.Marshal(entry)
		if err != nil || strings.Contains(strings.ToLower(string(text)+string(whole)), "hash") || strings.Contains(string(whole), "010203") || strings.Contains(string(whole), "[1,2,3") {
			t.Errorf("%s, %v", whole, err)
		}
	}
}
