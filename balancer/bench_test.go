package balancer_test

import (
	"fmt"
	"testing"
	"time"

	"ocrmux/balancer"
)

// BenchmarkArriveDone is one request on a pool that is half full: its start,
// a byte, its end.
func BenchmarkArriveDone(b *testing.B) {
	for _, n := range []int{4, 16, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pool, now := benchPool(n, n*32)
			t := &balancer.Ticket{Model: "ocr", Deadline: now.Add(time.Hour)}
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Millisecond)
				pool.Arrive(now, t)
				pool.Progress(now, t)
				pool.Done(now, t, balancer.Success, false)
			}
		})
	}
}

// BenchmarkDoneWithAQueue frees one slot of a full pool with a thousand
// tickets waiting: the first of them starts, and the one that ended waits again.
func BenchmarkDoneWithAQueue(b *testing.B) {
	for _, n := range []int{16, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pool, now := benchPool(n, n*64-1)
			ring := make([]*balancer.Ticket, 1001)
			for i := range ring {
				ring[i] = &balancer.Ticket{Model: "ocr", Deadline: now.Add(time.Hour)}
				pool.Arrive(now, ring[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				now = now.Add(time.Millisecond)
				pool.Done(now, ring[i], balancer.Success, false)
				ring[i].Deadline = now.Add(time.Hour)
				pool.Arrive(now, ring[i])
				i = (i + 1) % len(ring)
			}
		})
	}
}

// BenchmarkDoneWithManyTenants is the same with each ticket of another tenant,
// weighing 1 to 4.
func BenchmarkDoneWithManyTenants(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			turn := manyTenants(n)
			b.ReportAllocs()
			for b.Loop() {
				turn()
			}
		})
	}
}

// manyTenants returns a function that ends the oldest of the tickets of a full
// pool, and lets it arrive again.
func manyTenants(n int) (turn func()) {
	pool, now := benchPool(16, 16*64-1)
	ring := make([]*balancer.Ticket, 1001)
	for i := range ring {
		ring[i] = &balancer.Ticket{Tenant: fmt.Sprint(i % n), Weight: float64(1 + i%n%4), Model: "ocr", Deadline: now.Add(time.Hour)}
	}
	var running []*balancer.Ticket
	start := func(effects []balancer.Effect) {
		for _, e := range effects {
			if e.Kind == balancer.Start {
				running = append(running, e.Ticket)
			}
		}
	}
	for _, t := range ring {
		start(pool.Arrive(now, t))
	}
	return func() {
		now = now.Add(time.Millisecond)
		t := running[0]
		running = append(running[:0], running[1:]...)
		start(pool.Done(now, t, balancer.Success, false))
		t.Deadline = now.Add(time.Hour)
		start(pool.Arrive(now, t))
	}
}

func TestDecision_AllocatesNothingWithAQueue(t *testing.T) {
	for _, tenants := range []int{1, 10, 1000} {
		turn := manyTenants(tenants)
		for range 5000 {
			turn()
		}
		if n := testing.AllocsPerRun(5000, turn); n != 0 {
			t.Errorf("%d tenants: %v allocations a request", tenants, n)
		}
	}
}

// TestDecision_AllocatesNothing proves it for the benchmark's steady state.
func TestDecision_AllocatesNothing(t *testing.T) {
	pool, now := benchPool(16, 16*32)
	ticket := &balancer.Ticket{Model: "ocr", Deadline: now.Add(time.Hour)}
	if n := testing.AllocsPerRun(1000, func() {
		pool.Arrive(now, ticket)
		pool.Progress(now, ticket)
		pool.Done(now, ticket, balancer.Success, false)
		pool.Tick(now)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// benchPool has n backends of 64 slots, and so many tickets on them.
func benchPool(n, held int) (*balancer.Balancer, time.Time) {
	cfg := balancer.Config{MaxQueue: 2000}
	for i := range n {
		cfg.Backends = append(cfg.Backends, balancer.Backend{Name: fmt.Sprint(i), MaxInFlight: 64})
	}
	pool, now := balancer.New(cfg, 1), time.Unix(1000, 0)
	for _, be := range cfg.Backends {
		pool.Serves(now, be.Name, []string{"ocr"})
		pool.Probe(now, be.Name, balancer.ProbeStarted)
		pool.Probe(now, be.Name, balancer.ProbeSucceeded)
	}
	for range held {
		pool.Arrive(now, &balancer.Ticket{Model: "ocr", Deadline: now.Add(time.Hour)})
	}
	return pool, now
}
