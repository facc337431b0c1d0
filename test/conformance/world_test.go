package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ocrmux/auth"
	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

const (
	alias      = "deepseek-ocr"
	otherModel = "deepseek-ai/DeepSeek-OCR-2"
	splitModel = "split" // its backend's characters come in pieces

	// The router's settings that the cases know of.
	keepAlive = 100 * time.Millisecond
	maxBody   = 1 << 20
)

// Tenants, and what makes them what they are.
const (
	everything = "everything" // may use all models
	narrow     = "narrow"     // may use one
	counted    = "counted"    // has a limit that it does not reach
	hurried    = "hurried"    // has used up its limit, of three requests a minute
	punctual   = "punctual"   // has used up its limit, of one request a minute
	spent      = "spent"      // has used up its month
)

const tenants = `
tenants:
  - name: everything
  - name: narrow
    models: [deepseek-ocr]
  - name: counted
    limits: {requests_per_minute: 1000}
  - name: hurried
    limits: {requests_per_minute: 3}
  - name: punctual
    limits: {requests_per_minute: 1}
  - name: spent
    quota: {tokens_per_month: 1}
`

// world is what the cases meet.
type world struct {
	*stand.Stand
	url  string            // of the router, with /v1
	keys map[string]string // by tenant
	tap  *tap
	wire *wire

	charging sync.WaitGroup // see useUpLimits
	charged  time.Time
	fresh    *hit // the answer under a limit that was just used up
}

func newWorld(t *testing.T) *world {
	w := &world{keys: map[string]string{}, wire: newWire(t)}
	served := fmt.Sprintf("served_as: %s}\n", stand.Model)
	w.Stand = stand.New(t, stand.Options{
		Sim: []string{"-tokens", "40-80", "-ttft", "5ms", "-tpot", "1ms"},
		Config: fmt.Sprintf("cache: {max_bytes: 0}\nlegacy: {model: %s}\nopenai: {keep_alive: %s, max_body: %dKiB}",
			stand.Model, keepAlive, maxBody>>10),
		// The backends fail on purpose: the router forgives them at once.
		Pool:   "health: {interval: 100ms}\nbreaker: {open_min: 10ms, open_max: 20ms}",
		Pools:  fmt.Sprintf("wire:\n  backends: [{name: wire, url: %q}]\n", w.wire.url),
		Models: otherModel + ": {pool: main, " + served + splitModel + ": {pool: wire, " + served,
		Keys:   w.makeKeys(t),
	})
	w.url = w.Routers[0].URL + "/v1"
	w.tap = newTap(t, w.Routers[0].URL)
	w.useUpLimits(t)
	t.Cleanup(w.charging.Wait)
	return w
}

// makeKeys makes a key for every tenant and returns the key file.
func (w *world) makeKeys(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(path, []byte(tenants), 0o600); err != nil {
		t.Fatal(err)
	}
	pepper, err := os.ReadFile(stand.Repository("configs/development.pepper"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := auth.NewKeyRing(path, bytes.TrimSpace(pepper))
	if err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{everything, narrow, counted, hurried, punctual, spent} {
		key, _, err := ring.Create(auth.KeyOptions{Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		w.keys[tenant] = key
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// begin lets a case find backends that are well and have received nothing.
func (w *world) begin(t *testing.T) {
	t.Helper()
	for _, b := range w.Backends {
		b.Reset(t)
	}
	w.tap.reset()
}

// breakBackends puts faults in place for the rest of the case.
func (w *world) breakBackends(t *testing.T, faults map[string]any) {
	t.Helper()
	for _, b := range w.Backends {
		b.SetFaults(t, faults)
	}
	t.Cleanup(func() { w.heal(t) })
}

// heal ends all faults and waits until the router trusts the backends again,
// which takes answers that are good.
func (w *world) heal(t *testing.T) {
	t.Helper()
	for _, b := range w.Backends {
		b.SetFaults(t, nil)
	}
	stand.Eventually(t, "the backends are trusted again", func() bool {
		if w.Routers[0].Up(t) == len(w.Backends) {
			return true
		}
		_, err := drivers.HTTP{}.Do(w.command(drivers.Chat, with(question("Free OCR."), "max_tokens", 1)), func() {})
		return err != nil
	})
}

// received are the members of all requests that the backends got in this case.
func (w *world) received(t *testing.T) (list []map[string]json.RawMessage) {
	t.Helper()
	for _, b := range w.Backends {
		for _, r := range b.Requests(t) {
			list = append(list, members(t, r.Body))
		}
	}
	return list
}

// sent is the one request that a case has brought about at the backends.
func (w *world) sent(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	list := w.received(t)
	if len(list) != 1 {
		t.Fatalf("the backends received %d requests, want one", len(list))
	}
	return list[0]
}

func members(t *testing.T, body []byte) (m map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v in %.200q", err, body)
	}
	return m
}

// command is one of the tenant that may do everything, straight to the router
// and without a second try.
func (w *world) command(do string, params map[string]any) drivers.Command {
	return drivers.Command{Do: do, BaseURL: w.url, Key: w.keys[everything], Params: params}
}

// do has a client carry out a command, whatever comes of it.
func (w *world) do(t *testing.T, c client, command drivers.Command) drivers.Answer {
	t.Helper()
	return w.watch(t, c, command, func() {})
}

// watch is do that tells when the first text arrives.
func (w *world) watch(t *testing.T, c client, command drivers.Command, began func()) drivers.Answer {
	t.Helper()
	answer, err := c.Do(command, began)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Wire != nil && answer.RequestID == "" {
		t.Errorf("%s: an answer without x-request-id", command.Do)
	}
	return answer
}

// text is what a client reads, which must be something.
func (w *world) text(t *testing.T, c client, command drivers.Command) string {
	t.Helper()
	answer := w.do(t, c, command)
	return textOf(t, answer)
}

func textOf(t *testing.T, answer drivers.Answer) string {
	t.Helper()
	text, err := answer.Text()
	if err != nil {
		t.Fatal(err)
	}
	if text == "" {
		t.Fatal("no text")
	}
	return text
}

// plainly asks without any client.
func (w *world) plainly(t *testing.T, method, path string) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.Routers[0].URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.keys[everything])
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}
