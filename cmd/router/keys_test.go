package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/admin"
	"ocrmux/auth"
	"ocrmux/usage"
)

const operatorsToken = "token-of-the-operators"

// operators is the admin API of a running router over a key file.
func operators(t *testing.T, keyFile string, ledger *usage.Ledger) (url string) {
	t.Helper()
	ring, err := auth.NewKeyRing(keyFile, []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(admin.New(
		admin.Config{Token: func() string { return operatorsToken }},
		admin.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Keys: ring, Usage: ledger},
	))
	t.Cleanup(server.Close)
	return server.URL
}

// shell runs commands and keeps what they print.
type shell struct {
	t        *testing.T
	out, err bytes.Buffer
	code     int
}

func (s *shell) run(args ...string) *shell {
	s.out.Reset()
	s.err.Reset()
	s.code = command(args, &s.out, &s.err)
	return s
}

// prints fails unless the last command did well and printed all of this.
func (s *shell) prints(want ...string) {
	s.t.Helper()
	if s.code != exitOK {
		s.t.Fatalf("exits %d: %s", s.code, &s.err)
	}
	for _, text := range want {
		if !regexp.MustCompile(text).Match(s.out.Bytes()) {
			s.t.Errorf("%q is not in\n%s", text, &s.out)
		}
	}
}

// refuses fails unless the last command ended with a code and these words.
func (s *shell) refuses(code int, want ...string) {
	s.t.Helper()
	for _, text := range want {
		if s.code != code || !strings.Contains(s.err.String(), text) {
			s.t.Errorf("exits %d, want %d and %q: %s", s.code, code, text, &s.err)
		}
	}
}

const keyFileOfTests = `# of the reading room
tenants:
  - name: lab # first
    class: batch
    models: [deepseek-ocr]
    limits: {requests_per_minute: 60, in_progress: 4}
    labels: {floor: "2"}
  - name: other
`

// Both keepers do the same: the words are the contract of the command line.
func TestKeys_LiveThroughTheirStatesInAFileAndInARunningRouter(t *testing.T) {
	for _, keeper := range []string{"file", "router"} {
		t.Run(keeper, func(t *testing.T) {
			config := write(t, complete)
			file := filepath.Join(filepath.Dir(config), "keys.yaml")
			if err := os.WriteFile(file, []byte(keyFileOfTests), 0o600); err != nil {
				t.Fatal(err)
			}
			where := []string{"-config", config}
			if keeper == "router" {
				t.Setenv(adminTokenVariable, operatorsToken)
				where = []string{"-admin", operators(t, file, nil)}
			}
			sh := &shell{t: t}
			keys := func(args ...string) *shell {
				t.Helper()
				return sh.run(append(append([]string{"keys"}, args...), where...)...)
			}
			opens := func(key string) bool {
				t.Helper()
				c, err := load(config, environment(nil))
				if err != nil {
					t.Fatal(err)
				}
				_, err = gateOf(t, c).Identify(key, netip.MustParseAddr("127.0.0.1"))
				return err == nil
			}

			keys("create", "-tenant", "lab", "-note", "scanner\tof Ann", "-limit", "images_per_minute=9", "-limit", "in_progress=2",
				"-expires", "2099-01-31", "-loopback-only").prints(`^sk-ocr-[0-9a-z-]+\n$`)
			first := strings.TrimSpace(sh.out.String())
			id := strings.Split(first, "-")[2]
			sh.refuses(exitOK, "key "+id+" of tenant lab; it is shown this once")
			if !opens(first) {
				t.Error("the key opens nothing")
			}
			keys("list").prints(`ID +TENANT +STATE +CREATED +EXPIRES +LIMITS +NOTE`,
				id+` +lab +loopback_only +20\d\d-\d\d-\d\d +2099-01-31 +9 images/min, 2 at once +"scanner\\tof Ann"\n`)
			keys("list", "-tenant", "other").prints(`NOTE\n$`)
			keys("show", id).prints(`key +`+id, `state +loopback_only`, `expires +2099-01-31T00:00:00Z`, `limits +9 images/min, 2 at once`,
				`tenant +lab`, `class +batch`, `models +deepseek-ocr`, `limits +60 requests/min, 4 at once`, `label floor +2`)

			keys("rotate", id, "-grace", "24h").prints(`^sk-ocr-[0-9a-z-]+\n$`)
			second := strings.TrimSpace(sh.out.String())
			secondID := strings.Split(second, "-")[2]
			sh.refuses(exitOK, "key "+id+" is refused from 20")
			if !opens(first) || !opens(second) {
				t.Error("both keys are good while a rotation lasts")
			}
			keys("disable", id).prints(`^key ` + id + ` of tenant lab is disabled\n$`)
			if opens(first) {
				t.Error("a disabled key opens")
			}
			keys("rotate", id).refuses(exitFailed, "disabled")
			keys("enable", id).prints(`is enabled`)
			keys("rotate", secondID).prints(`^sk-ocr-`)
			if !opens(first) || opens(second) {
				t.Error("enabled, and ended at once")
			}
			keys("list", "-json").prints(`"state": "expired"`, `"limits": \{\n +"images_per_minute": 9,\n`)
			var listed struct{ Keys []auth.PublicKey }
			if err := json.Unmarshal(sh.out.Bytes(), &listed); err != nil || len(listed.Keys) != 3 || listed.Keys[1].Note != "scanner\tof Ann" {
				t.Errorf("%v, %+v", err, listed)
			}
			keys("delete", id).prints(`is deleted`)
			if opens(first) {
				t.Error("a deleted key opens")
			}
			keys("show", id).refuses(exitFailed, "no such key")
			keys("list", "-tenant", "nobody").refuses(exitFailed, "no such tenant")
			keys("create", "-tenant", "nobody").refuses(exitFailed, "no such tenant", "lab, other")
			keys("show", "-json", secondID).prints(`"key": \{`, `"tenant": \{`)
			content, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(content), keyFileOfTests) {
				t.Errorf("the file is now\n%s", content)
			}
			if strings.Contains(strings.ToLower(sh.out.String()), "hash") {
				t.Errorf("a hash is shown: %s", &sh.out)
			}
		})
	}
}

func TestKeys_AFileThatCannotBeWrittenStillGivesAKeyAndSaysWhatToInsert(t *testing.T) {
	for _, keeper := range []string{"file", "router"} {
		config := write(t, complete)
		file := filepath.Join(filepath.Dir(config), "keys.yaml")
		if err := os.WriteFile(file, []byte("tenants: [{name: lab}]\nkeys:\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(file+".lock", 0o700); err != nil { // stops even root
			t.Fatal(err)
		}
		args := []string{"keys", "create", "-tenant", "lab", "-config", config}
		if keeper == "router" {
			t.Setenv(adminTokenVariable, operatorsToken)
			args = []string{"keys", "create", "-tenant", "lab", "-admin", operators(t, file, nil)}
		}
		sh := &shell{t: t}
		sh.run(args...).refuses(exitFailed, `insert under "keys:"`, "tenant: lab", "hash: hmac-sha256:")
		secret := strings.TrimSpace(sh.out.String())
		if !strings.HasPrefix(secret, "sk-ocr-") || strings.Contains(sh.err.String(), secret) {
			t.Errorf("%s: the key is %q", keeper, secret)
		}
	}
}

func TestKeys_SaysWhatIsWrongWithACommandLine(t *testing.T) {
	config := write(t, complete)
	sh := &shell{t: t}
	const pasted = "sk-ocr-0a1b2c3d-secret-00000000"
	for _, c := range []struct{ args, want string }{
		{"keys", "create, list, show"},
		{"keys make", `there is no "make"`},
		{"keys show", "say the id"},
		{"keys show -json", "say the id"},
		{"keys show 0a1b2c3d 0a1b2c3e", "one id at a time"},
		{"keys show " + pasted, "never the key"},
		{"keys disable -config " + config + " " + pasted, "never the key"},
		{"keys rotate 0a1b2c3d -grace soon", "grace"},
		{"keys create -config " + config, "-tenant is needed"},
		{"keys create -tenant lab -limit images=3", `no limit "images"`},
		{"keys create -tenant lab -limit in_progress=0", "NAME=NUMBER"},
		{"keys create -tenant lab -expires tomorrow", "tomorrow"},
		{"keys list -admin http://127.0.0.1:1 -config " + config, "one of them"},
		{"keys list -token-file x", "-token-file is for -admin"},
		{"keys list -admin 127.0.0.1:5001", "must be an URL"},
		{"keys list -admin http://me:secret@127.0.0.1:5001", "must be an URL"},
		{"usage -json -today", "-json"},
		{"usage lab", "unexpected"},
	} {
		sh.run(strings.Fields(c.args)...).refuses(exitUsage, c.want)
		if strings.Contains(sh.err.String(), "secret") {
			t.Errorf("%s: repeats a secret: %s", c.args, &sh.err)
		}
	}
}
