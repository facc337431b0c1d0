package auth_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/auth"
	"ocrmux/auth/authtest"
)

// manyKeys writes a key file with the given numbers of tenants and keys, of
// which the last is real, and returns its path and that key.
func manyKeys(t testing.TB, tenants, keys int) (path, key string) {
	t.Helper()
	var text strings.Builder
	text.WriteString("tenants:\n")
	for i := range tenants {
		fmt.Fprintf(&text, "  - {name: t%d, limits: {requests_per_minute: 1000000000, in_progress: 1000}}\n", i)
	}
	text.WriteString("keys:\n")
	for i := range keys - 1 {
		fmt.Fprintf(&text, "  - {id: \"%08d\", tenant: t%d, hash: \"hmac-sha256:%064x\"}\n", i, i%tenants, i+1)
	}
	path = writeFile(t, text.String())
	key, _ = createKey(t, path, auth.KeyOptions{Tenant: fmt.Sprintf("t%d", tenants-1)})
	return path, key
}

func TestThrottle_AnswersWrongKeysAndNeverAGoodOne(t *testing.T) {
	clock := authtest.NewClock()
	path, key := manyKeys(t, 1, 1)
	gate := newGate(t, path, auth.Deps{Now: clock.Now})
	wrong := func(peer string) error {
		_, err := gate.Identify("sk-wrong", netip.MustParseAddr(peer))
		return err
	}
	for i := range 20 {
		if err := wrong("2001:db8::1"); !errors.Is(err, auth.ErrBadKey) {
			t.Fatalf("wrong key %d: %v", i, err)
		}
	}
	var throttled *auth.Throttled
	for range 100 { // being throttled does not make it longer
		if err := wrong("2001:db8::ffff:1"); !errors.As(err, &throttled) || throttled.RetryAfter != 3*time.Second {
			t.Fatalf("from the same /64: %v", err)
		}
	}
	if err := wrong("2001:db8:0:1::1"); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("from another /64: %v", err)
	}
	if _, err := gate.Identify(key, netip.MustParseAddr("2001:db8::1")); err != nil {
		t.Errorf("a good key from a throttled address: %v", err)
	}
	clock.Advance(throttled.RetryAfter)
	if err := wrong("2001:db8::1"); !errors.Is(err, auth.ErrBadKey) {
		t.Errorf("after the wait that was named: %v", err)
	}
	if err := wrong("2001:db8::1"); !errors.As(err, &throttled) {
		t.Errorf("the next: %v", err)
	}
}

// Keys of every kind from ever new addresses, a million of them against 10,000
// keys; fewer with -short and under the race detector.
func TestIdentify_AdmitsNoneOfManyWrongKeysInFlatMemory(t *testing.T) {
	// The million lets the throttle's map reorganise itself once, for 1.3 MB.
	total, keys, growth := 1_000_000, 10_000, int64(2<<20)
	if testing.Short() || raceEnabled {
		total, keys, growth = 30_000, 2000, 1<<20
	}
	path, good := manyKeys(t, 100, keys)
	reg := prometheus.NewRegistry()
	gate := newGate(t, path, auth.Deps{Registerer: reg})
	secret := strings.Split(good, "-")[3]
	letters := "0123456789abcdefghjkmnpqrstvwxyz"
	attempt := func(i int) {
		mutated := []byte(secret)
		mutated[i%len(mutated)] = letters[(strings.IndexByte(letters, mutated[i%len(mutated)])+1+i/len(mutated)%31)%32]
		var key string
		switch i % 4 {
		case 0: // a known id with a wrong secret
			key = checksummed(fmt.Sprintf("sk-ocr-%08d-%s", i%(keys-1), mutated))
		case 1: // the good key's id with a secret that differs in one letter
			key = checksummed(good[:len("sk-ocr-")+8] + "-" + string(mutated))
		case 2: // an unknown id
			key = checksummed(fmt.Sprintf("sk-ocr-z%07d-%s", i%1e7, secret))
		case 3: // no checksum
			key = fmt.Sprintf("sk-ocr-%08d-%s-%08x", i%(keys-1), mutated, i)
		}
		var peer [16]byte
		binary.BigEndian.PutUint64(peer[:], 0x20010db800000000+uint64(i))
		if id, err := gate.Identify(key, netip.AddrFrom16(peer)); id != nil || err == nil {
			t.Fatalf("wrong key %d is admitted", i)
		}
	}
	const full = 17_000 // from here on the throttle remembers as many addresses as it ever will
	for i := range full {
		attempt(i)
	}
	base := heapBytes()
	for i := full; i < total; i++ {
		attempt(i)
	}
	if grown := heapBytes() - base; grown > growth {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	if got := metricValue(t, reg, "ocrmux_auth_failures_total"); got != float64(total) {
		t.Errorf("%v failures counted of %d", got, total)
	}
	if got := failures(t, reg, "wrong"); got < float64(total)/2-1 {
		t.Errorf("only %v of the wrong keys came as far as the comparison", got)
	}
	identify(t, gate, good)
}

func TestAnonymous_AddressesAreBoundedAndNoLimitIsForgotten(t *testing.T) {
	clock := authtest.NewClock()
	path := writeFile(t, "tenants:\n  - name: anonymous\n    limits: {requests_per_minute: 2}\n")
	gate := newGate(t, path, auth.Deps{Now: clock.Now})
	admit := func(i int) bool {
		id, err := gate.Anonymous(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if err != nil {
			t.Fatal(err)
		}
		lease, err := gate.Admit(t.Context(), id, "chat")
		lease.Release()
		return err == nil
	}
	for range 2 {
		if !admit(0) {
			t.Fatal("refused below the limit")
		}
	}
	for i := 1; i < 16384; i++ {
		if !admit(i) {
			t.Fatalf("address %d is refused", i)
		}
	}
	base, admitted := heapBytes(), 0
	for i := 16384; i < 50_000; i++ {
		if admit(i) {
			admitted++
		}
	}
	if admitted != 2 {
		t.Errorf("%d admitted of the addresses beyond the bound, which share a limit of 2", admitted)
	}
	if admit(0) {
		t.Error("the flood made a limit forgotten")
	}
	if grown := heapBytes() - base; grown > 1<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	clock.Advance(62 * time.Second)
	for i := 50_000; i < 60_000; i++ {
		if !admit(i) {
			t.Fatalf("address %d is refused though others are idle", i)
		}
	}
}
