package admin_test

import (
	"slices"
	"testing"
)

func TestCache_ForgetsWhatIsNamedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	for query, want := range map[string]string{
		"?tenant=acme":                "acme/",
		"?model=deepseek-ai%2FOCR":    "/deepseek-ai/OCR",
		"?tenant=acme&model=ocr":      "acme/ocr",
		"?all=true":                   "/",
		"?model=ocr&tenant=anonymous": "anonymous/ocr",
	} {
		w.deleted = nil
		wantJSON(t, w.ask("DELETE", "/admin/cache"+query, ""), 200, `{"deleted":3}`)
		if !slices.Equal(w.deleted, []string{want}) {
			t.Errorf("%s: deleted %q, want %q", query, w.deleted, want)
		}
	}
	w.deleted = nil
	for query, code := range map[string]string{
		"":                         "",
		"?all=false":               "",
		"?all=true&tenant=acme":    "",
		"?tenant=":                 "", // an empty variable of a script
		"?tenant=acme&model=":      "",
		"?tenant=acme&tenant=beta": "",
		"?tenant=acme&modle=ocr":   "unknown_parameter",
		"?tenant=acme;model=ocr":   "",
		"?tenant=%zz":              "",
	} {
		wantError(t, w.ask("DELETE", "/admin/cache"+query, ""), 400, code)
	}
	if len(w.deleted) > 0 {
		t.Errorf("deleted %q", w.deleted)
	}
	without := newWorld(t, func(w *world) { w.deps.Cache = nil })
	wantError(t, without.ask("DELETE", "/admin/cache?all=true", ""), 404, "no_cache")
}
