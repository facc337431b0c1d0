package e2e_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// plan writes configurations for one router, from the one that it was started with.
type plan struct {
	path, head, models string
	backends           []string
}

func newPlan(t testing.TB, s *stand.Stand) *plan {
	t.Helper()
	path := s.Routers[0].Config
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, cut := strings.Cut(string(text), "\npools:\n")
	_, models, cutAgain := strings.Cut(rest, "\nmodels:\n")
	if !cut || !cutAgain {
		t.Fatalf("a configuration of another kind:\n%s", text)
	}
	p := &plan{path: path, head: head, models: models}
	for i, b := range s.Backends {
		p.backends = append(p.backends, fmt.Sprintf("{name: gpu%d, url: %q}", i, b.URL))
	}
	return p
}

// pool is an entry of pools with the backends of these numbers.
func (p *plan) pool(name, more string, numbers ...int) string {
	var list []string
	for _, n := range numbers {
		list = append(list, p.backends[n])
	}
	return fmt.Sprintf("  %s: {%sbackends: [%s]}\n", name, more, strings.Join(list, ", "))
}

// write puts a configuration into the file: more at the top level, these pools,
// and the model in this pool with this member of its recipe.
func (p *plan) write(t testing.TB, more, pools, pool, member string) {
	t.Helper()
	models := strings.Replace(p.models, "pool: main", "pool: "+pool, 1)
	models = strings.Replace(models, "    recipe:\n", "    recipe:\n      "+member+"\n", 1)
	text := p.head + "\n" + more + "\npools:\n" + pools + "models:\n" + models
	if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// turns are the configurations that a router gets one after the other: backends
// and pools come and go, and so do settings of all rooms.
func (p *plan) turns() []func(t testing.TB, round int) {
	const seed = "seed: 1"
	all := p.pool("main", "", 0, 1, 2, 3)
	return []func(t testing.TB, round int){
		func(t testing.TB, _ int) { p.write(t, "", p.pool("main", "", 0, 1, 2), "main", seed) },
		func(t testing.TB, _ int) { p.write(t, "", all, "main", seed) },
		func(t testing.TB, round int) {
			p.write(t, fmt.Sprintf("limits: {requests_per_minute: %d, routes: {ocr: {in_progress: %d}}}\nopenai: {max_n: 3}", 1_000_000+round, 1000+round), all, "main", seed)
		},
		func(t testing.TB, round int) { p.write(t, "", all, "main", fmt.Sprintf("top_p: 0.%d", 1+round%9)) },
		func(t testing.TB, _ int) { // two of them, and their connections, become another pool's
			p.write(t, "log: {level: debug}", p.pool("main", "fallback: spare, ", 0, 1)+p.pool("spare", "policy: round_robin, ", 2, 3), "main", seed)
		},
		func(t testing.TB, _ int) { p.write(t, "", p.pool("other", "", 0, 1, 2, 3), "other", seed) },
		func(t testing.TB, round int) {
			p.write(t, fmt.Sprintf("memory: {bodies: %dMiB}\nimages: {fetch: true}", 256+round%2), p.pool("main", "max_queue: 999, ", 3, 1), "main", seed)
		},
	}
}

var appliedLine = regexp.MustCompile(`(?m)^ocrmux_config_reloads_total\{result="applied"\} (\d+)$`)

func reloadsApplied(t testing.TB, r *stand.Router) int {
	t.Helper()
	found := appliedLine.FindStringSubmatch(stand.Get(t, r.Admin+"/metrics"))
	if found == nil {
		t.Fatal("no metric of reloads")
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSoak_NoRequestFailsWhileTheConfigurationChanges(t *testing.T) {
	t.Parallel()
	m := timing{first: 100 * time.Millisecond, token: 10 * time.Millisecond, shortest: 20, most: 70} // 0.29 to 0.79 s
	s := stand.New(t, stand.Options{Backends: 4, Sim: m.args(), Config: noCache})
	router := s.Routers[0]
	c := newClient(t, router.URL, s.Key)
	p := newPlan(t, s)
	pages := learn(t, s, c, m, 40)
	whole := readers(t, c, pages, askers)
	streams := run(t, 20, func(ctx context.Context, client, turn int) done {
		p := pages[(client*11+turn*17)%len(pages)]
		text, err := c.stream(ctx, p)
		return done{kind: "stream", work: p.work, err: same(answer{texts: []string{text}}, err, p.text)}
	})

	rounds, turns := form(40, 200), p.turns()
	least, began := 1000, time.Now()
	for round := range rounds {
		busy := 0
		stand.Eventually(t, "there is work in progress", func() bool {
			busy = int(router.Metric(t, "ocrmux_requests_in_flight"))
			return busy >= 20
		})
		least = min(least, busy)
		turns[round%len(turns)](t, round)
		router.Signal(t, syscall.SIGHUP)
		stand.Eventually(t, "the configuration is in force", func() bool { return reloadsApplied(t, router) == round+1 })
	}
	took := time.Since(began)
	streams.settle(t)
	all, streamed := whole.stop(), streams.stop()
	tally(t, all)
	tally(t, streamed)

	p.write(t, "", p.pool("main", "", 0, 1, 2, 3), "main", "seed: 1") // noticed without a signal
	stand.Eventually(t, "four backends of one pool are up", func() bool {
		metrics := stand.Get(t, router.Admin+"/metrics")
		return router.Up(t) == 4 && !strings.Contains(metrics, `pool="other"`) && !strings.Contains(metrics, `pool="spare"`)
	})
	if n := router.Metric(t, "ocrmux_requests_in_flight"); n != 0 {
		t.Errorf("%v requests are in flight after the last has ended", n)
	}
	for i, b := range s.Backends {
		if got := b.Stats(t); got.InProgress+got.Aborted+got.Failed > 0 {
			t.Errorf("gpu%d: work was cut: %+v", i, got)
		}
	}
	t.Logf("%d reloads in %.1f s with at least %d requests in progress: %d requests of %d clients and %d streams of 20 answered",
		rounds, took.Seconds(), least, len(all), askers, len(streamed))
}
