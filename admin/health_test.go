package admin_test

import (
	"errors"
	"strings"
	"testing"

	"ocrmux/admin"
)

func TestReadyz_TellsWhatIsWrongLineByLine(t *testing.T) {
	var keyFile, journal error
	w := newWorld(t, func(w *world) {
		w.deps.Checks = []admin.Check{
			{Name: "key file", Err: func() error { return keyFile }},
			{Name: "usage journal", Err: func() error { return journal }},
		}
	})
	check := func(path string, status int, want string) {
		t.Helper()
		answer := w.ask("GET", path, "")
		if got := answer.Body.String(); answer.Code != status || got != want {
			t.Errorf("%s: %d\n%s\nwant %d\n%s", path, answer.Code, got, status, want)
		}
		if kind := answer.Header().Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			t.Errorf("content type %q", kind)
		}
	}
	check("/readyz", 200, "ok\n")
	check("/readyz?verbose", 200, `[+]ready ok
[+]key file ok
[+]usage journal ok
[-]backend gpu-0 failed: unknown
[-]backend gpu-1 failed: unknown
readyz check passed
`)
	// What is told besides does not decide: the last good key file is in force.
	keyFile = errors.New("keys.yaml: line 3: id sk-ocr-0000canary is\nno id")
	check("/readyz", 200, "ok\n")
	check("/readyz?verbose", 200, `[+]ready ok
[-]key file failed: keys.yaml: line 3: id *** is no id
[+]usage journal ok
[-]backend gpu-0 failed: unknown
[-]backend gpu-1 failed: unknown
readyz check passed
`)
	keyFile, journal, w.ready = nil, errors.New(strings.Repeat("no space left ", 1000)), errors.New("stopping")
	check("/readyz", 503, "stopping\n")
	check("/readyz?verbose", 503, `[-]ready failed: stopping
[+]key file ok
[-]usage journal failed: `+strings.Repeat("no space left ", 1000)[:500]+`…
[-]backend gpu-0 failed: unknown
[-]backend gpu-1 failed: unknown
readyz check failed
`)
	check("/livez", 200, "ok\n")
}

func TestMetrics_AreOpenAndHoldTheRegistry(t *testing.T) {
	w := newWorld(t, withToken, withoutLoopback)
	w.ask("GET", "/admin", "", bearing("guess"))
	answer := w.ask("GET", "/metrics", "", bearing(""))
	if want := `ocrmux_admin_refusals_total{reason="wrong"} 1`; answer.Code != 200 || !strings.Contains(answer.Body.String(), want) {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}
