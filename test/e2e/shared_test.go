package e2e_test

import (
	"bufio"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// truth is what a backend itself says of a page.
func truth(t *testing.T, b *stand.Backend, p page) told {
	t.Helper()
	b.SetFaults(t, map[string]any{"slow": 0.001})
	a, err := newClient(t, b.URL, "").chatWith(t.Context(), nil, chatBody(p, "Free OCR.", `,"temperature":0`))
	if err != nil || !strings.Contains(a.texts[0], heading(p)) {
		t.Fatalf("%q %v", a.texts, err)
	}
	b.SetFaults(t, nil)
	b.Reset(t)
	return a
}

// labelled is one metric of one set of labels, as it stands in GET /metrics.
func labelled(t testing.TB, r *stand.Router, name string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(stand.Get(t, r.Admin+"/metrics"))
	if found == nil {
		t.Fatalf("there is no metric %s", name)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// One page, asked about 200 times at once in every way there is, is one run at
// the backends and 200 right answers.
func TestShared_TwoHundredEqualQuestionsAreOneRun(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 4, Sim: []string{"-ttft", "1s", "-tpot", "20ms", "-tokens", "100"}, Config: "cache: {charge: full}"})
	router, p := s.Routers[0], page{png: picture(t, 1)}
	want := truth(t, s.Backends[0], p)
	c := newClient(t, router.URL, s.Key)
	before := account(t, c)

	const askers = 200
	names := []string{"form", "json", "batch", "whole", "stream", "stream with usage"}
	all, errs := make([]told, askers), make([]error, askers)
	var asking sync.WaitGroup
	start := make(chan struct{})
	for i := range all {
		asking.Go(func() {
			<-start
			all[i], errs[i] = ways[names[i%len(names)]](t.Context(), c, p, nil)
		})
	}
	began := time.Now()
	close(start)
	asking.Wait()
	took := time.Since(began)

	states, ids, answers := map[string]int{}, map[string]int{}, 0
	for i, a := range all {
		name := names[i%len(names)]
		if errs[i] != nil {
			t.Errorf("%s: %v", name, errs[i])
			continue
		}
		states[a.cache()]++
		answers += len(a.texts)
		for _, text := range a.texts {
			if text != want.texts[0] && (a.id != "" || text != strings.TrimSpace(want.texts[0])) {
				t.Errorf("%s: %q, want %q", name, text, want.texts[0])
			}
		}
		if a.id != "" {
			ids[a.id]++
		}
		if told := a.usage != nil; told != (name == "whole" || name == "stream with usage") {
			t.Errorf("%s: usage told: %t", name, told)
		} else if told && (a.usage.Prompt != want.usage.Prompt || a.usage.Completion != want.usage.Completion) {
			t.Errorf("%s: usage %+v, want %+v", name, a.usage, want.usage)
		}
	}
	sum := counts(t, s.Backends)
	count := func(state string) int {
		return labelled(t, router, fmt.Sprintf("ocrmux_answers_total{cache=%q}", state))
	}
	miss, joined, hit, bypass := count("miss"), count("joined"), count("hit"), count("bypass")
	t.Logf("200 equal questions at once, by %d ways, took %.2f s: %d run(s) at the backends, %d right answers with %d items of batches: %d miss, %d joined, %d hit; x-ocrmux-cache %v",
		len(names), took.Seconds(), sum.Received, askers, answers, miss, joined, hit, states)
	if sum.Received != 1 || sum.Completed != 1 {
		t.Errorf("the backends were asked %d times, want once", sum.Received)
	}
	if miss != 1 || bypass != 0 || joined+hit != answers-1 || joined < answers/2 {
		t.Errorf("%d miss, %d joined, %d hit, %d bypass of %d answers", miss, joined, hit, bypass, answers)
	}
	if states["miss"] > 1 || states["miss"]+states["joined"]+states["hit"] != askers {
		t.Errorf("x-ocrmux-cache: %v", states)
	}
	after := account(t, c)
	if images := after.Images - before.Images; images != int64(answers) {
		t.Errorf("%d images are written down of %d", images, answers)
	}
	if generated := after.GeneratedTokens - before.GeneratedTokens; generated != int64(answers)*want.usage.Completion {
		t.Errorf("%d tokens are written down, want %d for each of %d answers", generated, want.usage.Completion, answers)
	}
	for _, gauge := range gauges {
		stand.Eventually(t, gauge+" is zero", func() bool { return router.Metric(t, gauge) == 0 })
	}
}

// Who comes when half of an answer is there gets that half at once, and the
// rest as it is made.
func TestShared_LateJoinersGetWhatIsThereAtOnce(t *testing.T) {
	t.Parallel()
	const tokens, late = 80, 20
	s := stand.New(t, stand.Options{Sim: []string{"-ttft", "100ms", "-tpot", "50ms", "-tokens", strconv.Itoa(tokens)}})
	p := page{png: picture(t, 1)}
	want := truth(t, s.Backends[0], p)
	c := newClient(t, s.Routers[0].URL, s.Key)
	first := follow(t, c, p)
	if first.state != "miss" {
		t.Errorf("the first: %s", first.state)
	}
	for range tokens / 2 {
		first.next(t)
	}
	var caught []time.Duration
	var all []*follower
	for range late {
		there := len(first.text) // of the half, or more
		began := time.Now()
		f := follow(t, c, p)
		for len(f.text) < there {
			f.next(t)
		}
		caught = append(caught, time.Since(began))
		if f.ended || f.state != "joined" {
			t.Errorf("a late one is not on its way: %s", f.state)
		}
		all = append(all, f)
		first.next(t)
	}
	for _, f := range append(all, first) {
		for !f.ended {
			f.next(t)
		}
		if f.text != want.texts[0] {
			t.Errorf("%q, want %q", f.text, want.texts[0])
		}
	}
	slices.Sort(caught)
	received := counts(t, s.Backends).Received
	t.Logf("%d joiners behind the half of a stream of %d tokens, one each 50 ms, had all of it that was there after %s (median), %s at most; %d run",
		late, tokens, caught[late/2], caught[late-1], received)
	if caught[late/2] > 50*time.Millisecond || caught[late-1] > 500*time.Millisecond {
		t.Errorf("late joiners waited: %v", caught)
	}
	if received != 1 {
		t.Errorf("%d runs", received)
	}
}

// follower reads a stream event by event.
type follower struct {
	state string
	lines *bufio.Scanner
	text  string
	ended bool
}

func follow(t *testing.T, c *client, p page) *follower {
	t.Helper()
	res, err := c.open(t.Context(), "/v1/chat/completions", nil, parcel{"application/json", chatBody(p, "Free OCR.", `,"stream":true`)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &follower{state: res.Header.Get("X-Ocrmux-Cache"), lines: bufio.NewScanner(res.Body)}
}

// next waits for the next event.
func (f *follower) next(t *testing.T) {
	t.Helper()
	for f.lines.Scan() {
		line := f.lines.Text()
		if line == "data: [DONE]" {
			f.ended = true
			return
		}
		if !strings.HasPrefix(line, "data: ") {
			continue
		}
		text, err := streamed(line + "\n\ndata: [DONE]\n\n")
		if err != nil {
			t.Fatal(err)
		}
		f.text += text
		return
	}
	t.Fatalf("a stream broke off: %v", f.lines.Err())
}
