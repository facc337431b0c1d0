package admin_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/auth"
)

// keyAnswer is what routes about keys answer.
type keyAnswer struct {
	Key    auth.PublicKey
	Old    auth.PublicKey
	Tenant auth.Tenant
	Secret string
	Entry  string
}

func (w *world) key(t *testing.T, method, target, body string, status int) (answer keyAnswer) {
	t.Helper()
	got := w.ask(method, target, body)
	if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil || got.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, target, got.Code, got.Body, status)
	}
	return answer
}

// withGate has a gate that follows the key file only when it is told to.
func withGate(gate **auth.Gate) func(*world) {
	return func(w *world) {
		w.now = time.Now()
		var err error
		*gate, err = auth.New(auth.Config{KeyFile: w.keys, Pepper: []byte(pepper)}, auth.Deps{})
		if err != nil {
			w.t.Fatal(err)
		}
		w.deps.Applied = func() {
			w.applied++
			if *gate, err = auth.New(auth.Config{KeyFile: w.keys, Pepper: []byte(pepper)}, auth.Deps{}); err != nil {
				w.t.Error(err)
			}
		}
	}
}

func TestKeys_LiveTheirWholeLifeOverTheAPI(t *testing.T) {
	var gate *auth.Gate
	w := newWorld(t, withGate(&gate))
	good := func(secret string, want bool) {
		t.Helper()
		if _, err := gate.Identify(secret, netip.MustParseAddr("192.0.2.1")); (err == nil) != want {
			t.Errorf("%v, want good: %t", err, want)
		}
	}

	made := w.key(t, "POST", "/admin/keys", `{"tenant":"beta","expires":"2041-01-31T12:00:00+01:00","note":"n","limits":{"in_progress":3}}`, 201)
	if k := made.Key; k.Tenant != "beta" || k.State != auth.KeyActive || k.Note != "n" || k.Limits.InProgress != 3 ||
		!k.Expires.Equal(time.Date(2041, 1, 31, 11, 0, 0, 0, time.UTC)) || !strings.HasPrefix(made.Secret, "sk-ocr-"+k.ID+"-") {
		t.Errorf("%+v", made)
	}
	good(made.Secret, true)
	id := made.Key.ID
	w.wantAudit(`{"action":"keys.create","key":"` + id + `","peer":"127.0.0.1","result":"done","status":201,"tenant":"beta","token":"loopback"}`)

	if shown := w.key(t, "GET", "/admin/keys/"+id, "", 200); shown.Key != made.Key || shown.Tenant.Name != "beta" || shown.Tenant.Class != "interactive" || shown.Secret != "" {
		t.Errorf("%+v", shown)
	}
	if off := w.key(t, "POST", "/admin/keys/"+id+"/disable", "", 200); off.Key.State != auth.KeyDisabled {
		t.Errorf("%+v", off)
	}
	good(made.Secret, false)
	wantError(t, w.ask("POST", "/admin/keys/"+id+"/rotate", ""), 409, "key_disabled")
	if on := w.key(t, "POST", "/admin/keys/"+id+"/enable", "", 200); on.Key.State != auth.KeyActive {
		t.Errorf("%+v", on)
	}
	good(made.Secret, true)

	w.audit()
	turned := w.key(t, "POST", "/admin/keys/"+id+"/rotate", `{"grace":"24h"}`, 201)
	if left := time.Until(turned.Old.Expires); turned.Old.ID != id || left < 23*time.Hour || left > 24*time.Hour || turned.Key.Limits.InProgress != 3 {
		t.Errorf("%+v", turned)
	}
	good(made.Secret, true)
	good(turned.Secret, true)
	w.wantAudit(`{"action":"keys.rotate","key":"` + id + `","new_key":"` + turned.Key.ID + `","peer":"127.0.0.1","result":"done","status":201,"tenant":"beta","token":"loopback"}`)
	again := w.key(t, "POST", "/admin/keys/"+turned.Key.ID+"/rotate", "", 201)
	good(turned.Secret, false) // no grace
	good(again.Secret, true)

	w.key(t, "DELETE", "/admin/keys/"+again.Key.ID, "", 200)
	good(again.Secret, false)
	wantError(t, w.ask("GET", "/admin/keys/"+again.Key.ID, ""), 404, "key_not_found")
	for _, route := range []string{"POST /rotate", "POST /disable", "POST /enable", "DELETE "} {
		method, verb, _ := strings.Cut(route, " ")
		wantError(t, w.ask(method, "/admin/keys/"+again.Key.ID+verb, ""), 404, "key_not_found")
	}

	if local := w.key(t, "POST", "/admin/keys", `{"tenant":"acme","loopback_only":true}`, 201); local.Key.State != auth.KeyLoopbackOnly || !local.Key.LoopbackOnly {
		t.Errorf("%+v", local)
	} else {
		good(local.Secret, false) // from elsewhere
	}

	var list struct{ Keys []auth.PublicKey }
	for query, want := range map[string]int{"": 5, "?tenant=beta": 3, "?tenant=acme": 2, "?tenant=gamma": 0} {
		answer := w.ask("GET", "/admin/keys"+query, "")
		if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || len(list.Keys) != want || list.Keys == nil {
			t.Errorf("%s: %s, want %d keys", query, answer.Body, want)
		}
	}
	wantError(t, w.ask("GET", "/admin/keys?tenant=bета", ""), 404, "tenant_not_found")
	content, err := os.ReadFile(w.keys)
	if err != nil || !strings.Contains(string(content), "# of the reading room") || !strings.Contains(string(content), "# old") {
		t.Errorf("comments are lost: %s %v", content, err)
	}
}

func TestKeys_WrongWishesAreNamedAndChangeNothing(t *testing.T) {
	w := newWorld(t)
	before, err := os.ReadFile(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, target, body string
		status               int
		code, param          string
	}{
		{"POST", "/admin/keys", ``, 400, "", "tenant"},
		{"POST", "/admin/keys", `{"tenant":"nobody"}`, 404, "tenant_not_found", ""},
		{"POST", "/admin/keys", `{"tenant":"acme","expires":"2031-01-31"}`, 400, "", "expires"},
		{"POST", "/admin/keys", `{"tenant":"acme","limits":{"in_progress":-1}}`, 400, "", "limits"},
		{"POST", "/admin/keys", `{"tenant":"acme","limits":{"requests":1}}`, 400, "unknown_parameter", "limits.requests"},
		{"POST", "/admin/keys", `{"tenant":"acme","hash":"hmac-sha256:00"}`, 400, "unknown_parameter", "hash"},
		{"POST", "/admin/keys", `{"tenant":"anonymous"}`, 400, "", "tenant"},
		{"POST", "/admin/keys?tenant=acme", `{}`, 400, "unknown_parameter", "tenant"},
		{"POST", "/admin/keys/7q3n0v5k/rotate", `{"grace":"a day"}`, 400, "", "grace"},
		{"POST", "/admin/keys/7q3n0v5k/rotate", `{"grace":"-1h"}`, 400, "", "grace"},
		{"POST", "/admin/keys/7q3n0v5k/disable", `{"for":"1h"}`, 400, "unknown_parameter", "for"},
		{"PUT", "/admin/tenants/acme", `{"name":"beta"}`, 400, "", "name"},
		{"PUT", "/admin/tenants/acme", `{"class":"urgent"}`, 400, "", "tenant"},
		{"PUT", "/admin/tenants/acme", `{"routes":["everything"]}`, 400, "", "tenant"},
		{"PUT", "/admin/tenants/acme", `{"limits":{"requests_per_minute":"many"}}`, 400, "", "limits.requests_per_minute"},
		{"PUT", "/admin/tenants/no%20name", `{}`, 400, "", "tenant"},
		{"DELETE", "/admin/tenants/acme", ``, 409, "tenant_has_keys", ""},
		{"DELETE", "/admin/tenants/nobody", ``, 404, "tenant_not_found", ""},
	} {
		answer := w.ask(c.method, c.target, c.body)
		if _, param := wantError(t, answer, c.status, c.code); param != c.param {
			t.Errorf("%s %s %s: param %q, want %q: %s", c.method, c.target, c.body, param, c.param, answer.Body)
		}
	}
	if after, err := os.ReadFile(w.keys); err != nil || string(after) != string(before) {
		t.Errorf("the file changed: %s", after)
	}
}

func TestTenants_AreMadeReplacedAndTakenAway(t *testing.T) {
	w := newWorld(t)
	wantJSON(t, w.ask("PUT", "/admin/tenants/delta", `{"models":["ocr"],"limits":{"in_progress":4},"quota":{"pages_per_month":1000},"labels":{"city":"臺北"}}`), 201,
		`{"tenant":{"name":"delta","models":["ocr"],"class":"interactive","weight":1,"limits":{"in_progress":4},"quota":{"pages_per_month":1000},"labels":{"city":"臺北"}}}`)
	w.wantAudit(`{"action":"tenants.set","peer":"127.0.0.1","result":"done","status":201,"tenant":"delta","token":"loopback"}`)
	wantJSON(t, w.ask("PUT", "/admin/tenants/delta", `{"name":"delta","class":"batch"}`), 200, // what is left out goes
		`{"tenant":{"name":"delta","class":"batch","weight":1,"limits":{},"quota":{}}}`)
	wantJSON(t, w.ask("GET", "/admin/tenants/delta", ""), 200, `{"tenant":{"name":"delta","class":"batch","weight":1,"limits":{},"quota":{}}}`)
	if w.applied != 2 {
		t.Errorf("put in force %d times", w.applied)
	}
	wantJSON(t, w.ask("DELETE", "/admin/tenants/delta", ""), 200, `{"tenant":{"name":"delta","class":"batch","weight":1,"limits":{},"quota":{}}}`)
	wantError(t, w.ask("GET", "/admin/tenants/delta", ""), 404, "tenant_not_found")
	wantError(t, w.ask("DELETE", "/admin/tenants/delta", ""), 404, "tenant_not_found")
	wantJSON(t, w.ask("GET", "/admin/tenants", ""), 200, `{"tenants":[{"name":"acme","class":"batch","weight":1,"limits":{"images_per_minute":600},"quota":{}},`+
		`{"name":"beta","class":"interactive","weight":1,"limits":{},"quota":{}},{"name":"gamma","class":"interactive","weight":1,"limits":{},"quota":{}}]}`)
}

// A file mounted alone can be read and not be replaced.
func TestKeys_WhereTheFileCannotBeWrittenAPersonIsToldWhatToInsert(t *testing.T) {
	var gate *auth.Gate
	w := newWorld(t, withGate(&gate))
	// A directory in the place of the lock file: also root cannot open it for writing.
	if err := os.Mkdir(w.keys+".lock", 0o700); err != nil {
		t.Fatal(err)
	}
	answer := w.ask("POST", "/admin/keys", `{"tenant":"beta"}`)
	message, _ := wantError(t, answer, 409, "key_file_not_writable")
	var made keyAnswer
	if err := json.Unmarshal(answer.Body.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(message, "id: "+made.Key.ID) || !strings.Contains(made.Entry, "id: "+made.Key.ID) || strings.Contains(message+made.Entry, "sk-ocr-") {
		t.Errorf("%s\n%s", message, made.Entry)
	}
	w.wantAudit(`{"action":"keys.create","key":"` + made.Key.ID + `","peer":"127.0.0.1","result":"key_file_not_writable","status":409,"tenant":"beta","token":"loopback"}`)
	peer := netip.MustParseAddr("192.0.2.1")
	if _, err := gate.Identify(made.Secret, peer); err == nil {
		t.Error("the key is good before it stands in the file")
	}
	content, err := os.ReadFile(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	entry := "  " + strings.ReplaceAll(strings.TrimSpace(made.Entry), "\n", "\n  ") + "\n"
	if err := os.WriteFile(w.keys, append(content, entry...), 0o600); err != nil {
		t.Fatal(err)
	}
	w.deps.Applied()
	if _, err := gate.Identify(made.Secret, peer); err != nil {
		t.Errorf("the entry that was told does not make the key good: %v\n%s", err, entry)
	}
	for _, route := range []string{"DELETE /keys/7q3n0v5k", "POST /keys/7q3n0v5k/disable", "POST /keys/7q3n0v5k/rotate", "PUT /tenants/acme", "DELETE /tenants/gamma"} {
		method, path, _ := strings.Cut(route, " ")
		wantError(t, w.ask(method, "/admin"+path, ""), 409, "key_file_not_writable")
	}
}

func TestKeys_ABrokenFileIsToldAndLeftAlone(t *testing.T) {
	w := newWorld(t)
	const broken = "tenants: [{name: acme}\nkeys: sk-ocr-0a1b2c3d-canary\n"
	if err := os.WriteFile(w.keys, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"GET /keys", "GET /keys/7q3n0v5k", "DELETE /keys/7q3n0v5k", "GET /tenants", "PUT /tenants/acme", "POST /keys/7q3n0v5k/disable"} {
		method, path, _ := strings.Cut(route, " ")
		message, _ := wantError(t, w.ask(method, "/admin"+path, ""), 500, "key_file_unusable")
		if !strings.Contains(message, filepath.Base(w.keys)) || strings.Contains(message, "canary") {
			t.Errorf("%s: %s", route, message)
		}
	}
	if content, err := os.ReadFile(w.keys); err != nil || string(content) != broken {
		t.Errorf("%s %v", content, err)
	}
	if strings.Contains(w.log.String(), "canary") {
		t.Error(w.log)
	}
}

func TestKeys_ManyOperatorsAtOnceLoseNothing(t *testing.T) {
	w := newWorld(t, func(w *world) { w.deps.Applied = nil })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 4 {
				if got := w.ask("POST", "/admin/keys", `{"tenant":"gamma"}`); got.Code != 201 {
					t.Errorf("%d %s", got.Code, got.Body)
				}
			}
		})
	}
	wg.Wait()
	file, err := auth.Load(w.keys)
	if err != nil || len(file.Keys) != 2+16 {
		t.Errorf("%d keys, %v", len(file.Keys), err)
	}
}
