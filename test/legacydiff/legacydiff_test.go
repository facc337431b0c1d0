package main

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"ocrmux/backends/sim"
	"ocrmux/test/stand"
)

var (
	mutations = flag.Int("mutations", 150, "mutations for each profile")
	seed      = flag.Uint64("seed", 1, "what they follow from")
)

// stub writes the text that a picture carries, and nothing else. An image that
// is torn is refused before, as vLLM does.
type stub struct{}

func (stub) Read(_ context.Context, page sim.Page) (sim.Text, error) {
	text, ok := comment(page.Image)
	if !ok {
		text = "An image of which the stub knows nothing, but that it is one; no echo."
	}
	return sim.Text{Content: text}, nil
}

// serveModel is the one model that the router and the reference ask.
func serveModel(t *testing.T) string {
	model := httptest.NewServer(sim.New(sim.Config{Engine: stub{}, Timing: &sim.Timing{}, MaxModelLen: 1 << 20}).Handler())
	t.Cleanup(model.Close)
	return model.URL
}

// open lets everybody in, without limits.
const open = "tenants:\n  - name: development\n  - name: anonymous\n"

func startRouter(t *testing.T, p profile, model string) target {
	t.Helper()
	s := stand.New(t, stand.Options{
		Others: []string{model},
		Keys:   open,
		Config: "legacy: {profile: " + string(p) + "}",
	})
	return mustTarget(t, s.Routers[0].URL)
}

func startReference(t *testing.T, p profile, model string) target {
	t.Helper()
	if out, err := exec.Command("reference/install").CombinedOutput(); err != nil {
		t.Fatalf("reference/install: %v\n%s", err, out)
	}
	address := stand.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	stand.Start(t, "reference", "reference/.venv/bin/python", "reference/service.py", string(p), port, model)
	stand.WaitFor(t, "http://"+address+"/health")
	return mustTarget(t, "http://"+address)
}

func mustTarget(t *testing.T, url string) target {
	t.Helper()
	target, err := newTarget(url, "")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestRouter_AnswersAsTheReferenceDoes(t *testing.T) {
	for _, p := range []profile{app, standard} {
		t.Run(string(p), func(t *testing.T) {
			model := serveModel(t)
			var out bytes.Buffer
			o := options{old: startReference(t, p, model), new: startRouter(t, p, model), profile: p, mutations: *mutations, seed: *seed, stub: true}
			differences, err := o.run(&out)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(out.String()[strings.LastIndex(strings.TrimSpace(out.String()), "\n")+1:])
			if differences > 0 {
				t.Errorf("\n%s", out.String())
			}
		})
	}
}

func TestEveryRowOfTheContractIsAnsweredAsItSays(t *testing.T) {
	for _, p := range []profile{union, app, standard} {
		t.Run("router/"+string(p), func(t *testing.T) { checkRows(t, p, startRouter(t, p, serveModel(t))) })
	}
	for _, p := range []profile{app, standard} {
		t.Run("reference/"+string(p), func(t *testing.T) { checkRows(t, p, startReference(t, p, serveModel(t))) })
	}
}

func checkRows(t *testing.T, p profile, at target) {
	t.Helper()
	for _, r := range corpus() {
		if got, want := (options{}).masked(at, r.request), r.want(p); !got.equal(want) {
			t.Errorf("%s: %s %s\n got %s\nwant %s", r.name, r.method, r.target, got, want)
		}
	}
}
