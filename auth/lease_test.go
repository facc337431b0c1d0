package auth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/auth"
	"ocrmux/auth/authtest"
)

// oneTenant returns a gate and the identity of the only tenant of a key file.
func oneTenant(t testing.TB, settings string, deps auth.Deps) (*auth.Gate, *auth.Identity) {
	t.Helper()
	path := writeFile(t, "tenants:\n  - {name: acme, "+settings+"}\n")
	key, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	gate := newGate(t, path, deps)
	return gate, identify(t, gate, key)
}

func limitOf(err error) string {
	var limit *auth.LimitError
	if errors.As(err, &limit) {
		return limit.Limit
	}
	return fmt.Sprint(err)
}

func TestAdmit_AdmitsTenOfSixtyFourCallers(t *testing.T) {
	for _, settings := range []string{"limits: {requests_per_minute: 10}", "limits: {in_progress: 10}"} {
		t.Run(settings, func(t *testing.T) {
			gate, id := oneTenant(t, settings, auth.Deps{})
			got := authtest.OfSixtyFour(func() bool {
				_, err := gate.Admit(context.Background(), id, "chat")
				return err == nil
			})
			if got != 10 {
				t.Errorf("%d admitted", got)
			}
		})
	}
}

func TestAdmit_SaysWhenToComeAgain(t *testing.T) {
	clock := authtest.NewClock()
	gate, id := oneTenant(t, "limits: {requests_per_minute: 2, in_progress: 2}", auth.Deps{Now: clock.Now})
	first, err := gate.Admit(t.Context(), id, "chat")
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Standing(); got.Requests.Limit != 2 || got.Requests.Remaining != 1 || got.Requests.Reset < time.Minute || got.Requests.Reset > 61*time.Second {
		t.Errorf("standing %+v", got)
	}
	var limit *auth.LimitError
	second, err := gate.Admit(t.Context(), id, "chat")
	if err != nil {
		t.Fatal(err)
	}
	second.Refund()
	if _, err := gate.Admit(t.Context(), id, "chat"); !errors.As(err, &limit) || limit.Limit != auth.LimitInProgress || limit.RetryAfter != time.Second {
		t.Fatalf("at the limit of requests in progress: %v", err)
	}
	if got := limit.Standing.Requests; got.Limit != 2 || got.Remaining != 1 {
		t.Errorf("standing of a refusal %+v", got)
	}
	second.Release()
	if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
		t.Fatal(err)
	}
	if _, err := gate.Admit(t.Context(), id, "chat"); !errors.As(err, &limit) || limit.Limit != auth.LimitRequests || limit.Standing.Requests.Remaining != 0 {
		t.Fatalf("at both limits the longer wait counts: %v", err)
	}
	first.Release()
	clock.Advance(limit.RetryAfter)
	if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
		t.Errorf("after the wait that was named: %v", err)
	}
}

func TestAdmit_WithoutLimitsAdmitsAndTellsNothing(t *testing.T) {
	gate, id := oneTenant(t, "weight: 1", auth.Deps{})
	for range 1000 {
		lease, err := gate.Admit(t.Context(), id, "chat")
		if err != nil || lease.Standing() != (auth.Standing{}) {
			t.Fatal(lease.Standing(), err)
		}
	}
}

func TestLease_IsReleasedOnce(t *testing.T) {
	gate, id := oneTenant(t, "limits: {in_progress: 1}", auth.Deps{})
	old, err := gate.Admit(t.Context(), id, "chat")
	if err != nil {
		t.Fatal(err)
	}
	again := old
	old.Release()
	current, err := gate.Admit(t.Context(), id, "chat") // likely with the ticket of the first
	if err != nil {
		t.Fatal(err)
	}
	old.Release()
	again.Release()
	auth.Lease{}.Release()
	auth.Lease{}.Refund()
	if _, err := gate.Admit(t.Context(), id, "chat"); limitOf(err) != auth.LimitInProgress {
		t.Errorf("a slot was freed twice: %v", err)
	}
	current.Release()
	if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
		t.Error(err)
	}
}

func TestLease_RefundGivesOneRequestBackOnce(t *testing.T) {
	gate, id := oneTenant(t, "limits: {requests_per_minute: 3}", auth.Deps{})
	var leases [3]auth.Lease
	for i := range leases {
		var err error
		if leases[i], err = gate.Admit(t.Context(), id, "chat"); err != nil {
			t.Fatal(err)
		}
	}
	leases[0].Refund()
	leases[0].Refund()
	leases[1].Release()
	leases[1].Refund() // too late
	if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
		t.Errorf("after a refund: %v", err)
	}
	if _, err := gate.Admit(t.Context(), id, "chat"); limitOf(err) != auth.LimitRequests {
		t.Errorf("more was given back than one request: %v", err)
	}
}

func TestAdmit_WaitsInOrderForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		gate, id := oneTenant(t, "wait: true, limits: {in_progress: 1}", auth.Deps{Registerer: reg})
		holder, err := gate.Admit(t.Context(), id, "chat")
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		var mu sync.Mutex
		wait := func(i int, ctx context.Context) error {
			lease, err := gate.Admit(ctx, id, "chat")
			if err != nil {
				return err
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			time.Sleep(time.Second)
			lease.Release()
			return nil
		}
		var group sync.WaitGroup
		impatient, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for i := range 4 {
			group.Go(func() {
				ctx := t.Context()
				if i == 1 {
					ctx = impatient
				}
				if err := wait(i, ctx); (err != nil) != (i == 1) {
					t.Errorf("caller %d: %v", i, err)
				} else if i == 1 && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("caller whose time ended: %v", err)
				}
			})
			synctest.Wait()
		}
		if got := metricValue(t, reg, "ocrmux_tenant_waiting", "acme"); got != 4 {
			t.Errorf("%v waiting, want 4", got)
		}
		time.Sleep(10 * time.Second)
		holder.Release()
		group.Wait()
		if fmt.Sprint(order) != "[0 2 3]" {
			t.Errorf("order %v", order)
		}
		if waiting, busy := metricValue(t, reg, "ocrmux_tenant_waiting"), metricValue(t, reg, "ocrmux_tenant_in_progress"); waiting != 0 || busy != 0 {
			t.Errorf("%v waiting, %v in progress at the end", waiting, busy)
		}
	})
}

func TestAdmit_LosesNoSlotThatComesAsThePatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, id := oneTenant(t, "wait: true, limits: {in_progress: 1}", auth.Deps{})
		for range 64 { // often enough for the slot to come before the waiter has left the line
			holder, err := gate.Admit(t.Context(), id, "chat")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				lease, err := gate.Admit(ctx, id, "chat")
				lease.Release()
				done <- err
			}()
			synctest.Wait()
			cancel()
			holder.Release()
			_ = <-done // an error or a lease, both are right
			short, stop := context.WithTimeout(t.Context(), time.Second)
			lease, err := gate.Admit(short, id, "chat")
			if err != nil {
				t.Fatalf("the slot is lost: %v", err)
			}
			lease.Release()
			stop()
		}
	})
}

func TestAdmit_KeepsNobodyInLineWhoHasNoRequestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, id := oneTenant(t, "wait: true, limits: {in_progress: 1, requests_per_minute: 1}", auth.Deps{})
		if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := gate.Admit(ctx, id, "chat"); limitOf(err) != auth.LimitRequests || ctx.Err() != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestAdmit_BoundsTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, id := oneTenant(t, "wait: true, limits: {in_progress: 1}", auth.Deps{})
		if _, err := gate.Admit(t.Context(), id, "chat"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var refused atomic.Int64
		var group sync.WaitGroup
		for range 1100 {
			group.Go(func() {
				if _, err := gate.Admit(ctx, id, "chat"); limitOf(err) == auth.LimitInProgress {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if got := refused.Load(); got != 1100-1024 {
			t.Errorf("%d refused, want 76", got)
		}
		cancel()
		group.Wait()
	})
}

// Whatever becomes of requests, and in whatever order, no slot is ever lost,
// none is given twice, and what was refunded was not charged.
func TestLease_CountsReturnToZeroUnderRandomSchedules(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for schedule := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, schedule))
			limit := 1 + random.IntN(8)
			reg := prometheus.NewRegistry()
			gate, id := oneTenant(t, fmt.Sprintf("wait: %t, limits: {in_progress: %d, requests_per_minute: 200}", random.IntN(2) == 0, limit), auth.Deps{Registerer: reg})
			var busy, most atomic.Int64
			var group sync.WaitGroup
			for range 200 {
				arrival := time.Duration(random.IntN(3000)) * time.Millisecond
				patience := time.Duration(random.IntN(2000)) * time.Millisecond
				work := time.Duration(random.IntN(100)) * time.Millisecond
				fate, releases := random.IntN(4), 1+random.IntN(3)
				group.Go(func() {
					time.Sleep(arrival)
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					lease, err := gate.Admit(ctx, id, "chat")
					if err != nil {
						return
					}
					if now := busy.Add(1); now > most.Load() {
						most.Store(now)
					}
					defer func() { _ = recover() }()
					defer func() {
						busy.Add(-1)
						for range releases {
							group.Go(lease.Release)
						}
					}()
					time.Sleep(work)
					switch fate {
					case 0:
						lease.Refund()
					case 1:
						panic("on purpose")
					}
				})
			}
			group.Wait()
			if got := metricValue(t, reg, "ocrmux_tenant_in_progress"); got != 0 {
				t.Errorf("%v in progress at the end", got)
			}
			if got := most.Load(); got > int64(limit) {
				t.Errorf("%d at once, limit %d", got, limit)
			}
			time.Sleep(61 * time.Second)
			for range limit { // every slot is there
				if _, err := gate.Admit(context.Background(), id, "chat"); err != nil {
					t.Errorf("a slot is lost: %v", err)
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := gate.Admit(ctx, id, "chat"); err == nil {
				t.Error("a slot too many")
			}
		})
	}
}

func TestMetrics_CountAdmissionsAndRefusals(t *testing.T) {
	reg := prometheus.NewRegistry()
	gate, id := oneTenant(t, "limits: {requests_per_minute: 3, in_progress: 2}", auth.Deps{Registerer: reg})
	for range 4 { // 2 admitted, 2 refused for requests in progress
		_, _ = gate.Admit(t.Context(), id, "chat")
	}
	for _, m := range []struct {
		name, label string
		want        float64
	}{
		{"ocrmux_tenant_admissions_total", "acme", 2},
		{"ocrmux_limit_refusals_total", auth.LimitInProgress, 2},
		{"ocrmux_limit_refusals_total", auth.LimitRequests, 0},
		{"ocrmux_tenant_in_progress", "acme", 2},
		{"ocrmux_keyfile_valid", "", 1},
	} {
		labels := []string{m.label}
		if m.label == "" {
			labels = nil
		}
		if got := metricValue(t, reg, m.name, labels...); got != m.want {
			t.Errorf("%s %s: %v, want %v", m.name, m.label, got, m.want)
		}
	}
}
