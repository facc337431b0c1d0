package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// Ever new pages with long answers push each other out of a full cache, many in
// a second, and the router's resident memory stays within 1.3 times
// cache.max_bytes above its base: what it has with nothing to do, in the short
// form what the same requests take without the cache. The runtime has no limit
// but the one that the router derives from its configuration.
func TestSoak_FullCacheStaysWithinItsBudget(t *testing.T) {
	const callers, answer = 16, 60_000 // bytes of text
	budget, lasts := int64(form(128, 256))<<20, time.Duration(form(10, 600))*time.Second
	backend := startNumbered(t, 0, answer)
	s := stand.New(t, stand.Options{Others: []string{backend.url}, Config: fmt.Sprintf("cache: {max_bytes: %d}", budget)})
	router := s.Routers[0]
	c := newClient(t, router.URL, s.Key)
	base := router.PeakRSS(t)
	var pages, hits atomic.Int64
	// churn asks about new pages, and about one in four again at once, until the
	// cache is full where it is to be.
	churn := func(header http.Header, lasts time.Duration, full bool) {
		over := time.Now().Add(lasts)
		l := run(t, callers, func(ctx context.Context, client, turn int) done {
			p := page{png: picture(t, int(pages.Add(1)))}
			a, err := ways["whole"](ctx, c, p, header)
			if err == nil && header == nil && turn%4 == 0 {
				again, err2 := ways["form"](ctx, c, p, nil)
				if err = err2; err == nil && again.cache() == "hit" {
					hits.Add(1)
				}
				a.texts = append(a.texts, again.texts...)
			}
			for _, text := range a.texts {
				if err == nil && (backend.run(text) == 0 || text != a.texts[0]) {
					err = fmt.Errorf("not the text of a run: %.100q", text)
				}
			}
			return done{kind: "page", err: err}
		})
		look := time.NewTicker(time.Second)
		defer look.Stop()
		for now := range look.C {
			late := now.Sub(over)
			if late > 0 && (!full || late > 2*time.Minute || router.Metric(t, "ocrmux_cache_evictions_total") > 100) {
				break
			}
		}
		tally(t, l.stop())
	}
	if !*soak {
		churn(with("Cache-Control", "no-store"), 4*time.Second, false)
		base = router.PeakRSS(t)
	}
	warmed := pages.Load()
	began := time.Now()
	churn(nil, lasts, true)

	peak, held := router.PeakRSS(t), router.Metric(t, "ocrmux_cache_bytes")
	evicted := router.Metric(t, "ocrmux_cache_evictions_total")
	bound := base + budget*13/10
	const mib = 1 << 20
	t.Logf("churn: %d pages in %s with answers of 60 kB, %d hits; the cache held %.0f of %d MiB and let go of %.0f answers; resident %d MiB at most, base %d MiB, so %.2f times the budget; bound %d MiB; %.0f s of CPU",
		pages.Load()-warmed, time.Since(began).Round(time.Second), hits.Load(), held/mib, budget/mib, evicted, peak/mib, base/mib, float64(peak-base)/float64(budget), bound/mib, router.Metric(t, "process_cpu_seconds_total"))
	if peak > bound {
		t.Errorf("%d MiB were resident, want at most %d", peak/mib, bound/mib)
	}
	if held > float64(budget) || held < 0.9*float64(budget) || evicted == 0 {
		t.Errorf("the cache held %.0f bytes of %d, %.0f answers were let go of", held, budget, evicted)
	}
	if hits.Load() == 0 {
		t.Error("nothing was ever found")
	}
}
