package e2e_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// answers are of the lengths that real pages have, or shorter ones, so that the
// short form is over soon.
func answers() timing {
	if *soak {
		return timing{first: 100 * time.Millisecond, token: 50 * time.Millisecond, shortest: 10, most: 98} // 0.55 to 4.95 s
	}
	return timing{first: 100 * time.Millisecond, token: 30 * time.Millisecond, shortest: 16, most: 60} // 0.55 to 1.87 s
}

const (
	askers   = 64
	atLeast  = 8 // requests that a victim holds
	noCache  = "cache: {max_bytes: 0}"
	latePage = 5 * time.Second // beyond twice its own work
)

func fourBackends(t *testing.T) (*stand.Stand, *load) {
	m := answers()
	s := stand.New(t, stand.Options{Backends: 4, Sim: m.args(), Config: noCache})
	c := newClient(t, s.Routers[0].URL, s.Key)
	pages := learn(t, s, c, m, 40)
	return s, readers(t, c, pages, askers)
}

// holds waits until a backend works on enough, and says on how much.
func holds(t *testing.T, s *stand.Stand, victim int) int64 {
	t.Helper()
	var n int64
	stand.Eventually(t, fmt.Sprintf("backend %d holds %d requests", victim, atLeast), func() bool {
		n = s.Backends[victim].Stats(t).InProgress
		return n >= atLeast
	})
	return n
}

func TestSoak_NothingIsLostWhenABackendIsKilled(t *testing.T) {
	t.Parallel()
	s, l := fourBackends(t)
	var held []int64
	for round := range form(3, 20) {
		victim := s.Backends[round%4]
		held = append(held, holds(t, s, round%4))
		victim.Kill(t)
		victim.Restart(t)
		stand.Eventually(t, "the killed backend gets work again", func() bool { return victim.Stats(t).Received > 0 })
		// A request survives two backends, by design, not three that die in its time.
		l.settle(t)
	}
	all := l.stop()
	again, _ := tally(t, all)
	t.Logf("kill -9: %d kills, victims held %d to %d requests, %d requests of %d clients, %d of them with another attempt",
		len(held), slices.Min(held), slices.Max(held), len(all), askers, again)
	if again < len(held) {
		t.Errorf("%d requests had another attempt: the kills hit nobody", again)
	}
}

func TestSoak_NothingIsLostOrLateWhenABackendStandsStill(t *testing.T) {
	t.Parallel()
	s, l := fourBackends(t)
	router := s.Routers[0]
	var held []int64
	for round := range form(3, 20) {
		i := round % 4
		victim := s.Backends[i]
		held = append(held, holds(t, s, i))
		victim.Signal(t, syscall.SIGSTOP)
		stand.Eventually(t, "the work of the stopped backend is moved", func() bool { return router.Status(t)[i].InFlight == 0 })
		victim.Signal(t, syscall.SIGCONT)
		received := victim.Stats(t).Received
		stand.Eventually(t, "the stopped backend gets work again", func() bool { return victim.Stats(t).Received > received })
		l.settle(t) // so that each request meets one stop at most
	}
	all := l.stop()
	again, excess := tally(t, all)
	t.Logf("SIGSTOP: %d stops, victims held %d to %d requests, %d requests of %d clients, %d of them with another attempt; the slowest took %.2f s beyond twice its own work",
		len(held), slices.Min(held), slices.Max(held), len(all), askers, again, excess.Seconds())
	if again < len(held) {
		t.Errorf("%d requests had another attempt: the stops hit nobody", again)
	}
	if excess > latePage {
		t.Errorf("a request took %s beyond twice its own work, want at most %s", excess, latePage)
	}
}
