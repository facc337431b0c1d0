package drift

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"ocrmux/test/stand"
)

func dashboards(file string) string { return stand.Repository(filepath.Join("dashboards", file)) }

// asked is an expression and where it stands.
type asked struct{ where, expr string }

// resolve puts values in place of what Grafana replaces.
var resolve = strings.NewReplacer("$pool", ".*", "$tenant", ".*", "$__rate_interval", "30s").Replace

var labelValues = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

// dashboardQueries are all that ocrmux.json asks for; panels have their title.
func dashboardQueries(t *testing.T) (panels, variables []asked) {
	t.Helper()
	var d struct {
		UID        string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	read(t, "ocrmux.json", json.Unmarshal, &d)
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			panels = append(panels, asked{p.Title, resolve(target.Expr)})
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		found := labelValues.FindStringSubmatch(v.Definition)
		if found == nil {
			t.Fatalf("variable %s: %q is not of the form label_values(metric, label)", v.Name, v.Definition)
		}
		variables = append(variables, asked{"variable " + v.Name, fmt.Sprintf("count by (%s) (%s)", found[2], found[1])})
	}
	if d.UID == "" || len(panels) < 40 || len(variables) < 2 {
		t.Fatalf("uid %q, %d queries, %d variables", d.UID, len(panels), len(variables))
	}
	return panels, variables
}

// alertQueries are the alerts' expressions. Each says what an operator does.
func alertQueries(t *testing.T) (queries []asked) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	read(t, "alerts.yaml", yaml.Unmarshal, &file)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Annotations["summary"] == "" || len(r.Annotations["action"]) < 40 {
				t.Errorf("alert %s does not say what to do", r.Alert)
			}
			queries = append(queries, asked{"alert " + r.Alert, r.Expr})
		}
	}
	if len(queries) < 8 {
		t.Fatalf("%d alerts", len(queries))
	}
	return queries
}

func read(t *testing.T, file string, decode func([]byte, any) error, v any) {
	t.Helper()
	data, err := os.ReadFile(dashboards(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(data, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// promtool runs Debian's; scripts/need brings it.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	command := exec.Command("promtool", args...)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestDashboards_PromtoolAcceptsTheFiles(t *testing.T) {
	promtool(t, "", "check", "config", "--lint-fatal", dashboards("prometheus.yaml"))
	promtool(t, "", "check", "rules", "--lint-fatal", dashboards("alerts.yaml"))
	promtool(t, "", "test", "rules", dashboards("alerts.test.yaml"))
}

// quotaKeys are the repository's keys with a quota, which is shown where there is one.
func quotaKeys(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(stand.Repository("keys.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const tenant = "  - name: development\n"
	with := strings.Replace(string(text), tenant, tenant+"    quota: {pages_per_month: 1000, tokens_per_month: 1000000}\n", 1)
	if with == string(text) {
		t.Fatal("keys.yaml has no tenant development")
	}
	return with
}

func TestDashboards_AskForWhatARouterHas(t *testing.T) {
	panels, variables := dashboardQueries(t)
	alerts := alertQueries(t)
	s := stand.New(t, stand.Options{
		Sim:    []string{"-engine", "synthetic", "-tokens", "20", "-tpot", "1ms"},
		Pool:   "health: {interval: 200ms}",
		Config: fmt.Sprintf("cache: {dir: %q}", t.TempDir()),
		Keys:   quotaKeys(t),
	})
	traffic(t, s)

	text := stand.Get(t, s.Routers[0].Admin+"/metrics")
	if said := promtool(t, text, "check", "metrics"); said != "" {
		t.Errorf("promtool check metrics:\n%s", said)
	}
	metrics := parse(t, text)
	for _, q := range slices.Concat(panels, variables, alerts) {
		for _, wrong := range metrics.lacks(q.expr) {
			t.Errorf("%s: %s", q.where, wrong)
		}
	}
	// The same means find what is not there.
	for _, expr := range []string{
		`ocrmux_invented_total`,
		`rate(ocrmux_cancelled_total{phase="asleep"}[1m])`,
		`sum by (colour) (rate(ocrmux_cancelled_total[1m]))`,
		`rate(ocrmux_requests_total{route="ocr",status=~"5..|777"}[1m])`,
		`ocrmux_request_duration_seconds`,
		`ocrmux_cancelled_total_bucket`,
	} {
		if len(metrics.lacks(expr)) == 0 {
			t.Errorf("nobody misses anything in %s", expr)
		}
	}

	p := startPrometheus(t, s.Routers[0])
	stand.Eventually(t, "Prometheus has reached the router", func() bool { return p.up(t) })
	for _, q := range slices.Concat(panels, variables) {
		stand.Eventually(t, q.where+" shows something: "+q.expr, func() bool { return p.answers(t, q.expr) > 0 })
	}
	for _, q := range alerts {
		p.answers(t, q.expr)
	}
}

// exposition is what a router says of itself: the series of each name that can
// be asked for, histograms by their three.
type exposition map[string][]map[string]string

func parse(t *testing.T, text string) exposition {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	e := exposition{"up": {{}}} // Prometheus' own word on every target
	for name, family := range families {
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, pair := range m.Label {
				labels[pair.GetName()] = pair.GetValue()
			}
			if family.GetType() != dto.MetricType_HISTOGRAM {
				e.add(name, labels)
				continue
			}
			e.add(name+"_sum", labels)
			e.add(name+"_count", labels)
			labels["le"] = "+Inf"
			e.add(name+"_bucket", labels)
		}
	}
	return e
}

// add notes a series with the labels that every scrape adds to it.
func (e exposition) add(name string, labels map[string]string) {
	labels["job"], labels["instance"] = "ocrmux", "router"
	e[name] = append(e[name], labels)
}

// lacks lists what expr asks for in vain: names, labels, values of labels.
func (e exposition) lacks(expr string) (found []string) {
	all, err := selectors(expr)
	if err != nil {
		return []string{err.Error()}
	}
	for _, s := range all {
		series := e[s.metric]
		if len(series) == 0 {
			found = append(found, fmt.Sprintf("there is no %s", s.metric))
			continue
		}
		if s.metric == "up" {
			continue
		}
		for _, label := range s.labels {
			if _, ok := series[0][label]; !ok {
				found = append(found, fmt.Sprintf("%s has no label %s", s.metric, label))
			}
		}
		for _, m := range demands(s.matchers) {
			if !slices.ContainsFunc(series, func(labels map[string]string) bool { return chosen(labels, m) }) {
				found = append(found, fmt.Sprintf("no series of %s fits %v", s.metric, m))
			}
		}
	}
	return found
}

func chosen(labels map[string]string, all []matcher) bool {
	return !slices.ContainsFunc(all, func(m matcher) bool {
		value, ok := labels[m.label]
		return !ok || !m.fits(value)
	})
}

// demands are the sets of matchers that must each fit some series: all of them
// together, and every a of label=~"a|b|c" alone.
func demands(matchers []matcher) [][]matcher {
	all := [][]matcher{matchers}
	for _, m := range matchers {
		if m.op != "=~" {
			continue
		}
		for value := range strings.SplitSeq(m.value, "|") {
			all = append(all, []matcher{{m.label, m.op, value}})
		}
	}
	return all
}

const chatBody = `{"model":"deepseek-ai/DeepSeek-OCR","messages":[{"role":"user","content":[{"type":"text","text":"Free OCR."},{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]%s}`

// traffic lets everything happen that the dashboard shows: answers and failures
// on all routes, a retry, a client that leaves, a result found again.
func traffic(t *testing.T, s *stand.Stand) {
	page, err := os.ReadFile(stand.Repository("samples/receipt-en.png"))
	if err != nil {
		t.Fatal(err)
	}
	c := client{t, s.Routers[0].URL, s.Key}
	chat := func(more string) string {
		return fmt.Sprintf(chatBody, base64.StdEncoding.EncodeToString(page), more)
	}
	const text = `{"model":"deepseek-ocr","prompt":"Free OCR."}`

	c.post("/v1/chat/completions", chat(""), 200)
	c.post("/v1/chat/completions", chat(`,"stream":true`), 200)
	c.post("/v1/completions", text, 200)
	c.upload("/ocr/batch", "files", page, 200)
	if header := c.upload("/ocr", "file", page, 200); header.Get("X-Ocrmux-Cache") != "hit" {
		t.Errorf("the page is known by now, and its text came as a %q", header.Get("X-Ocrmux-Cache"))
	}

	c.post("/v1/chat/completions", `{"model":"deepseek-ocr"`, 400)
	client{t, c.url, "sk-wrong"}.post("/v1/chat/completions", chat(""), 401)
	c.faults(s, map[string]any{"error_rate": 1})
	if header := c.post("/v1/completions", text, 502); header.Get("X-Request-Id") == "" {
		t.Error("an answer without an id")
	}
	if s.Routers[0].Metric(t, "ocrmux_retries_total") == 0 {
		t.Error("no retry was counted")
	}
	c.faults(s, map[string]any{"hang": true})
	c.leave(s.Routers[0], text)
	c.faults(s, map[string]any{})

	for _, b := range s.Backends {
		b.Kill(t)
	}
	stand.Eventually(t, "no backend is up", func() bool { return s.Routers[0].Up(t) == 0 })
	c.post("/v1/completions", text, 503)
	for _, b := range s.Backends {
		b.Restart(t)
	}
}

// client sends requests that end as they should.
type client struct {
	t        *testing.T
	url, key string
}

func (c client) post(path, body string, want int) http.Header {
	return c.send(context.Background(), path, "application/json", strings.NewReader(body), want)
}

func (c client) upload(path, field string, page []byte, want int) http.Header {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile(field, "page.png")
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = part.Write(page) // into memory
	_ = form.Close()
	return c.send(context.Background(), path, form.FormDataContentType(), &body, want)
}

// send expects a status, and 0 of a client that leaves.
func (c client) send(ctx context.Context, path, contentType string, body io.Reader, want int) http.Header {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if want != 0 {
			c.t.Fatalf("POST %s: %v", path, err)
		}
		return nil
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != want {
		c.t.Fatalf("POST %s: %s, want %d: %.300s", path, res.Status, want, said)
	}
	return res.Header
}

func (c client) faults(s *stand.Stand, faults map[string]any) {
	for _, b := range s.Backends {
		b.SetFaults(c.t, faults)
	}
}

// leave sends a request to backends that hang, and goes away.
func (c client) leave(r *stand.Router, body string) {
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.send(ctx, "/v1/completions", "application/json", strings.NewReader(body), 0)
	}()
	stand.Eventually(c.t, "the request is on a backend", func() bool { return r.Metric(c.t, "ocrmux_backend_in_flight") == 1 })
	cancel()
	<-left
	stand.Eventually(c.t, "the client's leaving was counted", func() bool { return r.Metric(c.t, "ocrmux_cancelled_total") == 1 })
}

// prometheus is Debian's, with our configuration.
type prometheus struct{ url string }

// startPrometheus lets it read r, more often than in earnest.
func startPrometheus(t *testing.T, r *stand.Router) prometheus {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile(dashboards("prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(config)
	for old, now := range map[string]string{
		"127.0.0.1:5001":           strings.TrimPrefix(r.Admin, "http://"),
		"scrape_interval: 5s":      "scrape_interval: 200ms",
		"evaluation_interval: 15s": "evaluation_interval: 1s",
		"[alerts.yaml]":            "[" + dashboards("alerts.yaml") + "]",
	} {
		if strings.Count(text, old) != 1 {
			t.Fatalf("prometheus.yaml does not have %q once", old)
		}
		text = strings.Replace(text, old, now, 1)
	}
	path := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal(err, "; scripts/need test installs it")
	}
	address := stand.FreeAddress(t)
	stand.Start(t, "prometheus", program, "--config.file", path, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	stand.WaitFor(t, "http://"+address+"/-/ready")
	return prometheus{"http://" + address}
}

// up reports whether the one target was reached and its alerts could be judged.
func (p prometheus) up(t *testing.T) bool {
	var targets struct {
		Data struct {
			ActiveTargets []struct{ Health, LastError string }
		}
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	stand.GetJSON(t, p.url+"/api/v1/targets", &targets)
	stand.GetJSON(t, p.url+"/api/v1/rules", &rules)
	if len(targets.Data.ActiveTargets) != 1 || targets.Data.ActiveTargets[0].Health != "up" {
		return false
	}
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if r.Health == "err" {
				t.Fatalf("alert %s: %s", r.Name, r.LastError)
			}
			if r.Health != "ok" {
				return false
			}
		}
	}
	return len(rules.Data.Groups) > 0
}

// answers is how many series an expression has; a malformed one fails the test.
func (p prometheus) answers(t *testing.T, expr string) int {
	t.Helper()
	var v struct {
		Status string
		Data   struct{ Result []json.RawMessage }
	}
	stand.GetJSON(t, p.url+"/api/v1/query?query="+url.QueryEscape(expr), &v)
	return len(v.Data.Result)
}
