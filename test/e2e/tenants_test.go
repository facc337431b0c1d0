package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ocrmux/test/stand"
	"ocrmux/usage"
)

// ask is one request as a script sends it: any status, its head, its whole body.
func (c *client) ask(ctx context.Context, method, path string, body []byte) (status int, header http.Header, said []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(string(body)))
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	said, err = io.ReadAll(res.Body)
	return res.StatusCode, res.Header, said, err
}

func TestLimits_SixtyFourCallersAtALimitOfTen(t *testing.T) {
	t.Parallel()
	limits := map[string]string{
		"requests":   "requests_per_minute: 11", // one of them made sure that the key works
		"images":     "images_per_minute: 10",
		"megapixels": "megapixels_per_minute: 10", // of pictures of a megapixel each
		"progress":   "in_progress: 10",
	}
	keys := "tenants:\n"
	for name, limit := range limits {
		keys += fmt.Sprintf("  - {name: %s, limits: {%s}}\n", name, limit)
	}
	s := stand.New(t, stand.Options{Keys: keys + "keys: []\n", Config: noCache, Sim: []string{"-ttft", "2s", "-tokens", "2-2"}})
	router := s.Routers[0]
	large := page{png: plain(t, 1000, 1000)}
	for name := range limits {
		c := newClient(t, router.URL, createKey(t, router, name))
		var admitted, refused atomic.Int64
		var callers sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			callers.Go(func() {
				<-start
				status, header, said, err := c.ask(t.Context(), "POST", "/v1/chat/completions", chatBody(large, "Free OCR.", ""))
				switch wait, _ := strconv.Atoi(header.Get("Retry-After-Ms")); {
				case err != nil:
					t.Error(err)
				case status == http.StatusOK:
					admitted.Add(1)
				case status == http.StatusTooManyRequests && wait > 0 && wait <= 60_000 && header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("%d %v %s", status, header, said)
				}
			})
		}
		close(start)
		callers.Wait()
		if admitted.Load() != 10 || refused.Load() != 54 {
			t.Errorf("%s: %d admitted, %d refused", name, admitted.Load(), refused.Load())
		}
	}
}

// Whoever waits exactly as long as told is let in, at every limit. It takes a
// minute of real time, so only the full form does it.
func TestSoak_WhoWaitsAsLongAsToldIsAdmitted(t *testing.T) {
	if !*soak {
		t.Skip("it waits a minute; the store's own suite proves it with a clock of its own")
	}
	t.Parallel()
	s := stand.New(t, stand.Options{Config: noCache, Keys: "tenants:\n" +
		"  - {name: requests, limits: {requests_per_minute: 5}}\n  - {name: images, limits: {images_per_minute: 5}}\n" +
		"  - {name: tokens, limits: {tokens_per_minute: 6000}}\nkeys: []\n"})
	router := s.Routers[0]
	for _, name := range []string{"requests", "images", "tokens"} {
		key := createKey(t, router, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, router.URL, key)
			body := chatBody(page{png: plain(t, 1000, 1000)}, "Free OCR.", "")
			for {
				status, header, said, err := c.ask(t.Context(), "POST", "/v1/chat/completions", body)
				if err != nil {
					t.Fatal(err)
				}
				if status == http.StatusOK {
					continue
				}
				wait, err := strconv.Atoi(header.Get("Retry-After-Ms"))
				if status != http.StatusTooManyRequests || err != nil {
					t.Fatalf("%d %s", status, said)
				}
				time.Sleep(time.Duration(wait) * time.Millisecond)
				if status, _, said, err := c.ask(t.Context(), "POST", "/v1/chat/completions", body); err != nil || status != http.StatusOK {
					t.Fatalf("told to wait %d ms, and then: %d %s %v", wait, status, said, err)
				}
				t.Logf("told to wait %d ms, and admitted then", wait)
				return
			}
		})
	}
}

// Four tenants whose limits of requests in progress add up to the fleet's slots:
// one that floods takes nothing from the others.
func TestSoak_FloodTakesNothingFromOtherTenants(t *testing.T) {
	const share, service = 8, 200 * time.Millisecond
	tenants := []string{"a", "b", "c", "flood"}
	keys := "tenants:\n"
	for _, name := range tenants {
		keys += fmt.Sprintf("  - {name: %s, limits: {in_progress: %d}}\n", name, share)
	}
	s := stand.New(t, stand.Options{
		Backends: 4, MaxInFlight: share, Config: noCache, Keys: keys + "keys: []\n",
		Sim: []string{"-ttft", service.String(), "-tokens", "1-1"},
	})
	router := s.Routers[0]
	clients := make(map[string]*client)
	for _, name := range tenants {
		clients[name] = newClient(t, router.URL, createKey(t, router, name))
	}
	body := chatBody(page{png: picture(t, 1)}, "Free OCR.", "")
	// measure is how many answers each tenant gets within a time. flood is how
	// many times its limit the last one asks for.
	measure := func(flood int) *[4]atomic.Int64 {
		var got [4]atomic.Int64
		over, enough := context.WithTimeout(t.Context(), time.Duration(form(4, 20))*time.Second)
		defer enough()
		var asking sync.WaitGroup
		for i, name := range tenants {
			n := share
			if name == "flood" {
				n *= flood
			}
			for range n {
				asking.Go(func() {
					for over.Err() == nil {
						status, _, said, err := clients[name].ask(t.Context(), "POST", "/v1/chat/completions", body)
						switch {
						case err != nil:
							t.Error(err)
						case status == http.StatusOK:
							got[i].Add(1)
						case status == http.StatusTooManyRequests && n > share: // asks again after as long as an answer takes
							select {
							case <-over.Done():
							case <-time.After(service):
							}
						default:
							t.Errorf("%s: %d %s", name, status, said)
						}
					}
				})
			}
		}
		asking.Wait()
		return &got
	}
	alone := measure(1)
	flooded := measure(20)
	for i, name := range tenants {
		before, after := alone[i].Load(), flooded[i].Load()
		t.Logf("%s: %d answers without the flood, %d with it (%.1f %%)", name, before, after, 100*float64(after)/float64(before))
		if name != "flood" && float64(after) < 0.95*float64(before) {
			t.Errorf("%s gets %d of %d answers beside a flood", name, after, before)
		}
	}
}

// A good key asked with 50 times a second is not slower beside 2,000 wrong keys
// a second than beside 2,000 good requests a second.
func TestSoak_WrongKeysSlowNoGoodOne(t *testing.T) {
	s := stand.New(t, stand.Options{Backends: 1, Keys: "tenants: [{name: good}, {name: busy}]\nkeys: []\n"})
	router := s.Routers[0]
	good, busy := newClient(t, router.URL, createKey(t, router, "good")), newClient(t, router.URL, createKey(t, router, "busy"))
	wrong := newClient(t, router.URL, busy.key[:len(busy.key)-1]+"!")
	rounds, lasts := form(3, 5), time.Duration(form(2, 15))*time.Second
	var ratios []float64
	for round := range rounds {
		beside := [2]*client{wrong, busy}
		var p99 [2]time.Duration
		for i := range beside {
			i = (i + round) % 2 // who is first changes
			p99[i] = pacedP99(t, good, beside[i], lasts)
		}
		ratios = append(ratios, float64(p99[0])/float64(p99[1]))
		t.Logf("round %d: p99 %s beside wrong keys, %s beside good ones", round, p99[0], p99[1])
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("wrong keys: median ratio of p99 %.2f over %d rounds", median, rounds)
	// The short form is too short for a percentile; it finds what makes good keys wait.
	if limit := map[bool]float64{true: 1.2, false: 10}[*soak]; median > limit {
		t.Errorf("a good key's p99 is %.2f times as long beside wrong keys, want at most %.1f", median, limit)
	}
}

// pacedP99 asks 50 times a second, beside 2,000 requests a second of another
// client, and returns the 99th percentile of the time that took.
func pacedP99(t *testing.T, asker, beside *client, lasts time.Duration) time.Duration {
	t.Helper()
	over, enough := context.WithTimeout(t.Context(), lasts)
	defer enough()
	var working sync.WaitGroup
	var besides atomic.Int64
	const callers, perSecond = 20, 2000
	for i := range callers {
		working.Go(func() {
			every := time.NewTicker(callers * time.Second / perSecond)
			defer every.Stop()
			for over.Err() == nil {
				status, _, said, err := beside.ask(t.Context(), "GET", "/v1/models", nil)
				if err != nil || status != http.StatusOK && status != http.StatusUnauthorized && status != http.StatusTooManyRequests {
					t.Errorf("caller %d: %d %s %v", i, status, said, err)
				}
				besides.Add(1)
				<-every.C
			}
		})
	}
	var took []time.Duration
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for over.Err() == nil {
		due := <-every.C
		status, _, said, err := asker.ask(t.Context(), "GET", "/v1/models", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("a good key: %d %s %v", status, said, err)
		}
		took = append(took, time.Since(due))
	}
	working.Wait()
	if rate := float64(besides.Load()) / lasts.Seconds(); rate < 0.8*perSecond {
		t.Logf("only %.0f a second beside", rate)
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// account is what GET /v1/usage says of a tenant's day.
func account(t *testing.T, c *client) usage.Usage {
	t.Helper()
	status, _, said, err := c.ask(t.Context(), "GET", "/v1/usage", nil)
	var report usage.Report
	if err == nil {
		err = json.Unmarshal(said, &report)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("GET /v1/usage: %d %s %v", status, said, err)
	}
	return report.Today.Total
}

// counted is what backends counted together.
type counted struct {
	Received, Completed, Aborted, Failed int64
	CompletedTokens                      tokens `json:"completed_tokens"`
	AbortedTokens                        tokens `json:"aborted_tokens"`
}

type tokens struct{ Prompt, Image, Generated int64 }

func counts(t *testing.T, backends []*stand.Backend) (sum counted) {
	t.Helper()
	for _, b := range backends {
		var c counted
		stand.GetJSON(t, b.URL+"/sim/stats", &c)
		sum.Received += c.Received
		sum.Completed += c.Completed
		sum.Aborted += c.Aborted
		sum.Failed += c.Failed
		for _, pair := range [][2]*tokens{{&sum.CompletedTokens, &c.CompletedTokens}, {&sum.AbortedTokens, &c.AbortedTokens}} {
			pair[0].Prompt += pair[1].Prompt
			pair[0].Image += pair[1].Image
			pair[0].Generated += pair[1].Generated
		}
	}
	return sum
}

// Mixed requests of tenants that stay, whose backends fail now and then, and of
// one that leaves: at the end every count of requests in progress is zero, and
// what was written down is what the backends counted.
func TestSoak_AccountsAreWhatTheBackendsCounted(t *testing.T) {
	seed := rand.Uint64()
	stay := stand.New(t, stand.Options{
		Config: noCache, MaxInFlight: 32,
		Keys: "tenants:\n  - {name: stays, limits: {in_progress: 60}}\n  - {name: waits, wait: true, class: batch, limits: {in_progress: 4, tokens_per_minute: 1000000000}}\nkeys: []\n",
		Sim:  []string{"-ttft", "1ms", "-tokens", "2-40"},
	})
	leave := stand.New(t, stand.Options{
		Config: noCache, MaxInFlight: 16, Keys: "tenants:\n  - {name: leaves, limits: {in_progress: 60}}\nkeys: []\n",
		Sim: []string{"-ttft", "3ms", "-tpot", "300us", "-tokens", "10-60"},
	})
	stays, waits := newClient(t, stay.Routers[0].URL, createKey(t, stay.Routers[0], "stays")), newClient(t, stay.Routers[0].URL, createKey(t, stay.Routers[0], "waits"))
	leaves := newClient(t, leave.Routers[0].URL, createKey(t, leave.Routers[0], "leaves"))
	before := account(t, leaves).Requests
	for _, b := range stay.Backends { // now and then: the breaker must not open
		b.SetFaults(t, map[string]any{"error_rate": 0.02})
	}
	total := form(4000, 100_000)
	var next, failed, gone atomic.Int64
	var asking sync.WaitGroup
	for i := range 48 {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for next.Add(1) <= int64(total) {
				p := page{png: picture(t, random.IntN(50))}
				switch i % 3 {
				case 0:
					if !mixed(t.Context(), stays, p, random) {
						failed.Add(1)
					}
				case 1:
					if !mixed(t.Context(), waits, p, random) {
						failed.Add(1)
					}
				default:
					ctx, hangUp := context.WithTimeout(t.Context(), time.Duration(random.IntN(25_000))*time.Microsecond)
					if !mixed(ctx, leaves, p, random) {
						gone.Add(1)
					}
					hangUp()
				}
			}
		})
	}
	asking.Wait()
	for _, r := range []*stand.Router{stay.Routers[0], leave.Routers[0]} {
		for _, gauge := range gauges {
			stand.Eventually(t, gauge+" is back at zero", func() bool { return r.Metric(t, gauge) == 0 })
		}
	}
	// Those that stayed: to the token.
	got, also, want := account(t, stays), account(t, waits), counts(t, stay.Backends)
	t.Logf("seed %d: %d requests, %d failed on our side, %d left; the backends completed %d and failed %d of those that stayed",
		seed, total, failed.Load(), gone.Load(), want.Completed, want.Failed)
	if images := got.Images + also.Images; images != want.Completed {
		t.Errorf("%d images are written down, %d were read", images, want.Completed)
	}
	prompt, generated := got.PromptTokens+also.PromptTokens, got.GeneratedTokens+also.GeneratedTokens
	if prompt != want.CompletedTokens.Prompt || generated != want.CompletedTokens.Generated || got.ImageTokens+also.ImageTokens != want.CompletedTokens.Image {
		t.Errorf("%d prompt and %d generated tokens are written down, the backends counted %+v", prompt, generated, want.CompletedTokens)
	}
	if want.Failed == 0 || failed.Load() > int64(total)/20 {
		t.Errorf("%d failures at the backends, %d seen", want.Failed, failed.Load())
	}
	// Those that left: every request that was sent is an image, and its tokens
	// are those that were relayed.
	left, had := account(t, leaves), counts(t, leave.Backends)
	t.Logf("leavers: %d requests, %d images; %d completed, %d aborted at the backends; %d tokens written down, the backends made %d (surplus %d)",
		left.Requests-before, left.Images, had.Completed, had.Aborted, left.GeneratedTokens,
		had.CompletedTokens.Generated+had.AbortedTokens.Generated, had.CompletedTokens.Generated+had.AbortedTokens.Generated-left.GeneratedTokens)
	if left.Images != had.Received {
		t.Errorf("%d images of leavers are written down, %d were sent", left.Images, had.Received)
	}
	if made := had.CompletedTokens.Generated + had.AbortedTokens.Generated; left.GeneratedTokens > made || left.GeneratedTokens < had.CompletedTokens.Generated {
		t.Errorf("%d tokens of leavers are written down, the backends made %d, %d of them for whole answers", left.GeneratedTokens, made, had.CompletedTokens.Generated)
	}
	if had.Aborted == 0 {
		t.Error("nobody left in time")
	}
}

// mixed asks in one of the ways there are, and reports whether it was answered.
func mixed(ctx context.Context, c *client, p page, random *rand.Rand) bool {
	var err error
	switch random.IntN(5) {
	case 0:
		_, err = c.ocr(ctx, p)
	case 1:
		_, err = c.batch(ctx, p, p)
	case 2:
		_, err = c.stream(ctx, p)
	case 3:
		status, _, _, askErr := c.ask(ctx, "POST", "/v1/chat/completions", []byte(`{"model":"nobody"}`))
		if err = askErr; err == nil && status != http.StatusNotFound && status != http.StatusBadRequest {
			err = errors.New(http.StatusText(status))
		}
	default:
		_, err = c.chat(ctx, p)
	}
	return err == nil
}
