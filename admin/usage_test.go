package admin_test

import (
	"encoding/json"
	"testing"

	"ocrmux/usage"
)

func TestUsage_IsToldForAllForATenantAndForAKey(t *testing.T) {
	w := newWorld(t)
	for who, requests := range map[usage.Who]int64{
		{Tenant: "acme", Key: "7q3n0v5k", Route: "ocr"}: 1,
		{Tenant: "acme", Key: "00000001", Route: "ocr"}: 2,
		{Tenant: "beta", Key: "0a1b2c3d", Route: "ocr"}: 4,
	} {
		w.ledger.Record(who, usage.Counts{Requests: requests})
	}
	for query, want := range map[string]int64{
		"": 7, "?tenant=": 7, "?tenant=acme": 3, "?tenant=beta": 4, "?key=7q3n0v5k": 1, "?tenant=acme&key=00000001": 2, "?tenant=beta&key=00000001": 0, "?tenant=nobody": 0,
	} {
		var report usage.Report
		answer := w.ask("GET", "/admin/usage"+query, "")
		if err := json.Unmarshal(answer.Body.Bytes(), &report); err != nil || answer.Code != 200 || report.Month.Total.Requests != want || report.Today.Rows == nil {
			t.Errorf("%s: %d %s, want %d requests", query, answer.Code, answer.Body, want)
		}
	}
	wantError(t, w.ask("GET", "/admin/usage?tennant=acme", ""), 400, "unknown_parameter")
}
