package auth_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"ocrmux/auth"
)

func TestKeyRing_AnEditTouchesItsEntryAndNothingElse(t *testing.T) {
	const tail = "    hash: " + someHash + "\n"
	disable := func(r *auth.KeyRing) error { _, err := r.Disable("0000000a"); return err }
	enable := func(r *auth.KeyRing) error { _, err := r.Enable("0000000a"); return err }
	remove := func(r *auth.KeyRing) error { _, err := r.Delete("0000000a"); return err }
	setTenant := func(r *auth.KeyRing) error {
		_, err := r.SetTenant(auth.Tenant{Name: "acme", Limits: auth.Limits{ImagesPerMinute: 7, InProgress: 2}})
		return err
	}
	dropTenant := func(r *auth.KeyRing) error { return r.DeleteTenant("other") }
	const b = "  - {id: 0000000b, tenant: acme, hash: '" + someHash + "'}   # b\n"
	for _, c := range []struct {
		name, before string
		edit         func(*auth.KeyRing) error
		after        string
	}{
		{
			"a field that is absent comes last",
			"tenants: [ {name: acme} ]  # who\nkeys:\n\n  # scanner\n  - id: 0000000a # old\n    tenant: acme\n" + tail + "\n" + b, disable,
			"tenants: [ {name: acme} ]  # who\nkeys:\n\n  # scanner\n  - id: 0000000a # old\n    tenant: acme\n" + tail + "    disabled: true\n\n" + b,
		},
		{
			"a field that stands there keeps its comment",
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    disabled: false # since May\n    tenant: acme\n" + tail, disable,
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    disabled: true # since May\n    tenant: acme\n" + tail,
		},
		{
			"a field that goes leaves its comment",
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    tenant: acme\n    disabled: true # stolen\n" + tail, enable,
			"tenants: [{name: acme}]\nkeys:\n  # stolen\n  - id: 0000000a\n    tenant: acme\n" + tail,
		},
		{
			"CRLF stays",
			"tenants: [{name: acme}] # who\r\nkeys:\r\n- id: 0000000a\r\n  # whose\r\n  tenant: acme\r\n  hash: " + someHash + "\r\n", disable,
			"tenants: [{name: acme}] # who\r\nkeys:\r\n- id: 0000000a\r\n  # whose\r\n  tenant: acme\r\n  hash: " + someHash + "\r\n  disabled: true\r\n",
		},
		{
			"an entry in brackets gets lines",
			"tenants: [{name: acme}]\nkeys:\n  - {id: 0000000a, tenant: acme, # mine\n     hash: '" + someHash + "'} # a\n" + b, disable,
			"tenants: [{name: acme}]\nkeys:\n  # a\n  - id: 0000000a\n    tenant: acme # mine\n    hash: '" + someHash + "'\n    disabled: true\n" + b,
		},
		{
			"a deleted entry takes the comment right above with it",
			"tenants: [{name: acme}]\nkeys:\n  # The second floor.\n\n  # scanner\n  # of Ann\n  - id: 0000000a\n    # whose\n    tenant: acme\n" + tail + "  # copier\n" + b, remove,
			"tenants: [{name: acme}]\nkeys:\n  # The second floor.\n\n  # copier\n" + b,
		},
		{
			"the last entry of a list can go",
			"tenants:\n  - name: acme\nkeys: # all\n  - id: 0000000a\n    tenant: acme\n" + tail + "# the end\n", remove,
			"tenants:\n  - name: acme\nkeys: # all\n# the end\n",
		},
		{
			"limits keep their comments",
			"tenants:\n  - name: acme\n    limits: # agreed\n      images_per_minute: 5 # for now\n      requests_per_minute: 9 # too many\n    labels: {a: b}\n", setTenant,
			"tenants:\n  # too many\n  - name: acme\n    limits: # agreed\n      images_per_minute: 7 # for now\n      in_progress: 2\n",
		},
		{
			"JSON gets lines",
			`{"tenants": [{"name": "acme"}, {"name": "other"}], "keys": [{"id": "0000000a", "tenant": "acme", "hash": "` + someHash + `"}]}`, dropTenant,
			"\"tenants\":\n  - \"name\": \"acme\"\n\"keys\":\n  - \"id\": \"0000000a\"\n    \"tenant\": \"acme\"\n    \"hash\": \"" + someHash + "\"\n",
		},
		{
			"what is shared is copied before it changes for one",
			"tenants: [{name: acme}]\nkeys:\n  - &a\n    id: 0000000a\n    tenant: acme\n" + tail + "  - <<: *a # as a\n    id: 0000000b\n", disable,
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    tenant: acme\n" + tail + "    disabled: true\n" +
				"  # as a\n  - id: 0000000b\n    tenant: acme\n" + tail,
		},
		{
			"an anchor that is still needed does not go with its entry",
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    tenant: acme\n" + tail + "    limits: &few {in_progress: 1}\n  - id: 0000000b\n    tenant: acme\n" + tail + "    limits: *few\n", remove,
			"tenants: [{name: acme}]\nkeys:\n  - id: 0000000b\n    tenant: acme\n" + tail + "    limits: {in_progress: 1}\n",
		},
		{
			"an anchor in a list in brackets",
			"tenants: [{name: acme, limits: &few {in_progress: 1}}, {name: other}]\nkeys:\n  - id: 0000000a\n    tenant: acme\n" + tail + "    limits: *few\n" + b, setTenant,
			"tenants:\n  - name: acme\n    limits: {in_progress: 2, images_per_minute: 7}\n  - name: other\nkeys:\n  - id: 0000000a\n    tenant: acme\n" + tail + "    limits: {in_progress: 1}\n" + b,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, c.before)
			if err := c.edit(keyRing(t, path)); err != nil {
				t.Fatal(err)
			}
			if got, _ := os.ReadFile(path); string(got) != c.after {
				t.Errorf("got\n%s\nwant\n%s", got, c.after)
			}
		})
	}
}

func TestKeyRing_LeavesALayoutAloneThatItCannotFollow(t *testing.T) {
	for name, content := range map[string]string{
		"keys marked with ?":    "tenants: [{name: acme}]\n? keys\n: - {id: 0000000a, tenant: acme, hash: '" + someHash + "'}\n",
		"a text without an end": "tenants: [{name: acme}]\nkeys:\n  - id: 0000000a\n    tenant: acme\n    hash: " + someHash + "\n    note: |\n      scanner",
	} {
		path := writeFile(t, content)
		key, _, err := keyRing(t, path).Create(auth.KeyOptions{Tenant: "acme"})
		var notWritten *auth.NotWrittenError
		if !errors.As(err, &notWritten) || key == "" || !strings.Contains(notWritten.Help(), "tenant: acme\n") {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != content {
			t.Errorf("%s: the file has changed to\n%s", name, got)
		}
	}
}
