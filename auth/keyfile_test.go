package auth_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocrmux/auth"
)

const someHash = "hmac-sha256:00000000000000000000000000000000000000000000000000000000000000aa"

func TestLoad_ReadsTheWholeFile(t *testing.T) {
	path := writeFile(t, `
tenants:
  - name: acme
    models: [deepseek-ocr, ocr]
    class: batch
    weight: 2.5
    privileged: true
    wait: true
    limits:
      requests_per_minute: 600
      in_progress: 8
  - name: plain
keys:
  - id: 0a1b2c3d
    tenant: acme
    hash: `+someHash+`
    created: 2026-11-01T10:20:30Z
    expires: 2027-01-01
    disabled: true
    loopback_only: true
    note: of the scanner on the second floor
`)
	file, err := auth.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	acme := file.Tenants[0]
	if acme.Name != "acme" || acme.Class != auth.ClassBatch || acme.Weight != 2.5 || !acme.Privileged || !acme.Wait ||
		acme.Limits != (auth.Limits{RequestsPerMinute: 600, InProgress: 8}) {
		t.Errorf("%+v", acme)
	}
	if !acme.MayUse("ocr") || !acme.MayUse("other", "deepseek-ocr") || acme.MayUse("other") || acme.MayUse() {
		t.Error("acme may use what its models say, and nothing else")
	}
	if plain := file.Tenants[1]; plain.Class != auth.ClassInteractive || plain.Weight != 1 || !plain.MayUse("anything") {
		t.Errorf("defaults: %+v", plain)
	}
	key := file.Keys[0]
	if key.ID != "0a1b2c3d" || key.Tenant != "acme" || key.Hash[31] != 0xaa || !key.Disabled || !key.LoopbackOnly ||
		!key.Expires.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) || key.Created.Second() != 30 || key.Note == "" {
		t.Errorf("%+v", key)
	}
}

func TestLoad_NamesTheLineOfEveryMistake(t *testing.T) {
	const tenant = "tenants:\n  - name: acme\n"
	const key = "keys:\n  - id: 0a1b2c3d\n    tenant: acme\n    hash: " + someHash + "\n"
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "is empty"},
		{"comments only", "# nothing\n", "is empty"},
		{"not YAML", "tenants: [", "line 1"},
		{"unknown at the top", tenant + "colour: red\n", "line 3: field colour not found"},
		{"unknown in a tenant", tenant + "    modles: [x]\n", "line 3: field modles not found"},
		{"unknown in limits", tenant + "    limits: {pages: 3}\n", "line 3: field pages not found"},
		{"unknown in a key", tenant + key + "    disable: true\n", "line 7: field disable not found"},
		{"twice the same field", tenant + "    name: other\n", "line 3"},
		{"wrong type", tenant + "    limits: {in_progress: many}\n", "line 3"},
		{"second document", tenant + "---\nkeys: []\n", "second document"},
		{"tenant without a name", "tenants:\n  - class: batch\n", "line 2: tenant name"},
		{"name with a slash", "tenants:\n  - name: a/b\n", "line 2: tenant name"},
		{"tenant twice", tenant + "  - name: acme\n", "line 3: tenant \"acme\" stands here a second time"},
		{"class", tenant + "    class: urgent\n", "line 2: tenant acme: class \"urgent\""},
		{"weight", tenant + "    weight: -1\n", "line 2: tenant acme: weight"},
		{"weight no number", tenant + "    weight: .nan\n", "line 2: tenant acme: weight"},
		{"time", tenant + key + "    expires: tomorrow\n", "line 7: expires is not a time"},
		{"top level is a list", "- tenants\n", "line 1"},
		{"tenants are no list", "tenants: 3\n", "line 1"},
		{"null tenant", "tenants:\n  -\n", "line 2: entry is empty"},
		{"negative limit", tenant + "    limits: {in_progress: -1}\n", "line 2: tenant acme: a limit"},
		{"key without id", tenant + "keys:\n  - tenant: acme\n    hash: " + someHash + "\n", "line 4: id must be"},
		{"key without hash", tenant + "keys:\n  - {id: 0a1b2c3d, tenant: acme}\n", "line 4: key 0a1b2c3d has no hash"},
		{"hash of another kind", tenant + "keys:\n  - {id: 0a1b2c3d, tenant: acme, hash: md5}\n", "line 4: hash is not"},
		{"key of no tenant", strings.Replace(tenant+key, "tenant: acme", "tenant: other", 1), "line 4: key 0a1b2c3d belongs to tenant \"other\", which is not in the file"},
		{"key of the anonymous", "tenants:\n  - name: anonymous\n" + strings.Replace(key, "acme", "anonymous", 1), "for callers without a key"},
		{"key twice", tenant + key + strings.TrimPrefix(key, "keys:\n"), "line 7: key 0a1b2c3d stands here a second time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, c.content)
			_, err := auth.Load(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "auth.") {
				t.Errorf("%v: speaks to programmers", err)
			}
		})
	}
}

func TestLoad_RepeatsNoKeyThatStandsInTheWrongPlace(t *testing.T) {
	plaintext, _ := createKey(t, filepath.Join(t.TempDir(), "keys.yaml"), auth.KeyOptions{Tenant: "acme"})
	for _, field := range []string{"id", "hash", "tenant", "disabled", "expires", "note: x, x" + plaintext, plaintext} {
		_, err := auth.Load(writeFile(t, "tenants: [{name: acme}]\nkeys:\n  - {"+field+": "+plaintext+"}\n"))
		if err == nil || strings.Contains(err.Error(), strings.Split(plaintext, "-")[3]) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
