package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/compat"
)

const model = "deepseek-ai/DeepSeek-OCR"

// withBackends runs two pools before stand-ins for vLLM, of gpu-0, and of gpu-1 and gpu-2.
func withBackends(sims *[3]*sim.Server, pools *[2]*backends.Pool) func(*world) {
	return func(w *world) {
		var all []backends.Backend
		for i := range sims {
			sims[i] = sim.New(sim.Config{Timing: &sim.Timing{}})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				w.t.Fatal(err)
			}
			served := make(chan struct{})
			go func() { defer close(served); _ = sims[i].Serve(l) }()
			w.t.Cleanup(func() { _ = sims[i].Close(); <-served })
			all = append(all, backends.Backend{Name: fmt.Sprintf("gpu-%d", i), URL: "http://" + l.Addr().String()})
		}
		pools[0], pools[1] = w.runPool("small", all[:1]), w.runPool("large", all[1:])
		w.deps.Pools = func() []*backends.Pool { return pools[:] }
	}
}

func (w *world) runPool(name string, all []backends.Backend) *backends.Pool {
	pool, err := backends.New(backends.Config{Name: name, Backends: all, Models: []string{model}, ProbeInterval: 20 * time.Millisecond, Tick: 5 * time.Millisecond},
		backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = pool.Run(ctx) }()
	w.t.Cleanup(func() { stop(); <-done })
	eventually(w.t, "every backend is up", func() bool {
		for _, be := range pool.Status().Backends {
			if be.State != "up" {
				return false
			}
		}
		return true
	})
	return pool
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// backendAnswer is what routes about a backend answer.
type backendAnswer struct {
	Pool     string
	Backend  backends.BackendStatus
	InFlight *int `json:"in_flight"`
	Drained  *bool
}

func (w *world) backend(t *testing.T, target string) (answer backendAnswer) {
	t.Helper()
	got := w.ask("POST", target, "")
	if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil || got.Code != 200 {
		t.Fatalf("%s: %d %s", target, got.Code, got.Body)
	}
	return answer
}

func TestBackends_AreFoundInTheirPoolCordonedAndUncordoned(t *testing.T) {
	var sims [3]*sim.Server
	var pools [2]*backends.Pool
	w := newWorld(t, withBackends(&sims, &pools))
	if got := w.backend(t, "/admin/backends/gpu-2/cordon"); got.Pool != "large" || got.Backend.Name != "gpu-2" || !got.Backend.Cordoned || got.Drained != nil {
		t.Errorf("%+v", got)
	}
	w.wantAudit(`{"action":"backends.cordon","backend":"gpu-2","peer":"127.0.0.1","result":"done","status":200,"token":"loopback"}`)
	if !pools[1].Status().Backends[1].Cordoned || pools[1].Status().Backends[0].Cordoned || pools[0].Status().Backends[0].Cordoned {
		t.Error("not gpu-2 alone is cordoned")
	}
	if got := w.ask("GET", "/readyz?verbose", "").Body.String(); got != "[+]ready ok\n[+]backend gpu-0 ok\n[+]backend gpu-1 ok\n[-]backend gpu-2 failed: cordoned\nreadyz check passed\n" {
		t.Error(got)
	}
	var list struct{ Pools []backends.Status }
	answer := w.ask("GET", "/admin/backends", "")
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || len(list.Pools) != 2 || len(list.Pools[1].Backends) != 2 || !list.Pools[1].Backends[1].Cordoned {
		t.Errorf("%s", answer.Body)
	}
	if got := w.backend(t, "/admin/backends/gpu-2/uncordon"); got.Backend.Cordoned || pools[1].Status().Backends[1].Cordoned {
		t.Errorf("%+v", got)
	}
	for _, verb := range []string{"cordon", "uncordon", "drain"} {
		wantError(t, w.ask("POST", "/admin/backends/gpu-9/"+verb, ""), 404, "backend_not_found")
	}
	for _, timeout := range []string{"30", "-1s", "1h", "soon"} {
		if _, param := wantError(t, w.ask("POST", "/admin/backends/gpu-1/drain?timeout="+timeout, ""), 400, ""); param != "timeout" {
			t.Errorf("%s: param %q", timeout, param)
		}
	}
	if pools[1].Status().Backends[0].Cordoned {
		t.Error("a drain that was refused has cordoned")
	}
}

func TestBackends_ADrainSaysWhatIsLeftAndWhenNothingIs(t *testing.T) {
	var sims [3]*sim.Server
	var pools [2]*backends.Pool
	w := newWorld(t, withBackends(&sims, &pools))
	if err := sims[0].SetFaults(sim.Faults{MidStream: "hang", AfterEvents: 2}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		text := `{"model":"` + model + `","temperature":0,"stream":true,"messages":[{"role":"user","content":"a page"}]}`
		_, err := pools[0].Do(context.Background(), &backends.Request{Dialect: compat.Chat, Body: body(text), Stream: true, Model: model, QueueFor: 5 * time.Second}, deaf{})
		ended <- err
	}()
	eventually(t, "a request runs", func() bool { return pools[0].Status().Backends[0].InFlight == 1 })

	got := w.backend(t, "/admin/backends/gpu-0/drain?timeout=20ms")
	if got.Pool != "small" || *got.InFlight != 1 || *got.Drained || !got.Backend.Cordoned {
		t.Errorf("%+v", got)
	}
	w.wantAudit(`{"action":"backends.drain","backend":"gpu-0","in_flight":"1","peer":"127.0.0.1","result":"done","status":200,"token":"loopback"}`)
	if err := sims[0].SetFaults(sim.Faults{}); err != nil {
		t.Fatal(err)
	}
	got = w.backend(t, "/admin/backends/gpu-0/drain")
	if *got.InFlight != 0 || !*got.Drained || !got.Backend.Cordoned {
		t.Errorf("%+v", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the request that ran: %v", err)
	}
}

// body is a request's body.
type body string

func (b body) Size() int64         { return int64(len(b)) }
func (b body) Open() io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(b))) }

// deaf is a sink for an answer that nobody wants.
type deaf struct{}

func (deaf) Begin(backends.Start)             {}
func (deaf) Take([]byte, *compat.Chunk) error { return nil }
func (deaf) Restart() bool                    { return true }
