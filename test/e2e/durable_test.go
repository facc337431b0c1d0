package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ocrmux/test/stand"
)

// What was used, and what was read, outlasts a router that is killed.
func TestDurable_UsageAndAnswersOutlastAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	journal := filepath.Join(dir, "usage.journal")
	s := stand.New(t, stand.Options{
		Keys:   "tenants: [{name: lab, quota: {pages_per_month: 4}}]\nkeys: []\n",
		Config: fmt.Sprintf("cache: {dir: %q}\nusage: {journal: %q}", filepath.Join(dir, "results"), journal),
	})
	router := s.Routers[0]
	c := newClient(t, router.URL, createKey(t, router, "lab"))
	ask := func(number int) (status int, cache string) {
		status, header, said, err := c.ask(t.Context(), "POST", "/v1/chat/completions", chatBody(page{png: picture(t, number)}, "Free OCR.", ""))
		if err != nil {
			t.Fatalf("%v %s", err, said)
		}
		return status, header.Get("X-Ocrmux-Cache")
	}
	for number := range 2 {
		if status, cache := ask(number); status != http.StatusOK || cache != "miss" {
			t.Fatalf("%d %s", status, cache)
		}
	}
	stand.Eventually(t, "both are on disk and written down", func() bool {
		text, _ := os.ReadFile(journal)
		images := bytes.Count(text, []byte(`"images":1`)) + 2*bytes.Count(text, []byte(`"images":2`))
		return router.Metric(t, "ocrmux_cache_disk_entries") == 2 && images == 2
	})
	for range 2 {
		router.End(t, syscall.SIGKILL)
		router.Again(t)
		router.WaitUntilReady(t, len(s.Backends))
	}
	if status, cache := ask(1); status != http.StatusOK || cache != "hit" {
		t.Errorf("after a kill: %d %s", status, cache)
	}
	if got := account(t, c); got.Images != 3 || got.CacheHits != 1 {
		t.Errorf("written down: %+v", got)
	}
	if status, _ := ask(2); status != http.StatusOK {
		t.Errorf("the last page of the month: %d", status)
	}
	if status, _ := ask(3); status != http.StatusTooManyRequests {
		t.Errorf("beyond the month's pages: %d", status)
	}
}
