package e2e_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// trace is requests at given times, whoever may be waiting: an open load.
type trace struct {
	pages []page          // in the order of the requests; a repeat is the same page
	at    []time.Duration // since the beginning
	again int             // requests that repeat another one
}

// servers is how many pages the fleet of a trace works on side by side.
const servers = 4

// newTrace has n requests with random gaps (Poisson), of which three in ten ask
// about a page that was asked about before. pages are as many as it needs at
// most. It takes as long as makes the pages' own work, repeats and all, a share
// load of what the servers can do.
func newTrace(pages []page, n int, load float64, random *rand.Rand) (tr trace) {
	var work time.Duration
	var gaps []float64
	var sum float64
	repeats := make([]bool, n)
	for _, i := range random.Perm(n - 1)[:n*3/10] {
		repeats[i+1] = true
	}
	for i := range n {
		p := pages[i-tr.again]
		if repeats[i] {
			p = tr.pages[random.IntN(i)]
			tr.again++
		}
		tr.pages = append(tr.pages, p)
		work += p.work
		gaps = append(gaps, random.ExpFloat64())
		sum += gaps[i]
	}
	scale := float64(work) / (servers * load) / sum
	at := 0.0
	for _, gap := range gaps {
		at += gap * scale
		tr.at = append(tr.at, time.Duration(at))
	}
	return tr
}

// ideal is the mean latency of a trace at servers that take one page at a time,
// in the order of arrival, and lose no time: without a memory, or with one that
// answers at once, and after the work itself what came while it was done.
func (tr trace) ideal(remembers bool) time.Duration {
	var free [servers]time.Duration
	ends := make(map[string]time.Duration)
	var sum time.Duration
	for i, p := range tr.pages {
		if end, known := ends[string(p.png)]; known && remembers {
			sum += max(0, end-tr.at[i])
			continue
		}
		slices.Sort(free[:])
		end := max(tr.at[i], free[0]) + p.work
		free[0], ends[string(p.png)] = end, end
		sum += end - tr.at[i]
	}
	return sum / time.Duration(len(tr.pages))
}

// replay asks as the trace says, by chat and by /ocr in turn, and returns the
// mean latency. What is due is asked for, however many still wait.
func (tr trace) replay(t *testing.T, c *client) (mean time.Duration) {
	took := make([]time.Duration, len(tr.pages))
	errs := make([]error, len(tr.pages))
	var asking sync.WaitGroup
	began := time.Now()
	for i, p := range tr.pages {
		time.Sleep(time.Until(began.Add(tr.at[i])))
		asking.Go(func() {
			var a answer
			if i%2 == 0 {
				a, errs[i] = c.chat(t.Context(), p)
				errs[i] = same(a, errs[i], p.text)
			} else {
				a, errs[i] = c.ocr(t.Context(), p)
				errs[i] = same(a, errs[i], p.ocr)
			}
			took[i] = time.Since(began.Add(tr.at[i]))
		})
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
		mean += took[i] / time.Duration(len(took))
	}
	return mean
}

// Where three in ten requests repeat another, at a load of nine tenths of what
// four backends can do without a cache, the cache halves the mean latency. Both
// fleets see the same trace, side by side, so that the machine is the same for
// both.
func TestSoak_CacheHalvesTheLatencyOfATraceWithRepeats(t *testing.T) {
	m := timing{first: 20 * time.Millisecond, token: time.Millisecond, shortest: 81, most: 221} // 0.1 to 0.24 s
	n := form(150, 3000)
	options := stand.Options{Backends: servers, MaxInFlight: 1, Sim: m.args(), Config: noCache + "\nopenai: {queue: 1m}"}
	without := stand.New(t, options)
	options.Config = "openai: {queue: 1m}"
	with := stand.New(t, options)
	off, on := newClient(t, without.Routers[0].URL, without.Key), newClient(t, with.Routers[0].URL, with.Key)
	seed := rand.Uint64()
	tr := newTrace(learn(t, without, off, m, n), n, 0.9, rand.New(rand.NewPCG(seed, 0)))
	for _, b := range without.Backends {
		b.Reset(t)
	}
	before := account(t, off)

	var slow, quick time.Duration
	var both sync.WaitGroup
	both.Go(func() { slow = tr.replay(t, off) })
	both.Go(func() { quick = tr.replay(t, on) })
	both.Wait()

	lasted := tr.at[len(tr.at)-1]
	used, saved := account(t, off), account(t, on)
	busy := (used.GPUSeconds - before.GPUSeconds) / servers / lasted.Seconds()
	ran, ranWith := counts(t, without.Backends).Completed, counts(t, with.Backends).Completed
	idealOff, idealOn := tr.ideal(false), tr.ideal(true)
	ratio, ideal := float64(quick)/float64(slow), float64(idealOn)/float64(idealOff)
	t.Logf("trace of seed %d: %d requests in %.1f s, %.1f %% of them repeats, load 0.90 of four backends (measured %.2f): mean latency %.0f ms without the cache (ideal %.0f), %.0f ms with it (ideal %.0f), ratio %.2f (ideal %.2f, and %.2f of the ideal without); %d and %d runs, %d hits",
		seed, n, lasted.Seconds(), 100*float64(tr.again)/float64(n), busy, ms(slow), ms(idealOff), ms(quick), ms(idealOn), ratio, ideal, float64(quick)/float64(idealOff), ran, ranWith, saved.CacheHits)
	// A short trace has its own luck, which the ideal shares.
	limit := 0.5
	if !*soak {
		limit = max(limit, ideal*1.25)
	}
	if ratio > limit {
		t.Errorf("with the cache the mean latency is %.2f of that without, want at most %.2f", ratio, limit)
	}
	if ran != int64(n) || ranWith != int64(n-tr.again) {
		t.Errorf("%d and %d runs, want %d and %d", ran, ranWith, n, n-tr.again)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
