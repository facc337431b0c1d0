package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// told is what came back for one question.
type told struct {
	header http.Header
	texts  []string // one, or a batch's
	id     string   // of a chat's answer
	usage  *spent   // of a chat's answer, where it says
	body   string
}

func (a told) cache() string { return a.header.Get("X-Ocrmux-Cache") }

// spent is the usage in an answer.
type spent struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// ways are how one page can be asked about, so that it is one question.
var ways = map[string]func(ctx context.Context, c *client, p page, header http.Header) (told, error){
	"form": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.legacy(ctx, "/ocr", header, formOf("file", p.png))
	},
	"json": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		body := fmt.Appendf(nil, `{"image":%q,"prompt":"<image>\nFree OCR."}`, base64.StdEncoding.EncodeToString(p.png))
		return c.legacy(ctx, "/ocr", header, parcel{"application/json", body})
	},
	"batch": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.legacy(ctx, "/ocr/batch", header, formOf("files", p.png, p.png, p.png))
	},
	"whole": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "Free OCR.", ""))
	},
	"stream": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "Free OCR.", `,"stream":true`))
	},
	"stream with usage": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "<image>\nFree OCR.", `,"stream":true,"stream_options":{"include_usage":true}`))
	},
}

// parcel is a request's body.
type parcel struct {
	kind string
	body []byte
}

func formOf(field string, images ...[]byte) parcel {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i, image := range images {
		part, _ := form.CreateFormFile(field, fmt.Sprintf("page-%d.png", i)) // into memory, as what follows
		_, _ = part.Write(image)
	}
	_ = form.Close()
	return parcel{form.FormDataContentType(), body.Bytes()}
}

// open sends a request and returns its answer's beginning, which must be 200.
func (c *client) open(ctx context.Context, path string, header http.Header, p parcel) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", p.kind)
	res, err := c.http.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		err = fmt.Errorf("%s: %s", res.Status, said)
	}
	return res, err
}

func (c *client) send(ctx context.Context, path string, header http.Header, p parcel) (told, error) {
	res, err := c.open(ctx, path, header, p)
	if err != nil {
		return told{}, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	return told{header: res.Header, body: string(said)}, err
}

func (c *client) legacy(ctx context.Context, path string, header http.Header, p parcel) (told, error) {
	a, err := c.send(ctx, path, header, p)
	if err != nil {
		return a, err
	}
	type item struct{ Text, Error string }
	var v struct {
		item
		Results []item
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		return a, err
	}
	if v.Results == nil {
		v.Results = []item{v.item}
	}
	for _, r := range v.Results {
		if r.Error != "" {
			return a, errors.New(r.Error)
		}
		a.texts = append(a.texts, r.Text)
	}
	return a, nil
}

// chatWith reads a chat's answer, whole or streamed. A stream has at most one
// usage, in its last event, and one id in all of them.
func (c *client) chatWith(ctx context.Context, header http.Header, body []byte) (told, error) {
	a, err := c.send(ctx, "/v1/chat/completions", header, parcel{"application/json", body})
	if err != nil {
		return a, err
	}
	type object struct {
		ID      string
		Choices []struct{ Message, Delta struct{ Content string } }
		Usage   *spent
	}
	if strings.HasPrefix(a.body, "{") {
		var v object
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Choices) != 1 {
			return a, fmt.Errorf("%w: %d choices in %.200s", err, len(v.Choices), a.body)
		}
		a.id, a.usage, a.texts = v.ID, v.Usage, []string{v.Choices[0].Message.Content}
		return a, nil
	}
	text, err := streamed(a.body)
	if err != nil {
		return a, err
	}
	a.texts = []string{text}
	for line := range strings.Lines(a.body) {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var v object
		if err := json.Unmarshal([]byte("{"+data), &v); err != nil {
			return a, err
		}
		if a.usage != nil || a.id != "" && v.ID != a.id {
			return a, fmt.Errorf("an event behind the usage, or of another id than %s: %s", a.id, line)
		}
		if a.id = v.ID; v.Usage != nil {
			if len(v.Choices) != 0 {
				return a, fmt.Errorf("usage beside choices: %s", line)
			}
			a.usage = v.Usage
		}
	}
	return a, nil
}

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
