package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// with is a request's head with one more line.
func with(name, value string) http.Header { return http.Header{name: {value}} }

// memory is a stand with a cache whose backend numbers its runs.
func memory(t *testing.T, config, keys string, work time.Duration) (*stand.Stand, *numbered) {
	t.Helper()
	n := startNumbered(t, work, 600)
	return stand.New(t, stand.Options{Others: []string{n.url}, MaxInFlight: 256, Config: config, Keys: keys}), n
}

// sees asks about a page in one of the ways and returns the number of the run
// whose text that gave.
func sees(t *testing.T, n *numbered, c *client, way string, p page, header http.Header, state string) (int64, told) {
	t.Helper()
	a, err := ways[way](t.Context(), c, p, header)
	if err != nil {
		t.Fatalf("%s: %v", way, err)
	}
	run := n.run(a.texts[0])
	if run == 0 {
		t.Fatalf("%s: no run's text: %q", way, a.texts[0])
	}
	if a.cache() != state {
		t.Errorf("%s (%v): x-ocrmux-cache is %q, want %q", way, header, a.cache(), state)
	}
	return run, a
}

// A remembered answer comes in whatever form its caller wants, says what it is
// and how old, and that nothing was computed for it.
func TestRemembered_IsRenderedForEveryCaller(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", "", 0)
	c, p := newClient(t, s.Routers[0].URL, s.Key), page{png: picture(t, 1)}
	run, first := sees(t, n, c, "stream", p, nil, "miss")
	if first.header.Get("Age") != "" || first.usage != nil {
		t.Errorf("a fresh answer: %v %+v", first.header, first.usage)
	}
	stored := time.Now()
	time.Sleep(1100 * time.Millisecond) // ages are in seconds
	ids := map[string]bool{first.id: true}
	for way := range ways {
		got, a := sees(t, n, c, way, p, nil, "hit")
		if got != run {
			t.Errorf("%s: the text of run %d, want %d's", way, got, run)
		}
		age, err := strconv.Atoi(a.header.Get("Age"))
		if way != "batch" && (err != nil || age < 1 || age > int(time.Since(stored).Seconds()+1)) {
			t.Errorf("%s: age is %q", way, a.header.Get("Age"))
		}
		if a.header.Get("X-Ocrmux-Backend") != "" {
			t.Errorf("%s: a backend is named: %v", way, a.header)
		}
		kind := "application/json"
		if strings.HasPrefix(way, "stream") {
			kind = "text/event-stream; charset=utf-8"
		}
		if got := a.header.Get("Content-Type"); got != kind {
			t.Errorf("%s: %s", way, got)
		}
		if way == "whole" || way == "stream with usage" {
			if u := a.usage; u == nil || u.Prompt != numberedPrompt || u.Completion != n.tokens(run) || u.Details.Cached != numberedPrompt {
				t.Errorf("%s: usage is %+v", way, u)
			}
		} else if a.usage != nil {
			t.Errorf("%s: usage that nobody asked for: %+v", way, a.usage)
		}
		if a.id != "" && ids[a.id] {
			t.Errorf("%s: the id of another answer", way)
		}
		ids[a.id] = true
	}
	if runs := n.runs.Load(); runs != 1 {
		t.Errorf("%d runs", runs)
	}
	t.Logf("one answer rendered in %d ways from one run, %d ids", len(ways), len(ids)-1)
}

// What a caller says of the cache holds: no-cache is a fresh run that is
// remembered, no-store one that is not and that nobody shares.
func TestRemembered_CallersDecide(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", "", 20*time.Millisecond)
	c, p := newClient(t, s.Routers[0].URL, s.Key), page{png: picture(t, 1)}
	noCache, noStore := with("Cache-Control", "no-cache"), with("Cache-Control", "max-age=0, No-Store")
	step := func(way string, header http.Header, state string, want int64) {
		t.Helper()
		if run, _ := sees(t, n, c, way, p, header, state); run != want {
			t.Errorf("%s %v: run %d, want %d", way, header, run, want)
		}
	}
	step("whole", noStore, "bypass", 1)
	step("form", nil, "miss", 2)
	step("whole", noStore, "bypass", 3)
	step("stream", nil, "hit", 2)
	step("stream", noCache, "miss", 4)
	step("form", nil, "hit", 4)
	step("whole", noCache, "miss", 5)
	step("stream with usage", nil, "hit", 5)
	step("stream", noStore, "bypass", 6)
	step("json", nil, "hit", 5)
	t.Logf("10 questions about one page: %d runs for one miss, two no-cache and three no-store", n.runs.Load())
	if runs := n.runs.Load(); runs != 6 {
		t.Errorf("%d runs", runs)
	}
}

// The legacy routes mind what their callers say of the cache, too.
func TestRemembered_LegacyCallersDecideToo(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", "", 0)
	c, p := newClient(t, s.Routers[0].URL, s.Key), page{png: picture(t, 1)}
	first, _ := sees(t, n, c, "form", p, nil, "miss")
	if run, _ := sees(t, n, c, "form", p, with("Cache-Control", "no-store"), "bypass"); run == first {
		t.Error("no-store was answered from the cache")
	}
	second, _ := sees(t, n, c, "json", p, with("Cache-Control", "no-cache"), "miss")
	if run, _ := sees(t, n, c, "form", p, nil, "hit"); run != second || second == first {
		t.Errorf("runs %d, %d, then %d", first, second, run)
	}
	third, _ := sees(t, n, c, "batch", p, with("Cache-Control", "no-store"), "bypass")
	if run, _ := sees(t, n, c, "batch", p, nil, "hit"); run != second || third == second {
		t.Errorf("a batch without the cache had run %d, one with it %d, want %d", third, run, second)
	}
}

// A question without an image is shared where its caller asks for it.
func TestRemembered_TextAloneWhereTheCallerWants(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", "", 0)
	c := newClient(t, s.Routers[0].URL, s.Key)
	body := fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":"Say something."}]}`, stand.Model)
	var runs []int64
	var states []string
	for _, header := range []http.Header{nil, nil, with("X-Ocrmux-Cache", "use"), with("X-Ocrmux-Cache", "use"), nil} {
		a, err := c.chatWith(t.Context(), header, body)
		if err != nil {
			t.Fatal(err)
		}
		runs, states = append(runs, n.run(a.texts[0])), append(states, a.cache())
	}
	if fmt.Sprint(runs, states) != "[1 2 3 3 4] [bypass bypass miss hit bypass]" {
		t.Errorf("%v %v", runs, states)
	}
	t.Logf("a text without an image, twice as usual, twice with x-ocrmux-cache: use, once as usual: runs %v, %v", runs, states)
}

// An answer that its length has cut is nobody's but its asker's.
func TestRemembered_NotWhatWasCut(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-ttft", "1ms", "-tokens", "50"}})
	c, p := newClient(t, s.Routers[0].URL, s.Key), page{png: picture(t, 1)}
	for i, max := range []int{5, 5, 60, 60} {
		a, err := c.chatWith(t.Context(), nil, chatBody(p, "Free OCR.", fmt.Sprintf(`,"stream":%t,"max_tokens":%d`, i%2 == 1, max)))
		if err != nil {
			t.Fatal(err)
		}
		want, runs := []string{"miss", "miss", "miss", "hit"}[i], []int64{1, 2, 3, 3}[i]
		if got := s.Backends[0].Stats(t).Received; a.cache() != want || got != runs {
			t.Errorf("question %d, at most %d tokens: %s, %d runs, want %s and %d", i+1, max, a.cache(), got, want, runs)
		}
		if cut := strings.Contains(a.body, `"finish_reason":"length"`); cut != (max == 5) {
			t.Errorf("question %d, at most %d tokens: %s", i+1, max, a.body)
		}
	}
}

// Operators can have one tenant's answers forgotten, or all.
func TestRemembered_OperatorsLetItBeForgotten(t *testing.T) {
	t.Parallel()
	s, n := memory(t, "", "tenants: [{name: one}, {name: two}]\nkeys: []\n", 0)
	router := s.Routers[0]
	one, two := newClient(t, router.URL, createKey(t, router, "one")), newClient(t, router.URL, createKey(t, router, "two"))
	pages := []page{{png: picture(t, 1)}, {png: picture(t, 2)}}
	all := func(states ...string) (runs []int64) {
		for i, c := range []*client{one, one, two, two} {
			run, _ := sees(t, n, c, "whole", pages[i%2], nil, states[i])
			runs = append(runs, run)
		}
		return runs
	}
	forget := func(query string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, router.Admin+"/admin/cache?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var said struct{ Deleted int }
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil || res.StatusCode != http.StatusOK || said.Deleted != want {
			t.Errorf("DELETE /admin/cache?%s: %s, %d deleted (%v), want %d", query, res.Status, said.Deleted, err, want)
		}
	}
	first := all("miss", "miss", "miss", "miss")
	forget("tenant=one", 2)
	after := all("miss", "miss", "hit", "hit")
	forget("all=true", 4)
	last := all("miss", "miss", "miss", "miss")
	t.Logf("two tenants, two pages: runs %v, %v after one tenant's were forgotten, %v after all", first, after, last)
	if fmt.Sprint(first, after, last) != "[1 2 3 4] [5 6 3 4] [7 8 9 10]" {
		t.Errorf("runs %v, %v, %v", first, after, last)
	}
}
