package auth_test

import (
	"context"
	"testing"

	"ocrmux/auth"
)

// The price of a request at the door: key look-up, limit of requests, slot and
// release, with 10,000 keys of 1,000 tenants.
func BenchmarkIdentifyAdmitRelease(b *testing.B) {
	path, key := manyKeys(b, 1000, 10_000)
	gate := newGate(b, path, auth.Deps{})
	work := func() {
		id, err := gate.Identify(key, remote)
		if err != nil {
			b.Fatal(err)
		}
		lease, err := gate.Admit(context.Background(), id)
		if err != nil {
			b.Fatal(err)
		}
		lease.Release()
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			work()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				work()
			}
		})
	})
}

func BenchmarkAnonymousAdmitRelease(b *testing.B) {
	gate := newGate(b, writeFile(b, "tenants: [{name: anonymous, limits: {requests_per_minute: 1000000000, in_progress: 64}}]\n"), auth.Deps{})
	b.ReportAllocs()
	for b.Loop() {
		id, err := gate.Anonymous(remote)
		if err != nil {
			b.Fatal(err)
		}
		lease, err := gate.Admit(context.Background(), id)
		if err != nil {
			b.Fatal(err)
		}
		lease.Release()
	}
}

func BenchmarkIdentifyWrongKey(b *testing.B) {
	path, good := manyKeys(b, 1000, 10_000)
	gate := newGate(b, path, auth.Deps{})
	key := checksummed(good[:len("sk-ocr-")+8] + "-" + "00000000000000000000000000000000000000000000000000zz")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gate.Identify(key, remote); err == nil {
			b.Fatal("admitted")
		}
	}
}

func TestIdentifyAdmitRelease_AllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	path, key := manyKeys(t, 10, 100)
	gate := newGate(t, path, auth.Deps{})
	if got := testing.AllocsPerRun(1000, func() {
		id, _ := gate.Identify(key, remote)
		lease, _ := gate.Admit(context.Background(), id)
		lease.Release()
	}); got != 0 {
		t.Errorf("%v allocations a request", got)
	}
}
