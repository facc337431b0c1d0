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
	w.ask("POST", "/admin/reload", "") // changes are always told
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"done","status":200,"token":"` + digest + `"}`)
}

// digest is what the audit shows of token.
const digest = "43a8dcb4"
