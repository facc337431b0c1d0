package balancer

// Policy names how a ticket's backend is chosen among those that can take it.
type Policy = string

const (
	LeastLoaded Policy = "least_loaded" // fewest attempts in flight
	RoundRobin  Policy = "round_robin"  // one after the other
)

// chooser returns the backend on which the ticket starts now, nil for none.
type chooser func(*Balancer, *Ticket) *backend

var choosers = map[Policy]chooser{
	LeastLoaded: leastLoaded,
	RoundRobin:  roundRobin,
}

// leastLoaded looks at all backends, beginning anywhere: among equals none is
// preferred, so that several routers do not all fill the same one first.
func leastLoaded(b *Balancer, t *Ticket) *backend {
	var best *backend
	i := b.random.IntN(len(b.backends))
	for range b.backends {
		be := b.backends[i]
		if i++; i == len(b.backends) {
			i = 0
		}
		if (best == nil || be.running.n < best.running.n) && be.fits(t) {
			best = be
		}
	}
	return best
}

func roundRobin(b *Balancer, t *Ticket) *backend {
	for i := range b.backends {
		at := (b.turn + i) % len(b.backends)
		if be := b.backends[at]; be.fits(t) {
			b.turn = (at + 1) % len(b.backends)
			return be
		}
	}
	return nil
}
