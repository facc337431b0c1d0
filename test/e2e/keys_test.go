package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// createKey makes a key as an operator does, and waits until it works.
func createKey(t *testing.T, router *stand.Router, tenant string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(stand.Program(t, "router"), "keys", "create", "-config", router.Config, "-tenant", tenant)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("router keys create: %v\n%s", err, stderr.String())
	}
	key := strings.TrimSpace(string(out))
	stand.Eventually(t, "the new key works", func() bool { return modelsStatus(t, router, key) == http.StatusOK })
	return key
}

// modelsStatus is what GET /v1/models answers to a key.
func modelsStatus(t *testing.T, router *stand.Router, key string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, router.URL+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestKeys_ARevokedKeyStopsWorkingWithinASecond(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Keys: "tenants: [{name: one}]\nkeys: []\n"})
	router := s.Routers[0]
	key, other := createKey(t, router, "one"), createKey(t, router, "one")
	text, err := os.ReadFile(router.Keys)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Split(key, "-")[2]
	revoked := strings.Replace(string(text), "id: "+id, "id: "+id+"\n    disabled: true", 1)
	if revoked == string(text) {
		t.Fatalf("no key %s in\n%s", id, text)
	}
	beside := filepath.Join(filepath.Dir(router.Keys), "new.yaml")
	if err := os.WriteFile(beside, []byte(revoked), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, router.Keys); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stand.Eventually(t, "the revoked key is refused", func() bool { return modelsStatus(t, router, key) != http.StatusOK })
	took := time.Since(began)
	t.Logf("revocation: the key was refused after %.2f s", took.Seconds())
	if took > time.Second {
		t.Errorf("the revoked key worked for %s", took)
	}
	if got := modelsStatus(t, router, other); got != http.StatusOK {
		t.Errorf("another key of the tenant: %d", got)
	}
}
