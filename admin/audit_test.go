package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAudit_TellsEveryChangeAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.ask("GET", "/admin/config", "")
	w.ask("GET", "/admin/backends", "")
	if lines := w.audit(); len(lines) > 0 {
		t.Errorf("reading is told: %v", lines)
	}
	w.ask("POST", "/admin/reload", "")
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"done","status":200,"token":"loopback"}`)
	w.ask("DELETE", "/admin/cache?tenant=acme&model=deepseek-ai/DeepSeek-OCR", "")
	w.wantAudit(`{"action":"cache.delete","model":"deepseek-ai/DeepSeek-OCR","peer":"127.0.0.1","result":"done","status":200,"tenant":"acme","token":"loopback"}`)
	w.ask("DELETE", "/admin/cache", "")
	w.wantAudit(`{"action":"cache.delete","peer":"127.0.0.1","result":"invalid_request_error","status":400,"token":"loopback"}`)
	w.ask("DELETE", "/admin/cache?model=broken", "")
	w.wantAudit(`{"action":"cache.delete","model":"broken","peer":"127.0.0.1","result":"server_error","status":500,"token":"loopback"}`)

	want := `
# HELP ocrmux_admin_changes_total Changes that operators asked for, by action and by result: done, refused or failed.
# TYPE ocrmux_admin_changes_total counter
ocrmux_admin_changes_total{action="cache.delete",result="done"} 1
ocrmux_admin_changes_total{action="cache.delete",result="failed"} 1
ocrmux_admin_changes_total{action="cache.delete",result="refused"} 1
ocrmux_admin_changes_total{action="reload",result="done"} 1
`
	if err := testutil.GatherAndCompare(w.deps.Registry, strings.NewReader(want), "ocrmux_admin_changes_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(w.deps.Registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestAudit_AFloodOfRefusalsIsAFewLinesAndACount(t *testing.T) {
	w := newWorld(t, withToken)
	const flood = 5000
	for range flood {
		w.ask("GET", "/admin", "", bearing(""))
	}
	if lines := w.audit(); len(lines) != 20 {
		t.Errorf("%d lines", len(lines))
	}
	w.now = w.now.Add(3 * time.Second)
	w.ask("GET", "/admin", "", bearing(""))
	w.wantAudit(`{"action":"refused","path":"/admin","peer":"127.0.0.1","result":"missing","token":"none","untold":4980}`)
	w.now = w.now.Add(3 * time.Second)
	w.ask("GET", "/admin", "", bearing("guess"))
	w.wantAudit(`{"action":"refused","path":"/admin","peer":"127.0.0.1","result":"wrong","token":"f1abe1b0"}`)
	w.ask("POST", "/admin/reload", "") // changes are always told
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"done","status":200,"token":"` + digest + `"}`)
}

// digest is what the audit shows of token.
const digest = "43a8dcb4"

func TestAudit_HidesWhatMayBeASecretOfSomebodyWhoMissedTheirMark(t *testing.T) {
	w := newWorld(t, withToken)
	for _, secret := range []string{
		token, "sk-ocr-01234567-abc", "SK-OCR-01234567-abc", "line%0Abreak", "%22quoted%22", strings.Repeat("x", 129),
	} {
		w.ask("DELETE", "/admin/cache?tenant="+secret, "")
		w.wantAudit(`{"action":"cache.delete","peer":"127.0.0.1","result":"done","status":200,"tenant":"(hidden)","token":"` + digest + `"}`)
	}
}

func TestAudit_NamesTheTokenOnlyWhereThereIsOne(t *testing.T) {
	w := newWorld(t)
	w.ask("POST", "/admin/reload", "", bearing("guess"))
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"done","status":200,"token":"loopback"}`)
	w = newWorld(t, withoutLoopback)
	w.ask("POST", "/admin/reload", "", from("192.0.2.1:1000"))
	w.wantAudit(`{"action":"refused","path":"/admin/reload","peer":"192.0.2.1","result":"absent","token":"none"}`)
}

func TestAudit_HidesWhatIsNoIDOfAKey(t *testing.T) {
	w := newWorld(t)
	w.ask("DELETE", "/admin/keys/hunter2", "")
	w.wantAudit(`{"action":"keys.delete","key":"(hidden)","peer":"127.0.0.1","result":"key_not_found","status":404,"token":"loopback"}`)
	w.ask("DELETE", "/admin/keys/00000000", "")
	w.wantAudit(`{"action":"keys.delete","key":"00000000","peer":"127.0.0.1","result":"key_not_found","status":404,"token":"loopback"}`)
}

// Whatever operators do, and wherever they paste a key by mistake, the log holds
// neither a key nor the token nor the pepper nor a hash.
func TestLog_HoldsNoSecret(t *testing.T) {
	w := newWorld(t, withToken)
	made := w.key(t, "POST", "/admin/keys", `{"tenant":"acme","note":"n0te-canary"}`, 201)
	turned := w.key(t, "POST", "/admin/keys/"+made.Key.ID+"/rotate", `{"grace":"1h"}`, 201)
	parts := strings.Split(made.Secret, "-")
	for _, secret := range []string{made.Secret, turned.Secret, token, parts[3], "sk-ocr-" + parts[3]} {
		body := `{"tenant":"` + secret + `","note":"` + secret + `","` + secret + `":1}`
		for _, method := range allMethods {
			for _, path := range []string{
				"/admin/keys/" + secret, "/admin/keys/" + secret + "/rotate", "/admin/keys/" + secret + "/disable", "/admin/tenants/" + secret,
				"/admin/backends/" + secret + "/cordon", "/admin/cache?tenant=" + secret, "/admin/cache?model=" + secret, "/admin/cache?" + secret + "=1",
				"/admin/keys", "/admin/" + secret, "/" + secret, "/debug/pprof/" + secret,
			} {
				if method == "PUT" && path == "/admin/tenants/"+parts[3] {
					continue // a fine name for a tenant
				}
				for _, given := range []string{token, secret, ""} {
					w.ask(method, path, "", bearing(given))
					w.ask(method, path, body, bearing(given))
					w.ask(method, path, `{"tenant":"`+secret+`"}`, bearing(given), header("Origin", "https://"+secret))
					w.now = w.now.Add(time.Minute)
				}
			}
		}
	}
	log := w.log.String()
	if strings.Count(log, `"msg":"audit"`) < 500 {
		t.Fatalf("too little was tried: %d lines", strings.Count(log, "\n"))
	}
	for _, secret := range []string{made.Secret, turned.Secret, parts[3], token, pepper, "canary", "8a9d63e2e56e4b1e"} {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("%q stands in the log: %s", secret, log[max(0, i-200):i+200])
		}
	}
}
