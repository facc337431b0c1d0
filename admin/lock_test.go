package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}

// lockedPaths are the methods of every path behind the lock, as GET /admin tells them.
func lockedPaths(t *testing.T, w *world) map[string][]string {
	t.Helper()
	var list struct {
		Routes []struct{ Method, Path string }
	}
	answer := w.ask("GET", "/admin", "")
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || answer.Code != 200 {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	paths := map[string][]string{
		"/debug/pprof/": {"GET"}, "/debug/pprof/cmdline": {"GET"}, "/debug/pprof/symbol": {"GET", "POST"},
		"/debug/pprof/profile": {"GET"}, "/debug/pprof/trace": {"GET"}, "/admin/nothing": nil,
	}
	for _, r := range list.Routes {
		path := strings.NewReplacer("{id}", "00000000", "{name}", "nobody").Replace(r.Path)
		paths[path] = append(paths[path], r.Method)
	}
	return paths
}

func TestLock_EveryRouteAndMethodNeedsTheToken(t *testing.T) {
	w := newWorld(t, withToken)
	paths := lockedPaths(t, w)
	if len(paths) < 10 {
		t.Fatalf("%d paths", len(paths))
	}
	w.audit()
	for path := range paths {
		for _, method := range allMethods {
			for given, reason := range map[string]string{"": "missing", "guess": "wrong", token + "x": "wrong", token[1:]: "wrong"} {
				w.now = w.now.Add(time.Minute) // no throttle, every line of audit
				answer := w.ask(method, path, "", bearing(given))
				wantError(t, answer, 401, "invalid_admin_token")
				if answer.Header().Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%s %s: no challenge", method, path)
				}
				lines := w.audit()
				if len(lines) != 1 || lines[0]["action"] != "refused" || lines[0]["result"] != reason || lines[0]["peer"] != "127.0.0.1" {
					t.Errorf("%s %s with %q: audit %v", method, path, given, lines)
				}
			}
		}
	}
	if w.reloads > 0 || len(w.deleted) > 0 {
		t.Errorf("%d reloads, deleted %q", w.reloads, w.deleted)
	}
}

func TestLock_TheTokenOpensExactlyTheMethodsOfARoute(t *testing.T) {
	w := newWorld(t, withToken)
	for path, methods := range lockedPaths(t, w) {
		for _, method := range allMethods {
			allowed := strings.Join(methods, " ")
			good := strings.Contains(allowed, method) || method == "HEAD" && strings.Contains(allowed, "GET")
			if good && (strings.HasSuffix(path, "/profile") || strings.HasSuffix(path, "/trace")) {
				continue // takes seconds
			}
			answer := w.ask(method, path, "", header("Authorization", "bearer "+token))
			switch {
			case methods == nil:
				wantError(t, answer, 404, "unknown_url")
			case good:
				if answer.Code == 401 || answer.Code == 405 || answer.Code >= 500 || strings.Contains(answer.Body.String(), "unknown_url") {
					t.Errorf("%s %s: %d %s", method, path, answer.Code, answer.Body)
				}
			default:
				wantError(t, answer, 405, "method_not_supported")
				for _, m := range methods {
					if !strings.Contains(answer.Header().Get("Allow"), m) {
						t.Errorf("%s %s: Allow: %s, want %s", method, path, answer.Header().Get("Allow"), methods)
					}
				}
			}
		}
	}
}

func TestLock_WithoutATokenNothingIsThereButOnALoopbackListener(t *testing.T) {
	open := newWorld(t)
	closed := newWorld(t, withoutLoopback)
	for path := range lockedPaths(t, open) {
		for _, method := range allMethods {
			for _, given := range []string{"", "guess"} {
				wantError(t, closed.ask(method, path, "", bearing(given)), 404, "unknown_url")
			}
		}
	}
	if closed.reloads > 0 || len(closed.deleted) > 0 {
		t.Error("something was done")
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if answer := closed.ask("GET", path, ""); answer.Code != 200 {
			t.Errorf("%s: %d", path, answer.Code)
		}
		wantError(t, closed.ask("POST", path, ""), 405, "method_not_supported")
	}
}

func TestLock_ATokenlessListenerAnswersToNoForeignName(t *testing.T) {
	w, guarded := newWorld(t), newWorld(t, withToken)
	for name, good := range map[string]bool{
		"localhost": true, "LOCALHOST:5001": true, "127.0.0.1": true, "127.0.0.1:5001": true, "[::1]:5001": true, "[::1]": true,
		"evil.example": false, "evil.example:5001": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
		"0.0.0.0:5001": false, "10.0.0.1:5001": false, "": false, "[::]:5001": false,
	} {
		for _, path := range []string{"/admin", "/admin/config", "/debug/pprof/"} {
			answer := w.ask("GET", path, "", host(name))
			if good && answer.Code != 200 {
				t.Errorf("%s as %q: %d", path, name, answer.Code)
			}
			if !good {
				wantError(t, answer, 403, "host_not_allowed")
			}
			if answer := guarded.ask("GET", path, "", host(name)); answer.Code != 200 {
				t.Errorf("%s with a token as %q: %d", path, name, answer.Code)
			}
		}
		if answer := w.ask("GET", "/livez", "", host(name)); answer.Code != 200 {
			t.Errorf("/livez as %q: %d", name, answer.Code)
		}
	}
}

func TestLock_AForeignPageChangesNothing(t *testing.T) {
	for _, w := range []*world{newWorld(t), newWorld(t, withToken)} {
		for _, foreign := range [][]func(*http.Request){
			{header("Origin", "https://evil.example")},
			{header("Origin", "null")},
			{header("Origin", "http://127.0.0.1:8080")}, // another port is another origin
			{header("Sec-Fetch-Site", "cross-site")},
			{header("Sec-Fetch-Site", "same-site")},
		} {
			wantError(t, w.ask("POST", "/admin/reload", "", foreign...), 403, "origin_not_allowed")
			wantError(t, w.ask("DELETE", "/admin/cache?all=true", "", foreign...), 403, "origin_not_allowed")
		}
		if w.reloads > 0 || len(w.deleted) > 0 {
			t.Fatal("a foreign page changed something")
		}
		for _, own := range [][]func(*http.Request){
			nil,
			{header("Origin", "http://127.0.0.1:5001")},
			{header("Sec-Fetch-Site", "same-origin")},
		} {
			if answer := w.ask("POST", "/admin/reload", "", own...); answer.Code != 200 {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		}
	}
}

func TestLock_WrongTokensAreThrottledByAddressAndTheRightOneNever(t *testing.T) {
	w := newWorld(t, withToken)
	wrong := func(address string) int {
		return w.ask("GET", "/admin", "", bearing("guess"), from(address)).Code
	}
	for i := range 10 {
		if got := wrong("192.0.2.1:1000"); got != 401 {
			t.Fatalf("wrong token %d: %d", i, got)
		}
	}
	answer := w.ask("GET", "/admin", "", bearing("guess"), from("192.0.2.1:1001"))
	wantError(t, answer, 429, "rate_limit_exceeded")
	if got := answer.Header().Get("Retry-After"); got != "6" {
		t.Errorf("retry after %s", got)
	}
	for range 100 {
		if got := w.ask("GET", "/admin", "", from("192.0.2.1:1002")).Code; got != 200 {
			t.Fatalf("the right token: %d", got)
		}
	}
	if got := wrong("192.0.2.2:1000"); got != 401 {
		t.Errorf("another address: %d", got)
	}
	w.now = w.now.Add(6 * time.Second)
	if got := wrong("192.0.2.1:1003"); got != 401 {
		t.Errorf("after the wait: %d", got)
	}
	if got := wrong("192.0.2.1:1003"); got != 429 {
		t.Errorf("after one more: %d", got)
	}
	for i := range 10 { // one network, many addresses
		if got := wrong("[2001:db8::" + string(rune('1'+i%9)) + "]:1000"); got != 401 {
			t.Fatalf("IPv6 %d: %d", i, got)
		}
	}
	if got := wrong("[2001:db8::ffff]:1000"); got != 429 {
		t.Errorf("the eleventh of a /64: %d", got)
	}
}

func TestLock_ANewTokenTakesTheOldOnesPlace(t *testing.T) {
	current := "first"
	w := newWorld(t, func(w *world) { w.cfg.Token = func() string { return current } })
	if got := w.ask("GET", "/admin", "", bearing("first")).Code; got != 200 {
		t.Fatal(got)
	}
	current = "second"
	if got := w.ask("GET", "/admin", "", bearing("first")).Code; got != 401 {
		t.Error(got)
	}
	if got := w.ask("POST", "/admin/reload", "", bearing("second")).Code; got != 200 {
		t.Error(got)
	}
	lines := w.audit()
	// sha256("first") and sha256("second")
	if len(lines) != 2 || lines[0]["token"] != "a7937b64" || lines[1]["token"] != "16367aac" {
		t.Errorf("%v", lines)
	}
}
