package backends_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
)

func TestPool_GivesTheSinkEveryEventOfAStream(t *testing.T) {
	s := newStand(t, 1, nil)
	var sink collector
	receipt, err := s.do(t.Context(), chat(true), &sink)
	if err != nil {
		t.Fatal(err)
	}
	if last := sink.events[len(sink.events)-1]; last != "data: [DONE]\n\n" {
		t.Errorf("last event %q, want [DONE]", last)
	}
	if !strings.HasPrefix(sink.text, "Page ") && !strings.Contains(sink.text, "Page ") {
		t.Errorf("text %q, want the stand-in's page", sink.text)
	}
	if len(sink.begins) != 1 || sink.begins[0].Backend != "b0" || sink.begins[0].Attempts != 1 {
		t.Errorf("begun with %+v, want once on b0", sink.begins)
	}
	if receipt.Backend != "b0" || receipt.Attempts != 1 || receipt.FirstByte <= 0 || receipt.Busy < receipt.FirstByte {
		t.Errorf("receipt %+v, want b0, one attempt, a first byte within the busy time", receipt)
	}
	if receipt.Usage.CompletionTokens == 0 || receipt.Usage.PromptTokens == 0 {
		t.Errorf("usage %+v, want what the backend counted", receipt.Usage)
	}
	s.idle()
}

func TestPool_GivesTheSinkAWholeAnswerOnce(t *testing.T) {
	s := newStand(t, 1, nil)
	var sink collector
	receipt, err := s.do(t.Context(), chat(false), &sink)
	if err != nil {
		t.Fatal(err)
	}
	if len(sink.events) != 1 || !strings.HasPrefix(sink.events[0], `{"id":"chatcmpl-`) || sink.text == "" {
		t.Errorf("got %q, want one JSON answer", sink.events)
	}
	if receipt.Usage.TotalTokens == 0 {
		t.Error("the backend's usage is missing in the receipt")
	}
}

func TestPool_BuildsTheRequestsHeadAnew(t *testing.T) {
	s := newStand(t, 1, nil)
	for range 2 {
		if _, err := s.do(t.Context(), chat(true), &collector{}); err != nil {
			t.Fatal(err)
		}
	}
	got := s.sims[0].LastRequests()
	ids := got[0].Header["X-Request-Id"][0] + got[1].Header["X-Request-Id"][0]
	if len(ids) < 16 || got[0].Header["X-Request-Id"][0] == got[1].Header["X-Request-Id"][0] {
		t.Errorf("request ids %q, want two different ones", ids)
	}
	head := got[0].Header.Clone()
	head.Del("X-Request-Id")
	want := map[string]string{
		"Accept": "text/event-stream", "Authorization": "Bearer canary-key", "Content-Length": head.Get("Content-Length"),
		"Content-Type": "application/json", "User-Agent": "ocrmux",
	}
	for name, values := range head {
		if want[name] != values[0] {
			t.Errorf("header %s: %q, want %q", name, values, want[name])
		}
	}
	if string(got[0].Body) != string(chat(true).Body.(*body).text) || got[0].Path != "/v1/chat/completions" {
		t.Errorf("%s with %q, want the body as it was given", got[0].Path, got[0].Body)
	}
}

func TestPool_RetriesOnceElsewhereAfterA500(t *testing.T) {
	s := newStand(t, 2, nil)
	s.fault(0, sim.Faults{ErrorRate: 1})
	for s.sims[0].Stats().Received == 0 { // until one came to the failing one first
		var sink collector
		receipt, err := s.do(t.Context(), chat(true), &sink)
		if err != nil || receipt.Backend != "b1" || !sink.done {
			t.Fatalf("from %q: %v, want an answer from b1", receipt.Backend, err)
		}
		if failed := s.sims[0].Stats().Received > 0; failed && receipt.Attempts != 2 {
			t.Errorf("%d attempts, want 2", receipt.Attempts)
		}
	}
}

func TestPool_GivesUpAfterTwo500s(t *testing.T) {
	s := newStand(t, 3, nil)
	for i := range s.sims {
		s.fault(i, sim.Faults{ErrorRate: 1})
	}
	receipt, err := s.do(t.Context(), chat(true), &collector{})
	var status *backends.StatusError
	if !errors.As(err, &status) || status.Status != 500 || status.Err == nil {
		t.Fatalf("got %v, want the backend's 500", err)
	}
	if receipt.Attempts != 2 || s.received() != 2 {
		t.Errorf("%d attempts, %d arrived, want 2: no request may visit every backend", receipt.Attempts, s.received())
	}
	if strings.Contains(s.log.String(), "canary") {
		t.Errorf("the log tells: %s", s.log)
	}
}

func TestPool_NeverRetriesWhatTheBackendRefuses(t *testing.T) {
	for _, status := range []int{400, 404, 422, 429, 501} {
		s := newStand(t, 2, nil)
		for i := range s.sims {
			s.fault(i, sim.Faults{ErrorRate: 1, ErrorStatus: status})
		}
		for range 5 { // more than trip a breaker
			var refused *backends.StatusError
			receipt, err := s.do(t.Context(), chat(true), &collector{})
			if !errors.As(err, &refused) || refused.Status != status || receipt.Attempts != 1 {
				t.Errorf("status %d: %v after %d attempts, want it after 1", status, err, receipt.Attempts)
			}
		}
		for _, b := range s.Status().Backends {
			if b.Breaker != "closed" || b.State != "up" {
				t.Errorf("status %d: %s is %s, breaker %s: held against it", status, b.Name, b.State, b.Breaker)
			}
		}
	}
}

func TestPool_MovesWhatARefusedConnectionLost(t *testing.T) {
	s := newStand(t, 2, func(c *backends.Config) { c.ProbeInterval = time.Hour })
	_ = s.sims[0].Close()
	for range 8 {
		if _, err := s.do(t.Context(), chat(false), &collector{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPool_StartsAnewWhereNobodyHasSeenTheBeginning(t *testing.T) {
	for _, fault := range []string{"cut", "cut_chunk", "end", "error"} {
		s := newStand(t, 2, nil)
		for i := range s.sims {
			s.fault(i, sim.Faults{MidStream: fault, AfterEvents: 3, Count: 1})
		}
		s.fault(1, sim.Faults{})
		for s.sims[0].Stats().Received == 0 {
			var sink collector
			receipt, err := s.do(t.Context(), chat(true), &sink)
			if err != nil || !sink.done || sink.text == "" {
				t.Fatalf("%s: %v, want a complete answer", fault, err)
			}
			if len(sink.begins) != receipt.Attempts || sink.restarts != receipt.Attempts-1 {
				t.Errorf("%s: begun %d times, restarted %d times with %d attempts", fault, len(sink.begins), sink.restarts, receipt.Attempts)
			}
		}
	}
}

func TestPool_FailsForGoodWhatSomebodyHasSeen(t *testing.T) {
	wants := map[string]error{"cut": backends.ErrLost, "cut_chunk": backends.ErrLost, "end": backends.ErrMalformed, "error": nil}
	for fault, want := range wants {
		s := newStand(t, 2, nil)
		for i := range s.sims {
			s.fault(i, sim.Faults{MidStream: fault, AfterEvents: 3})
		}
		sink := collector{commits: true}
		receipt, err := s.do(t.Context(), chat(true), &sink)
		var status *backends.StatusError
		if want != nil && !errors.Is(err, want) || want == nil && !errors.As(err, &status) {
			t.Errorf("%s: %v, want %v", fault, err, want)
		}
		if receipt.Attempts != 1 || s.received() != 1 {
			t.Errorf("%s: %d attempts after somebody saw the beginning, want 1", fault, receipt.Attempts)
		}
		if sink.done || len(sink.events) != 3 {
			t.Errorf("%s: sink got %d events, want the 3 before the fault and no [DONE]", fault, len(sink.events))
		}
	}
}

func TestPool_CallsNothingCompleteThatEndedShort(t *testing.T) {
	for _, stream := range []bool{true, false} {
		for _, fault := range []string{"cut", "cut_chunk", "end"} {
			s := newStand(t, 1, nil)
			s.fault(0, sim.Faults{MidStream: fault, AfterEvents: 4})
			_, err := s.do(t.Context(), chat(stream), &collector{})
			if !errors.Is(err, backends.ErrLost) && !errors.Is(err, backends.ErrMalformed) {
				t.Errorf("%s, stream %v: %v, want it lost or broken", fault, stream, err)
			}
		}
	}
}

func TestPool_CallsNothingCompleteThatIsNotTheDialect(t *testing.T) {
	const finished = `data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}` + "\n\n"
	const begun = `data: {"choices":[{"index":0,"delta":{"content":"a"}}]}` + "\n\n"
	const done = "data: [DONE]\n\n"
	cases := []struct {
		name, contentType, answer string
		stream                    bool
	}{
		{"[DONE] without a finish_reason", "text/event-stream", begun + done, true},
		{"[DONE] alone", "text/event-stream", done, true},
		{"a finish_reason without [DONE]", "text/event-stream", finished, true},
		{"an event that is no JSON", "text/event-stream", "data: {\"choi\n\n" + finished + done, true},
		{"JSON in place of a stream", "application/json", `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}`, true},
		{"HTML in place of a stream", "text/html", "<html>", true},
		{"HTML in place of JSON", "text/html", "<html>", false},
		{"JSON without an end", "application/json", `{"choices":[{"index":0,"message":{"content":"a"}}]}`, false},
		{"half of a JSON", "application/json", `{"choices":[{"index":0,"message":{"content":"a"},"fini`, false},
		{"nothing", "application/json", "", false},
	}
	for _, c := range cases {
		s := newStandBefore(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", c.contentType)
			_, _ = w.Write([]byte(c.answer))
		})
		var sink collector
		if _, err := s.do(t.Context(), chat(c.stream), &sink); !errors.Is(err, backends.ErrMalformed) {
			t.Errorf("%s: %v, want %v", c.name, err, backends.ErrMalformed)
		}
		if begins := c.stream && c.contentType == "text/event-stream"; sink.done || begins != (len(sink.begins) == 1) {
			t.Errorf("%s: the sink was begun %d times, done %v", c.name, len(sink.begins), sink.done)
		}
	}
	s := newStandBefore(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = w.Write([]byte(": comment\r\n\r\n" + finished + done + "data: trailing nonsense\n\n"))
	})
	if _, err := s.do(t.Context(), chat(true), &collector{}); err != nil {
		t.Errorf("the good one of the kind: %v", err)
	}
}

func TestPool_EndsWithTheSinksOwnError(t *testing.T) {
	s := newStand(t, 1, nil)
	enough := errors.New("enough")
	for range 4 {
		if _, err := s.do(t.Context(), chat(true), &collector{fail: enough}); err != enough {
			t.Fatalf("got %v, want the sink's error", err)
		}
	}
	if b := s.Status().Backends[0]; b.Breaker != "closed" || b.State != "up" {
		t.Errorf("%+v: the sink's error was held against the backend", b)
	}
	s.idle()
}

func TestPool_FreesTheSlotOfASinkThatPanics(t *testing.T) {
	s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight = 1 })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = s.Do(t.Context(), chat(true), &collector{onTake: func() { panic("sink") }})
	}()
	s.idle()
	if _, err := s.do(t.Context(), chat(true), &collector{}); err != nil {
		t.Fatal(err)
	}
}

func TestPool_CancelsTheBackendsWorkInEveryPhase(t *testing.T) {
	phases := map[string]struct {
		fault  sim.Faults
		stream bool
	}{
		"before the head":          {sim.Faults{Hang: true}, true},
		"in the middle":            {sim.Faults{MidStream: "hang", AfterEvents: 3}, true},
		"whole, before the head":   {sim.Faults{Hang: true}, false},
		"whole, inside the answer": {sim.Faults{MidStream: "hang"}, false},
	}
	for name, phase := range phases {
		s := newStand(t, 2, nil)
		for i := range s.sims {
			s.fault(i, phase.fault)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		sink := &collector{}
		ended := make(chan error, 1)
		go func() {
			_, err := s.do(ctx, chat(phase.stream), sink)
			ended <- err
		}()
		eventually(t, name, func() bool {
			return s.received() == 1 && (phase.fault.AfterEvents == 0 || sink.count() == 3)
		})
		left := errors.New("the client left")
		cancel(left)
		if err := <-ended; err != left {
			t.Errorf("%s: %v, want the context's cause", name, err)
		}
		eventually(t, name+": the work is aborted", func() bool {
			return s.sims[0].Stats().Aborted+s.sims[1].Stats().Aborted == 1
		})
		for _, b := range s.Status().Backends {
			if b.State != "up" || b.Breaker != "closed" || b.InFlight != 0 {
				t.Errorf("%s: %+v: held against the backend", name, b)
			}
		}
	}
}

func TestPool_ForgetsAQueuedRequestWhoseCallerLeaves(t *testing.T) {
	s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight = 1 })
	release := s.hold()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(ctx, chat(true), &collector{})
		ended <- err
	}()
	eventually(t, "it waits", func() bool { return s.Status().Queued == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if s.received() != 1 {
		t.Errorf("%d requests reached the backend, want only the one before", s.received())
	}
	release()
	s.idle()
}

// hold fills the only slot of the only backend until release is called.
func (s *stand) hold() (release func()) {
	s.t.Helper()
	s.fault(0, sim.Faults{MidStream: "hang", AfterEvents: 1, Count: 1})
	ended := make(chan error, 1)
	go func() {
		_, err := s.Do(context.Background(), chat(true), &collector{})
		ended <- err
	}()
	eventually(s.t, "the slot is taken", func() bool { return s.received() == 1 })
	return func() {
		s.fault(0, sim.Faults{})
		if err := <-ended; err != nil {
			s.t.Errorf("the request that held the slot: %v", err)
		}
	}
}

func TestPool_IsBusyWhenTheWaitTakesTooLong(t *testing.T) {
	s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight = 1 })
	release := s.hold()
	r := chat(true)
	r.QueueFor = 30 * time.Millisecond
	receipt, err := s.do(t.Context(), r, &collector{})
	if err != backends.ErrBusy {
		t.Errorf("got %v, want %v", err, backends.ErrBusy)
	}
	if receipt.Queue < r.QueueFor || receipt.Attempts != 0 || receipt.Backend != "" {
		t.Errorf("receipt %+v, want the wait and no attempt", receipt)
	}
	release()
}

func TestPool_IsBusyWhenTheQueueIsFull(t *testing.T) {
	s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight, c.MaxQueue = 1, 1 })
	release := s.hold()
	waiting := make(chan error, 1)
	go func() {
		_, err := s.do(t.Context(), chat(true), &collector{})
		waiting <- err
	}()
	eventually(t, "one waits", func() bool { return s.Status().Queued == 1 })
	if _, err := s.do(t.Context(), chat(true), &collector{}); err != backends.ErrBusy {
		t.Errorf("got %v, want %v", err, backends.ErrBusy)
	}
	release()
	if err := <-waiting; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

func TestPool_LetsNoTenantKeepOthersOutOfTheQueue(t *testing.T) {
	s := newStand(t, 1, func(c *backends.Config) { c.Backends[0].MaxInFlight, c.MaxQueue = 1, 2 })
	release := s.hold()
	ask := func(tenant string) <-chan error {
		ended := make(chan error, 1)
		go func() {
			r := chat(true)
			r.Tenant = tenant
			_, err := s.do(t.Context(), r, &collector{})
			ended <- err
		}()
		return ended
	}
	first := ask("flood")
	eventually(t, "one waits", func() bool { return s.Status().Queued == 1 })
	second := ask("flood")
	eventually(t, "two wait", func() bool { return s.Status().Queued == 2 })
	guest := ask("guest")
	if err := <-second; err != backends.ErrBusy {
		t.Errorf("the flood's last: %v, want %v", err, backends.ErrBusy)
	}
	release()
	for name, ended := range map[string]<-chan error{"flood": first, "guest": guest} {
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPool_IsUnavailableAtOnceWhenAllAreDown(t *testing.T) {
	s := newStand(t, 2, nil)
	for i := range s.sims {
		_ = s.sims[i].Close()
	}
	eventually(t, "all are down", func() bool {
		st := s.Status()
		return st.Backends[0].State == "down" && st.Backends[1].State == "down"
	})
	if s.Usable(model) {
		t.Error("usable without a backend")
	}
	began := time.Now()
	if _, err := s.do(t.Context(), chat(true), &collector{}); err != backends.ErrUnavailable {
		t.Errorf("got %v, want %v", err, backends.ErrUnavailable)
	}
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("took %v, want at most 50 ms", took)
	}
}
