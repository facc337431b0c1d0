package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocrmux/usage"
)

// answering is a server that answers all alike.
func answering(t *testing.T, status int, header, body string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRemote_TellsARoutersErrorInItsWords(t *testing.T) {
	t.Setenv(adminTokenVariable, "")
	for name, c := range map[string]struct {
		status       int
		header, body string
		want         string
	}{
		"an error":        {404, "", `{"error":{"message":"There is no such key.","type":"invalid_request_error","param":null,"code":"key_not_found"}}`, "There is no such key."},
		"no token":        {401, "", `{"error":{"message":"Who is it?","type":"invalid_request_error","param":null,"code":"invalid_admin_token"}}`, "Who is it? (-token-file, or the environment variable OCRMUX_ADMIN_TOKEN)"},
		"no JSON":         {502, "", "<html>bad gateway", "answers 502 Bad Gateway to GET /admin/keys/0a1b2c3d"},
		"another service": {200, "", "<html>hello", "does not answer as a router's operators' listener"},
		"a redirect":      {307, "Location: http://127.0.0.1:1/elsewhere", "", "answers 307"},
		"too much":        {200, "", strings.Repeat(" ", maxRemoteAnswer+1), "larger than 64 MiB"},
	} {
		sh := &shell{t: t}
		sh.run("keys", "show", "0a1b2c3d", "-admin", answering(t, c.status, c.header, c.body)).refuses(exitFailed, c.want)
		if sh.out.Len() > 0 {
			t.Errorf("%s: prints %s", name, &sh.out)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	(&shell{t: t}).run("usage", "-admin", closed.URL).refuses(exitFailed, "refused")
}

func TestRemote_TakesTheTokenFromAFileOrElseFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	keys, token := filepath.Join(dir, "keys.yaml"), filepath.Join(dir, "token")
	for name, content := range map[string]string{keys: keyFileOfTests, token: operatorsToken + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url := operators(t, keys, nil)
	for _, c := range []struct {
		env, file string
		code      int
	}{
		{operatorsToken, "", exitOK},
		{"wrong", "", exitFailed},
		{"", "", exitFailed},
		{"wrong", token, exitOK},
		{operatorsToken, filepath.Join(dir, "none"), exitFailed},
	} {
		t.Setenv(adminTokenVariable, c.env)
		args := []string{"keys", "list", "-admin", url}
		if c.file != "" {
			args = append(args, "-token-file", c.file)
		}
		sh := &shell{t: t}
		if sh.run(args...).code != c.code {
			t.Errorf("%+v: exits %d: %s", c, sh.code, &sh.err)
		}
		if strings.Contains(sh.err.String(), operatorsToken) {
			t.Errorf("%+v: shows the token: %s", c, &sh.err)
		}
	}
}

func TestUsage_IsATableWithALineForEachKeyAndTheTotalsLast(t *testing.T) {
	ledger, err := usage.Open(usage.Config{}, usage.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		who usage.Who
		c   usage.Counts
	}{
		{usage.Who{Tenant: "lab", Key: "0a1b2c3d", Model: "ocr", Route: "chat"}, usage.Counts{Requests: 2, Images: 3, Pixels: 4_500_000, PromptTokens: 100, GeneratedTokens: 50, GPU: 1_500_000_000}},
		{usage.Who{Tenant: "lab", Key: "0a1b2c3d", Route: "ocr"}, usage.Counts{Requests: 5, CacheHits: 1, Refused: usage.Refusals{Images: 2, Quota: 4}}},
		{usage.Who{Tenant: "anonymous", Route: "ocr"}, usage.Counts{Requests: 7}},
	} {
		ledger.Record(r.who, r.c)
	}
	t.Setenv(adminTokenVariable, operatorsToken)
	url := operators(t, filepath.Join(t.TempDir(), "keys.yaml"), ledger)
	sh := &shell{t: t}
	table := `, 20\d\d-\d\d(-\d\d)? \(UTC\)
 +tenant +key +requests +images +megapixels +prompt tokens +generated tokens +GPU s +cache hits +refused
 +anonymous +- +7 +0 +0.0 +0 +0 +0.0 +0 +0
 +lab +0a1b2c3d +7 +3 +4.5 +100 +50 +1.5 +1 +6
 +total +14 +3 +4.5 +100 +50 +1.5 +1 +6
`
	sh.run("usage", "-admin", url).prints("^today" + table + "\nthis month" + table + "$")
	sh.run("usage", "-admin", url, "-today").prints("^today" + table + "$")
	sh.run("usage", "-admin", url, "-month").prints("^this month" + table + "$")
	sh.run("usage", "-admin", url, "-tenant", "lab", "-month").prints(`\n +total +7 +3`)
	sh.run("usage", "-admin", url, "-json").prints(`"route": "chat"`, `"quota": 4`)
}
