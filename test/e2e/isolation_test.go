package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// tenantKey makes a key by the operators' API, which has it work at once.
func tenantKey(t *testing.T, r *stand.Router, tenant string) string {
	t.Helper()
	res, err := http.Post(r.Admin+"/admin/keys", "application/json", strings.NewReader(fmt.Sprintf(`{"tenant":%q}`, tenant)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var said struct{ Secret string }
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("POST /admin/keys: %s %v", res.Status, err)
	}
	return said.Secret
}

// spy is a tenant that looks for traces of the others.
type spy struct {
	name   string
	client *client
	runs   []int64 // by page: whose text it was given
	first  []time.Duration
	ids    []string // of requests, and of answers that are not another of its own
	asked  struct{ requests, images, prompt, generated, hits int64 }
	faults []string
}

// ask asks about the turn's page in one of the ways. What is asked for the
// first time must be a miss and take as long as a backend takes; from then on it
// is a hit, with the text of that run.
func (s *spy) ask(t *testing.T, n *numbered, way string, at int, p page) {
	fault := func(format string, args ...any) {
		s.faults = append(s.faults, fmt.Sprintf("%s, page %d by %s: ", s.name, at, way)+fmt.Sprintf(format, args...))
	}
	began := time.Now()
	a, err := ways[way](t.Context(), s.client, p, nil)
	took := time.Since(began)
	if err != nil {
		fault("%v", err)
		return
	}
	run := n.run(a.texts[0])
	fresh := s.runs[at] == 0
	switch {
	case run == 0 || slices.ContainsFunc(a.texts, func(text string) bool { return n.run(text) != run }):
		fault("no run's text: %q", a.texts)
	case fresh && took < n.work:
		fault("its first answer came after %s", took)
	case fresh && a.cache() != "miss" && (way != "batch" || a.cache() != "joined"): // a batch's other items join its first
		fault("its first answer is a %s", a.cache())
	case !fresh && (run != s.runs[at] || a.cache() != "hit"):
		fault("run %d after run %d, %s", run, s.runs[at], a.cache())
	}
	if fresh {
		s.runs[at], s.first = run, append(s.first, took)
	}
	s.ids = append(s.ids, a.header.Get("X-Request-Id"))
	if a.id != "" && (!fresh || way != "batch") {
		s.ids = append(s.ids, a.id)
	}
	// All that was said, to find in it what is another's.
	for name, values := range a.header {
		s.look(strings.Join(values, " "), "the header "+name, fault)
	}
	s.look(a.body, "the body", fault)
	if a.usage != nil && (a.usage.Prompt != numberedPrompt || a.usage.Completion != n.tokens(run)) {
		fault("usage %+v of run %d", a.usage, run)
	}
	s.asked.requests++
	s.asked.images += int64(len(a.texts))
	s.asked.prompt += int64(len(a.texts)) * numberedPrompt
	s.asked.generated += int64(len(a.texts)) * n.tokens(run)
	if !fresh {
		s.asked.hits += int64(len(a.texts))
	}
}

// look finds other tenants' names, which begin alike.
func (s *spy) look(text, where string, fault func(string, ...any)) {
	if strings.Contains(strings.ReplaceAll(text, s.name, ""), "canary-") {
		fault("%s names another tenant: %q", where, text)
	}
}

// Fifty tenants ask about the same pages at the same time, page by page, each in
// turn by every route. Nothing is shared: each page is one run for each tenant,
// whose text, tokens and time nobody else sees.
func TestSoak_TenantsSeeNothingOfEachOther(t *testing.T) {
	t.Parallel()
	const tenants = 50
	turns, pages := form(20, 200), form(5, 40)
	keys := "tenants:\n"
	for i := range tenants {
		keys += fmt.Sprintf("  - {name: canary-%02d-%08x}\n", i, rand.Uint32())
	}
	s, n := memory(t, "cache: {charge: full}", keys+"keys: []\n", 30*time.Millisecond)
	router := s.Routers[0]
	spies := make([]*spy, tenants)
	for i := range spies {
		name := strings.TrimSuffix(strings.Split(keys, "name: ")[i+1], "}\n  - {")
		name = strings.TrimSuffix(name, "}\n")
		spies[i] = &spy{name: name, client: newClient(t, router.URL, tenantKey(t, router, name)), runs: make([]int64, pages)}
	}
	images := make([]page, pages)
	for i := range images {
		images[i] = page{png: picture(t, i)}
	}
	names := []string{"form", "whole", "stream", "json", "stream with usage", "batch"}
	// In step, so that all tenants want the same page when nobody has it yet.
	for turn := range turns {
		var asking sync.WaitGroup
		for i, spy := range spies {
			asking.Go(func() { spy.ask(t, n, names[(i+turn)%len(names)], turn%pages, images[turn%pages]) })
		}
		asking.Wait()
	}

	owner := map[int64]string{}
	seen := map[string]bool{}
	shortest, requests := time.Hour, int64(0)
	for _, spy := range spies {
		for _, fault := range spy.faults {
			t.Error(fault)
		}
		for at, run := range spy.runs {
			if other := owner[run]; other != "" {
				t.Errorf("%s was given page %d by run %d, which is %s's", spy.name, at, run, other)
			}
			owner[run] = spy.name
		}
		for _, id := range spy.ids {
			if seen[id] {
				t.Errorf("%s was given the id %q, which was given before", spy.name, id)
			}
			seen[id] = true
		}
		shortest = min(shortest, slices.Min(spy.first))
		requests += spy.asked.requests
		got, asked := account(t, spy.client), spy.asked
		if got.Requests != asked.requests || got.Images != asked.images || got.PromptTokens != asked.prompt || got.GeneratedTokens != asked.generated || got.CacheHits != asked.hits {
			t.Errorf("%s: GET /v1/usage says %+v, it asked for %+v", spy.name, got, asked)
		}
	}
	t.Logf("canaries: %d requests of %d tenants about %d equal pages: %d runs, no tenant's text, id, header or usage with another; the quickest first answer took %.1f ms, a run takes %.0f",
		requests, tenants, pages, n.runs.Load(), ms(shortest), ms(n.work))
	if runs := n.runs.Load(); runs != int64(tenants*pages) {
		t.Errorf("%d runs, want one for each of %d tenants and %d pages", runs, tenants, pages)
	}
}

// Tenants of one cache group share what is remembered and what is in progress;
// another group, a tenant of the group's name and who is in none do not.
func TestIsolation_GroupsShare(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", `tenants:
  - {name: one, cache_group: family}
  - {name: two, cache_group: family}
  - {name: other, cache_group: friends}
  - {name: family}
keys: []
`, 200*time.Millisecond)
	clients := map[string]*client{}
	for _, name := range []string{"one", "two", "other", "family"} {
		clients[name] = newClient(t, s.Routers[0].URL, tenantKey(t, s.Routers[0], name))
	}
	p := page{png: picture(t, 1)}
	all := make(map[string]told)
	var mu sync.Mutex
	var asking sync.WaitGroup
	for name, c := range clients {
		asking.Go(func() {
			a, err := ways["stream with usage"](t.Context(), c, p, nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[name] = a
		})
	}
	asking.Wait()
	if t.Failed() {
		return
	}
	states := all["one"].cache() + all["two"].cache()
	if all["one"].texts[0] != all["two"].texts[0] || states != "missjoined" && states != "joinedmiss" {
		t.Errorf("the family: %q %s, %q %s", all["one"].texts, all["one"].cache(), all["two"].texts, all["two"].cache())
	}
	for _, name := range []string{"other", "family"} {
		if all[name].texts[0] == all["one"].texts[0] || all[name].cache() != "miss" {
			t.Errorf("%s: %s", name, all[name].cache())
		}
	}
	for name, c := range clients {
		run, _ := sees(t, n, c, "whole", p, nil, "hit")
		if n.run(all[name].texts[0]) != run {
			t.Errorf("%s sees run %d", name, run)
		}
	}
	t.Logf("groups: 4 tenants in 3 spaces asked at once and again: %d runs", n.runs.Load())
	if n.runs.Load() != 3 {
		t.Errorf("%d runs", n.runs.Load())
	}
}
