package auth_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"ocrmux/auth"
)

const (
	everyLimit = "{requests_per_minute: 1000000000, images_per_minute: 1000000000, megapixels_per_minute: 1000000000, tokens_per_minute: 1000000000, in_progress: 1000}"
	page       = 40_000 // pixels; small, so that no limit is reached
)

// limitedEverywhere returns a gate with every limit there can be, for the
// tenants, their keys, routes and the whole, and a good key.
func limitedEverywhere(tb testing.TB, tenants, keys int) (*auth.Gate, string) {
	tb.Helper()
	path, key := manyKeys(tb, tenants, keys)
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	text := strings.ReplaceAll(string(content), "limits: {requests_per_minute: 1000000000, in_progress: 1000}",
		"quota: {pages_per_month: 1000000000, tokens_per_month: 1000000000000}, limits: "+everyLimit)
	text = strings.ReplaceAll(strings.TrimRight(text, "\n")+"\n    limits: "+everyLimit+"\n", `"}`+"\n", `", limits: `+everyLimit+"}\n")
	gate := newGate(tb, writeFile(tb, text), auth.Deps{})
	all := auth.Limits{RequestsPerMinute: 1e9, ImagesPerMinute: 1e9, MegapixelsPerMinute: 1e9, TokensPerMinute: 1e9, InProgress: 1e6}
	gate.SetCeilings(auth.Ceilings{All: all, Routes: map[string]auth.Limits{"chat": all}})
	return gate, key
}

// admission is all that a page costs at the door and behind it: key look-up,
// every limit of tenant, key, route and the whole, a slot of each, the month's
// quota, the settling of what it really took, and the release.
func admission(tb testing.TB, gate *auth.Gate, key string) {
	id, err := gate.Identify(key, remote)
	if err != nil {
		tb.Fatal(err)
	}
	lease, err := gate.Admit(context.Background(), id, "chat")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := lease.Charge(context.Background(), auth.Work{Images: 1, Pixels: page, Prompt: 9, Generated: id.Expects(1, 9)}); err != nil {
		tb.Fatal(err)
	}
	lease.Settle(auth.Work{Images: 1, Pixels: page, Prompt: 9, Generated: 6})
	lease.Release()
}

// The price of admission with 10,000 keys of 1,000 tenants.
func BenchmarkAdmission(b *testing.B) {
	gate, key := limitedEverywhere(b, 1000, 10_000)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			admission(b, gate, key)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				admission(b, gate, key)
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
		lease, err := gate.Admit(context.Background(), id, "chat")
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

func TestAdmission_AllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	gate, key := limitedEverywhere(t, 10, 100)
	if got := testing.AllocsPerRun(1000, func() { admission(t, gate, key) }); got != 0 {
		t.Errorf("%v allocations a request", got)
	}
}
