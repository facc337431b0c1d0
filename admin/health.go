package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"ocrmux/backends"
)

// Check is one thing that /readyz?verbose tells. It does not decide whether the
// router is ready: a broken key file, say, leaves the last good one in force.
type Check struct {
	Name string
	// Err says what is wrong, or nil. It must be quick and hold no secret.
	Err func() error
}

// livez answers as long as the process does.
func (s *server) livez(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") }

// readyz says whether new work is welcome and, where it is asked for more, how
// each part is, in the form that Kubernetes made common.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	err := s.deps.Ready()
	status := http.StatusOK
	if err != nil {
		status = http.StatusServiceUnavailable
	}
	switch {
	case r.URL.Query().Has("verbose"):
		writeText(w, status, s.verbose(err))
	case err != nil:
		writeText(w, status, plain(err)+"\n")
	default:
		writeText(w, status, "ok\n")
	}
}

func (s *server) verbose(ready error) string {
	var b strings.Builder
	line := func(name string, err error) {
		if err == nil {
			fmt.Fprintf(&b, "[+]%s ok\n", name)
		} else {
			fmt.Fprintf(&b, "[-]%s failed: %s\n", name, plain(err))
		}
	}
	line("ready", ready)
	for _, check := range s.deps.Checks {
		line(check.Name, check.Err())
	}
	for _, pool := range s.deps.Pools() {
		for _, be := range pool.Status().Backends {
			line("backend "+be.Name, backendError(be))
		}
	}
	if ready == nil {
		b.WriteString("readyz check passed\n")
	} else {
		b.WriteString("readyz check failed\n")
	}
	return b.String()
}

// backendError says why a backend gets no new work, or nil.
func backendError(be backends.BackendStatus) error {
	var why []string
	if be.State != "up" {
		why = append(why, be.State)
	}
	if be.Breaker == "open" {
		why = append(why, "breaker open")
	}
	if be.Cordoned {
		why = append(why, "cordoned")
	}
	if why == nil {
		return nil
	}
	return errors.New(strings.Join(why, ", "))
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
