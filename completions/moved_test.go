package completions_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/completions"
)

// stand is a service before two stand-ins for vLLM and a real pool.
func stand(t *testing.T) (*completions.Service, *backends.Pool, []*sim.Server) {
	t.Helper()
	cfg := backends.Config{
		Name: "main", ProbeInterval: 20 * time.Millisecond, ProbeTimeout: time.Second, Tick: 5 * time.Millisecond,
		StallSilence: 200 * time.Millisecond, StallProbe: 100 * time.Millisecond,
	}
	var sims []*sim.Server
	for i := range 2 {
		s := sim.New(sim.Config{Model: served, Timing: new(sim.Timing)})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close(); <-done })
		sims = append(sims, s)
		cfg.Backends = append(cfg.Backends, backends.Backend{Name: fmt.Sprintf("gpu%d", i), URL: "http://" + ln.Addr().String()})
	}
	p, err := backends.New(cfg, backends.Deps{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	eventually(t, "both backends are up", func() bool {
		b := p.Status().Backends
		return b[0].State == "up" && b[1].State == "up"
	})
	return service(t, p, nil), p, sims
}

// silence lets both backends hang in the middle of an answer. The one that has
// got the request stays so, and the other is made well.
func silence(t *testing.T, sims []*sim.Server, st func() *completions.Stream) (*completions.Stream, int) {
	t.Helper()
	for _, s := range sims {
		if err := s.SetFaults(sim.Faults{MidStream: "hang", AfterEvents: 3, Health: "hang"}); err != nil {
			t.Fatal(err)
		}
	}
	stream, hung := st(), 0
	if err := stream.Await(nil); err != nil {
		t.Fatal(err)
	}
	if sims[1].Stats().Received == 1 {
		hung = 1
	}
	if err := sims[1-hung].SetFaults(sim.Faults{}); err != nil {
		t.Fatal(err)
	}
	return stream, hung
}

func TestStream_ShowsNothingOfAnAttemptThatWasMoved(t *testing.T) {
	s, p, sims := stand(t)
	st, hung := silence(t, sims, func() *completions.Stream { return s.Stream(t.Context(), client(t, s, prompt)) })
	eventually(t, "the work is moved", func() bool { return p.Status().Backends[hung].InFlight == 0 })
	got, err := read(st)
	receipt, finish := st.Close(nil)
	if err != io.EOF || !strings.HasSuffix(got, "data: [DONE]\n\n") || strings.Count(got, `"role"`) != 1 {
		t.Errorf("%v: %q", err, got)
	}
	if receipt.Attempts != 2 || receipt.Backend != fmt.Sprintf("gpu%d", 1-hung) || finish != "stop" {
		t.Errorf("got %+v, %q", receipt, finish)
	}
}

func TestStream_StaysWhereItsReaderHasSeenIt(t *testing.T) {
	s, p, sims := stand(t)
	st, hung := silence(t, sims, func() *completions.Stream { return s.Stream(t.Context(), client(t, s, prompt)) })
	first, err := st.Next(nil)
	if err != nil || len(first) == 0 {
		t.Fatalf("%q, %v", first, err)
	}
	eventually(t, "its backend is suspect", func() bool { return p.Status().Backends[hung].State == "suspect" })
	quiet := time.After(50 * time.Millisecond)
	for err == nil { // what had come before the silence
		_, err = st.Next(quiet)
	}
	if err != completions.ErrQuiet || sims[1-hung].Stats().Received != 0 {
		t.Errorf("%v; the other backend was asked %d times", err, sims[1-hung].Stats().Received)
	}
	receipt, _ := st.Close(nil)
	if receipt.Attempts != 1 {
		t.Errorf("%d attempts", receipt.Attempts)
	}
	eventually(t, "its backend's work is aborted", func() bool { return sims[hung].Stats().Aborted == 1 })
}

func TestSeveralAnswers_AreGivenByABackendThatIsAsStrictAsVLLM(t *testing.T) {
	s, _, _ := stand(t)
	a, err := s.Whole(t.Context(), client(t, s, `{"model":"`+model+`","n":2,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil || strings.Count(string(a.JSON), `"finish_reason":"stop"`) != 2 {
		t.Errorf("%v: %s", err, a.JSON)
	}
}

func TestFlight_IsMovedForAllItsReadersUntilOneHasSeenIt(t *testing.T) {
	_, p, sims := stand(t)
	s := service(t, p, new(memory))
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	asked := chat(picture.String(), "Free OCR.", `,"stream":true`)
	st, hung := silence(t, sims, func() *completions.Stream { return s.Stream(t.Context(), client(t, s, asked)) })
	whole := make(chan *completions.Answer)
	go func() {
		a, err := s.Whole(t.Context(), upload(s, picture.String(), "Free OCR."))
		if err != nil {
			t.Error(err)
		}
		whole <- a
	}()
	eventually(t, "the work is moved", func() bool { return p.Status().Backends[hung].InFlight == 0 })
	got, err := read(st)
	receipt, finish := st.Close(nil)
	text, _ := textOf(t, got)
	if err != io.EOF || !strings.HasSuffix(got, "data: [DONE]\n\n") || strings.Count(got, `"role"`) != 1 || finish != "stop" {
		t.Errorf("%v: %q", err, got)
	}
	if receipt.Attempts != 2 || receipt.Backend != fmt.Sprintf("gpu%d", 1-hung) || receipt.Busy == 0 {
		t.Errorf("got %+v", receipt)
	}
	if a := <-whole; a.Text != text || a.Cache == completions.Miss || a.Receipt.Busy != 0 {
		t.Errorf("got %+v for %q", a, text)
	}
}
