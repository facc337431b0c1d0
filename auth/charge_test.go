package auth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/auth"
	"ocrmux/auth/authtest"
)

func admit(t testing.TB, gate *auth.Gate, id *auth.Identity) auth.Lease {
	t.Helper()
	lease, err := gate.Admit(context.Background(), id, "ocr")
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func TestCharge_AdmitsTenOfSixtyFourCallers(t *testing.T) {
	for _, settings := range []string{
		"limits: {images_per_minute: 20}",
		"limits: {megapixels_per_minute: 80}",
		"limits: {tokens_per_minute: 15000}",
		"quota: {pages_per_month: 20}",
		"quota: {tokens_per_month: 15999}",
	} {
		t.Run(settings, func(t *testing.T) {
			gate, id := oneTenant(t, settings, auth.Deps{})
			got := authtest.OfSixtyFour(func() bool {
				lease := admit(t, gate, id)
				defer lease.Release()
				_, err := lease.Charge(context.Background(), auth.Work{Images: 2, Pixels: 8e6, Prompt: 900, Generated: 600})
				return err == nil
			})
			if got != 10 {
				t.Errorf("%d admitted", got)
			}
		})
	}
}

func TestCharge_TakesTheTighterOfKeyAndTenant(t *testing.T) {
	path := writeFile(t, "tenants:\n  - {name: acme, limits: {images_per_minute: 10}}\n")
	wide, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	tight, entry := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	rewrite(t, path, "id: "+entry.ID, "id: "+entry.ID+"\n    limits: {images_per_minute: 3, requests_per_minute: 5, in_progress: 1}")
	gate := newGate(t, path, auth.Deps{})
	one := auth.Work{Images: 1}
	charge := func(key string) error {
		lease, err := gate.Admit(t.Context(), identify(t, gate, key), "ocr")
		if err != nil {
			return err
		}
		defer lease.Release()
		standing, err := lease.Charge(t.Context(), one)
		if err == nil && key == tight && (standing.Images.Limit != 3 || standing.Requests.Limit != 5) {
			t.Errorf("the standing is not the key's: %+v", standing)
		}
		return err
	}
	for i := range 5 {
		if err := charge(tight); (err == nil) != (i < 3) || err != nil && limitOf(err) != auth.LimitImages {
			t.Fatalf("request %d of the tight key: %v", i, err)
		}
	}
	for i := range 8 {
		if err := charge(wide); (err == nil) != (i < 7) || err != nil && limitOf(err) != auth.LimitImages {
			t.Fatalf("request %d of the wide key: %v", i, err)
		}
	}
	held := admit(t, gate, identify(t, gate, tight))
	if _, err := gate.Admit(t.Context(), identify(t, gate, tight), "ocr"); limitOf(err) != auth.LimitInProgress {
		t.Errorf("two in progress of a key that may have one: %v", err)
	}
	admit(t, gate, identify(t, gate, wide)).Release()
	held.Release()
}

func TestCharge_RefusesAllOrNothingAndSaysWhatWouldFit(t *testing.T) {
	clock := authtest.NewClock()
	gate, id := oneTenant(t, "limits: {requests_per_minute: 2, images_per_minute: 8, megapixels_per_minute: 100}", auth.Deps{Now: clock.Now})
	first := admit(t, gate, id)
	if _, err := first.Charge(t.Context(), auth.Work{Images: 5, Pixels: 10e6}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(10 * time.Second)
	ask := auth.Work{Images: 4, Pixels: 20e6}
	var wait time.Duration
	for range 3 { // a refusal gives its request back, so there is always one left
		second := admit(t, gate, id)
		var limit *auth.LimitError
		if _, err := second.Charge(t.Context(), ask); !errors.As(err, &limit) {
			t.Fatal(err)
		}
		if limit.Limit != auth.LimitImages || limit.Room.Images != 3 || limit.Room.Pixels != 90e6 || limit.Never {
			t.Errorf("%+v", limit)
		}
		if limit.RetryAfter != 50*time.Second {
			t.Errorf("to be tried again in %s", limit.RetryAfter)
		}
		wait = limit.RetryAfter
		second.Release()
	}
	clock.Advance(wait)
	third := admit(t, gate, id)
	if _, err := third.Charge(t.Context(), ask); err != nil {
		t.Errorf("after the wait that was named: %v", err)
	}
	third.Settle(auth.Work{})
	third.Refund()
	third.Release()
	var limit *auth.LimitError
	if _, err := admit(t, gate, id).Charge(t.Context(), auth.Work{Images: 9}); !errors.As(err, &limit) || !limit.Never {
		t.Errorf("more than the limit itself: %v", err)
	}
}

func TestSettle_GivesBackWhatWasNotTakenAndRecordsDebts(t *testing.T) {
	clock := authtest.NewClock()
	gate, id := oneTenant(t, "limits: {tokens_per_minute: 3000}, quota: {tokens_per_month: 100000}", auth.Deps{Now: clock.Now})
	settle := func(estimate, used int64) auth.Standing {
		lease := admit(t, gate, id)
		standing, err := lease.Charge(t.Context(), auth.Work{Prompt: estimate})
		if err != nil {
			t.Fatal(err)
		}
		lease.Settle(auth.Work{Prompt: used})
		lease.Settle(auth.Work{}) // only the first counts
		lease.Release()
		return standing
	}
	if got := settle(2000, 500); got.Tokens.Remaining != 1000 {
		t.Errorf("charged: %+v", got)
	}
	if got := settle(1000, 4000); got.Tokens.Remaining != 1500 {
		t.Errorf("after a settlement below the estimate: %+v", got)
	}
	if got, _ := gate.Standing(t.Context(), id); got.Tokens.Remaining != 0 {
		t.Errorf("after a settlement above the limit: %+v", got)
	}
	var limit *auth.LimitError
	lease := admit(t, gate, id)
	if _, err := lease.Charge(t.Context(), auth.Work{Prompt: 1}); !errors.As(err, &limit) {
		t.Fatalf("with a debt: %v", err)
	}
	lease.Release()
	clock.Advance(limit.RetryAfter)
	settle(1, 1)
	if got := gate.Used(id).Tokens; got != 4501 {
		t.Errorf("%d tokens of the month are used, want 4501", got)
	}
}

func TestQuota_EndsWithTheMonthAndBeginsWithWhatWasUsed(t *testing.T) {
	clock := authtest.NewClock()
	gate, id := oneTenant(t, "quota: {pages_per_month: 10}", auth.Deps{
		Now:   clock.Now,
		Month: func(string) (int64, int64) { return 8, 0 },
	})
	charge := func(pages int64) error {
		lease := admit(t, gate, id)
		defer lease.Release()
		_, err := lease.Charge(t.Context(), auth.Work{Images: pages})
		return err
	}
	var quota *auth.QuotaError
	if err := charge(3); !errors.As(err, &quota) || quota.What != "pages" || !quota.Resets.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("beyond the quota: %v", err)
	}
	if err := charge(2); err != nil {
		t.Fatal(err)
	}
	if err := charge(1); !errors.As(err, &quota) {
		t.Fatalf("one page more: %v", err)
	}
	over := admit(t, gate, id) // in progress as the month ends
	clock.Advance(31 * 24 * time.Hour)
	if err := charge(10); err != nil {
		t.Errorf("in the next month: %v", err)
	}
	over.Settle(auth.Work{})
	over.Release()
	if got := gate.Used(id).Pages; got != 10 {
		t.Errorf("%d pages used", got)
	}
}

func TestCeilings_BoundWhatAllTenantsTakeTogether(t *testing.T) {
	path := writeFile(t, "tenants: [{name: a}, {name: b}]\n")
	a, _ := createKey(t, path, auth.KeyOptions{Tenant: "a"})
	b, _ := createKey(t, path, auth.KeyOptions{Tenant: "b"})
	gate := newGate(t, path, auth.Deps{})
	ceilings := auth.Ceilings{All: auth.Limits{InProgress: 3}, Routes: map[string]auth.Limits{"ocr": {InProgress: 2, ImagesPerMinute: 4}}}
	gate.SetCeilings(ceilings)
	ida, idb := identify(t, gate, a), identify(t, gate, b)
	first, second := admit(t, gate, ida), admit(t, gate, idb)
	refused := func(id *auth.Identity, route string) {
		t.Helper()
		var limit *auth.LimitError
		if _, err := gate.Admit(t.Context(), id, route); !errors.As(err, &limit) || !limit.Ceiling || limit.Limit != auth.LimitInProgress {
			t.Errorf("%s: %v", route, err)
		}
	}
	refused(ida, "ocr")
	third, err := gate.Admit(t.Context(), ida, "chat")
	if err != nil {
		t.Fatal(err)
	}
	refused(idb, "chat")
	gate.SetCeilings(ceilings) // what is in progress stays counted
	refused(idb, "chat")
	third.Release()
	second.Release()
	if standing, err := first.Charge(t.Context(), auth.Work{Images: 4}); err != nil || standing.Images.Limit != 0 {
		t.Errorf("%+v, %v: a ceiling is not the caller's to see", standing, err)
	}
	var limit *auth.LimitError
	if _, err := admit(t, gate, idb).Charge(t.Context(), auth.Work{Images: 1}); !errors.As(err, &limit) || !limit.Ceiling {
		t.Errorf("above the route's images: %v", err)
	}
}

func TestAdmit_KnowsTheRoutesOfATenant(t *testing.T) {
	gate, id := oneTenant(t, "routes: [chat, models]", auth.Deps{})
	for _, route := range auth.Routes {
		_, err := gate.Admit(t.Context(), id, route)
		if may := route == "chat" || route == "models"; (err == nil) != may || !may && !errors.Is(err, auth.ErrNoRoute) {
			t.Errorf("%s: %v", route, err)
		}
	}
}

func TestExpects_FollowsTheTenantsAnswers(t *testing.T) {
	_, id := oneTenant(t, "weight: 1", auth.Deps{})
	if got := id.Expects(2, 100); got != 200 {
		t.Errorf("two answers of at most 100 tokens: %d", got)
	}
	for range 200 {
		id.Learn(300)
	}
	if got := id.Expects(1, 0); got < 300 || got > 302 {
		t.Errorf("after many answers of 300 tokens: %d", got)
	}
}

// Whatever is charged, settled, refunded or refused, in whatever order: in no
// minute does more pass than the limit, and with the last request everything
// that was set apart is used or given back.
func TestCharge_HoldsUnderRandomSchedules(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for schedule := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, schedule))
			limit, quota := int64(10+random.IntN(30)), int64(200+random.IntN(200))
			gate, id := oneTenant(t, fmt.Sprintf("limits: {images_per_minute: %d, in_progress: 4}, quota: {pages_per_month: %d}", limit, quota), auth.Deps{})
			var mu sync.Mutex
			type passed struct {
				at    time.Time
				count int64
			}
			var all []passed
			var used int64
			var group sync.WaitGroup
			for range 300 {
				arrival := time.Duration(random.IntN(300_000)) * time.Millisecond
				work := time.Duration(random.IntN(3000)) * time.Millisecond
				count, fate := int64(1+random.IntN(5)), random.IntN(4)
				group.Go(func() {
					time.Sleep(arrival)
					lease, err := gate.Admit(context.Background(), id, "ocr_batch")
					if err != nil {
						return
					}
					defer lease.Release()
					if _, err := lease.Charge(context.Background(), auth.Work{Images: count}); err != nil {
						return
					}
					at := time.Now()
					time.Sleep(work)
					switch fate {
					case 0: // nothing of it worked
						lease.Settle(auth.Work{})
						lease.Refund()
						return
					case 1: // one image did not
						count--
						lease.Settle(auth.Work{Images: count})
					case 2: // forgotten: what was charged stays
					default:
						lease.Settle(auth.Work{Images: count})
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, passed{at, count})
					used += count
				})
			}
			group.Wait()
			for i := range all {
				var sum int64
				for _, p := range all {
					if after := p.at.Sub(all[i].at); after >= 0 && after < time.Minute {
						sum += p.count
					}
				}
				if sum > limit {
					t.Fatalf("%d images within a minute, limit %d", sum, limit)
				}
			}
			if got := gate.Used(id).Pages; got != used || got > quota {
				t.Errorf("%d pages are counted, %d were used, quota %d", got, used, quota)
			}
			if len(all) == 0 {
				t.Error("nothing passed")
			}
		})
	}
}

func rewrite(t testing.TB, path, old, new string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(content), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
