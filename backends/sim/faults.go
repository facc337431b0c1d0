package sim

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json"
)

// Faults is what is wrong with the server at the moment. The zero value is a
// healthy one. Faults combine; /sim/ itself always works.
type Faults struct {
	// Refuse resets every connection that brings a request, before reading it.
	Refuse bool `json:"refuse,omitzero"`

	// ErrorRate is the share of completion requests, 0 to 1, that are answered
	// with ErrorStatus (default 500) in ErrorShape.
	ErrorRate   float64 `json:"error_rate,omitzero"`
	ErrorStatus int     `json:"error_status,omitzero"`
	// ErrorShape is the body: vllm (default), flat ({"object":"error",...}, older
	// builds), string ({"error":"Unauthorized"}), detail (FastAPI), html (a
	// proxy's), empty, or broken (JSON cut short).
	ErrorShape string `json:"error_shape,omitzero"`

	// Hang takes completion requests and answers nothing until they are given up
	// or the faults change.
	Hang bool `json:"hang,omitzero"`

	// MidStream happens to an answer after AfterEvents of its events, to a whole
	// (non-streaming) answer after half of its bytes: hang; cut (the connection,
	// between two chunks); cut_chunk (inside a chunk); end (a clean end of the
	// body too early); error (a stream: an error event and [DONE]; a whole
	// answer: a 500).
	MidStream   string `json:"mid_stream,omitzero"`
	AfterEvents int    `json:"after_events,omitzero"`

	// Slow multiplies every service time. Zero is 1.
	Slow float64 `json:"slow,omitzero"`
	// Loop lets every answer run to its length limit.
	Loop bool `json:"loop,omitzero"`

	// Health is what /health does: fail (503), hang, or ok (200 even while
	// Refuse resets everything else). Empty: what the server does.
	Health string `json:"health,omitzero"`

	// Count limits the faults, Health apart, to the next Count completion
	// requests. Zero: no limit.
	Count int `json:"count,omitzero"`
}

func (f Faults) check() error {
	oneOf := func(key, got string, allowed ...string) error {
		for _, a := range allowed {
			if got == a {
				return nil
			}
		}
		return fmt.Errorf("%s: %q is not one of %q", key, got, allowed[1:])
	}
	if f.ErrorRate < 0 || f.ErrorRate > 1 {
		return fmt.Errorf("error_rate: %v is not between 0 and 1", f.ErrorRate)
	}
	if f.ErrorStatus != 0 && (f.ErrorStatus < 200 || f.ErrorStatus > 599) {
		return fmt.Errorf("error_status: %d is not between 200 and 599", f.ErrorStatus)
	}
	if f.Slow < 0 || f.AfterEvents < 0 || f.Count < 0 {
		return fmt.Errorf("slow, after_events and count cannot be negative")
	}
	if err := oneOf("error_shape", f.ErrorShape, "", "vllm", "flat", "string", "detail", "html", "empty", "broken"); err != nil {
		return err
	}
	if err := oneOf("mid_stream", f.MidStream, "", "hang", "cut", "cut_chunk", "end", "error"); err != nil {
		return err
	}
	return oneOf("health", f.Health, "", "fail", "hang", "ok")
}

// SetFaults replaces all faults; requests that hang go on.
func (s *Server) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	s.faults.set(f)
	return nil
}

func (s *Server) handleFaults(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		var f Faults
		err := json.UnmarshalRead(http.MaxBytesReader(w, r.Body, 64<<10), &f, json.RejectUnknownMembers(true))
		if err == nil {
			err = s.SetFaults(f)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
	}
	f, _ := s.faults.now()
	writeJSON(w, http.StatusOK, f)
}

// faultSwitch holds the faults and wakes who hangs when they change.
type faultSwitch struct {
	mu      sync.Mutex
	faults  Faults
	left    int // requests that Count still allows; meaningful when Count > 0
	changed chan struct{}
	rng     *rand.Rand
}

func (x *faultSwitch) init(seed uint64) {
	x.changed = make(chan struct{})
	x.rng = rand.New(rand.NewPCG(seed, 3))
}

func (x *faultSwitch) set(f Faults) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.faults, x.left = f, f.Count
	close(x.changed)
	x.changed = make(chan struct{})
}

// now returns the faults in force and the channel that closes when they change.
func (x *faultSwitch) now() (Faults, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.inForce(), x.changed
}

func (x *faultSwitch) inForce() Faults {
	f := x.faults
	if f.Count > 0 {
		if x.left == 0 {
			return Faults{Health: f.Health}
		}
		f.Count = x.left
	}
	return f
}

// take is now for one completion request: it counts it and rolls ErrorRate,
// which it returns as 0 or 1.
func (x *faultSwitch) take() (Faults, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.inForce()
	if f.ErrorRate > 0 {
		if x.rng.Float64() < f.ErrorRate {
			f.ErrorRate = 1
		} else {
			f.ErrorRate = 0
		}
	}
	if x.left > 0 {
		x.left--
	}
	return f, x.changed
}

// refusing resets connections while Refuse is on. It stands before everything
// but /sim/.
func (s *Server) refusing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, _ := s.faults.now()
		if !f.Refuse || f.Health == "ok" && r.URL.Path == "/health" {
			next.ServeHTTP(w, r)
			return
		}
		if isCompletion(r) {
			s.faults.take()
		}
		reset(w)
	})
}

func isCompletion(r *http.Request) bool {
	return r.Method == http.MethodPost &&
		(r.URL.Path == "/v1/chat/completions" || r.URL.Path == "/v1/completions" || r.URL.Path == "/v1/responses")
}

// reset closes the connection with a TCP reset where there is one.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// hang waits for the faults to change or for done, the client's leaving.
func hang(done, changed <-chan struct{}) {
	select {
	case <-done:
	case <-changed:
	}
}

// writeFault answers what ErrorStatus and ErrorShape say.
func writeFault(w http.ResponseWriter, f Faults) {
	status := f.ErrorStatus
	if status == 0 {
		status = http.StatusInternalServerError
	}
	e := &apiError{status, "InternalServerError", "injected fault", ""}
	if status == http.StatusServiceUnavailable {
		e.kind = "ServiceUnavailableError"
	}
	switch f.ErrorShape {
	case "flat":
		writeJSON(w, status, struct {
			Object string `json:"object"`
			errorInfo
		}{"error", e.body().Error})
	case "string":
		writeJSON(w, status, map[string]string{"error": "Unauthorized"})
	case "detail":
		writeJSON(w, status, map[string]string{"detail": "injected fault"})
	case "html":
		writeBytes(w, status, "text/html", []byte("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"))
	case "empty":
		w.WriteHeader(status)
	case "broken":
		writeBytes(w, status, "application/json", []byte(`{"id":"chatcmpl-broken","object":"chat.completion","choi`))
	default:
		writeJSON(w, status, e.body())
	}
}
