package auth_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ocrmux/auth"
)

var (
	pepper = []byte("0123456789abcdef0123456789abcdef")
	local  = netip.MustParseAddr("127.0.0.1")
	remote = netip.MustParseAddr("192.0.2.7")
)

// writeFile writes a key file into a directory of the test's own.
func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func createKey(t testing.TB, path string, opts auth.KeyOptions) (string, auth.KeyEntry) {
	t.Helper()
	key, entry, err := keyRing(t, path).Create(opts)
	if err != nil {
		t.Fatal(err)
	}
	return key, entry
}

func newGate(t testing.TB, path string, deps auth.Deps) *auth.Gate {
	t.Helper()
	gate, err := auth.New(auth.Config{KeyFile: path, Pepper: pepper}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

func identify(t testing.TB, gate *auth.Gate, key string) *auth.Identity {
	t.Helper()
	id, err := gate.Identify(key, local)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestGate_AnswersEachStateOfAKey(t *testing.T) {
	path := writeFile(t, "tenants:\n  - name: acme\nkeys: []\n")
	good, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	late, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme", Expires: time.Now().Add(time.Hour)})
	expired, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme", Expires: time.Now().Add(-time.Second)})
	loopback, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme", LoopbackOnly: true})
	disabled, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("(?m)^    hash: .*\n")
	places := line.FindAllIndex(content, -1)
	end := places[len(places)-1][1] // of the hash of the key that was created last
	changed := slices.Concat(content[:end], []byte("    disabled: true\n"), content[end:])
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere, _ := createKey(t, filepath.Join(t.TempDir(), "keys.yaml"), auth.KeyOptions{Tenant: "acme"})
	typo := []byte(good)
	typo[20] = map[bool]byte{true: '3', false: '2'}[typo[20] == '2']

	reg := prometheus.NewRegistry()
	gate := newGate(t, path, auth.Deps{Registerer: reg})
	for _, c := range []struct {
		name, key string
		peer      netip.Addr
		want      error
		reason    string
	}{
		{"good", good, remote, nil, ""},
		{"expires later", late, remote, nil, ""},
		{"expired", expired, remote, auth.ErrBadKey, "expired"},
		{"disabled", disabled, remote, auth.ErrBadKey, "disabled"},
		{"loopback only, from this machine", loopback, local, nil, ""},
		{"loopback only, from this machine by IPv6", loopback, netip.IPv6Loopback(), nil, ""},
		{"loopback only, from this machine, mapped", loopback, netip.MustParseAddr("::ffff:127.0.0.1"), nil, ""},
		{"loopback only, from elsewhere", loopback, remote, auth.ErrBadKey, "remote"},
		{"loopback only, from nowhere", loopback, netip.Addr{}, auth.ErrBadKey, "remote"},
		{"of another file", elsewhere, remote, auth.ErrBadKey, "unknown"},
		{"known id, another secret", transplant(t, elsewhere, good), remote, auth.ErrBadKey, "wrong"},
		{"mistyped", string(typo), remote, auth.ErrBadKey, "malformed"},
		{"in capitals", strings.ToUpper(good), remote, auth.ErrBadKey, "malformed"},
		{"cut short", good[:len(good)-1], remote, auth.ErrBadKey, "malformed"},
		{"with a space", good + " ", remote, auth.ErrBadKey, "malformed"},
		{"of somebody else", "sk-proj-abcdefgh", remote, auth.ErrBadKey, "malformed"},
		{"none", "", remote, auth.ErrNoKey, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := failures(t, reg, c.reason)
			id, err := gate.Identify(c.key, c.peer)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if (id != nil) != (c.want == nil) {
				t.Fatalf("identity %v beside error %v", id, err)
			}
			if id != nil && (id.Tenant.Name != "acme" || !strings.HasPrefix(c.key, "sk-ocr-"+id.KeyID+"-")) {
				t.Errorf("identity of tenant %q and key %q", id.Tenant.Name, id.KeyID)
			}
			if c.reason != "" && failures(t, reg, c.reason) != before+1 {
				t.Errorf("failure was not counted under %q", c.reason)
			}
		})
	}
}

// failures returns ocrmux_auth_failures_total of a reason.
func failures(t testing.TB, reg *prometheus.Registry, reason string) float64 {
	t.Helper()
	return metricValue(t, reg, "ocrmux_auth_failures_total", reason)
}

// metricValue returns the sum of a metric's series that have all the label values.
func metricValue(t testing.TB, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	series:
		for _, m := range family.GetMetric() {
			for _, want := range labels {
				found := false
				for _, label := range m.GetLabel() {
					found = found || label.GetValue() == want
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func TestGate_AnonymousNeedsItsTenant(t *testing.T) {
	gate := newGate(t, writeFile(t, "tenants: []\nkeys: []\n"), auth.Deps{})
	if _, err := gate.Anonymous(remote); !errors.Is(err, auth.ErrNoKey) {
		t.Errorf("without the tenant: %v, want ErrNoKey", err)
	}
	gate = newGate(t, writeFile(t, "tenants:\n  - name: anonymous\nkeys: []\n"), auth.Deps{})
	id, err := gate.Anonymous(remote)
	if err != nil || id.Tenant.Name != "anonymous" || id.KeyID != "" {
		t.Errorf("with the tenant: %+v, %v", id, err)
	}
}

func TestGate_CountsAnonymousCallersByAddress(t *testing.T) {
	gate := newGate(t, writeFile(t, "tenants:\n  - name: anonymous\n    limits: {requests_per_minute: 1}\n"), auth.Deps{})
	for _, c := range []struct {
		peer string
		want bool
	}{
		{"192.0.2.1", true},
		{"192.0.2.2", true},
		{"192.0.2.1", false},
		{"::ffff:192.0.2.2", false}, // the same caller, through a socket for both families
		{"2001:db8:0:1::1", true},
		{"2001:db8:0:1:ffff::2", false}, // the same /64
		{"2001:db8:0:2::1", true},
	} {
		id, err := gate.Anonymous(netip.MustParseAddr(c.peer))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gate.Admit(context.Background(), id, "chat"); (err == nil) != c.want {
			t.Errorf("%s: %v, want admitted %t", c.peer, err, c.want)
		}
	}
}

func TestGate_FollowsTheKeyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := writeFile(t, "tenants:\n  - name: acme\n    limits: {in_progress: 1}\n")
		key, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		gate := newGate(t, path, auth.Deps{Registerer: reg})
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- gate.Run(ctx) }()
		change := func(content string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond) // of the bubble
			synctest.Wait()
		}
		valid := func() float64 { return metricValue(t, reg, "ocrmux_keyfile_valid") }

		lease, err := gate.Admit(ctx, identify(t, gate, key), "chat")
		if err != nil {
			t.Fatal(err)
		}
		change("tenants: [{name: acme, colour: red}]\n")
		identify(t, gate, key)
		if valid() != 0 || gate.KeyFileError() == nil {
			t.Errorf("a broken file is not told: valid %v, error %v", valid(), gate.KeyFileError())
		}
		change("tenants: [{name: acme, limits: {in_progress: 1}}]\nkeys: []\n")
		if _, err := gate.Identify(key, local); !errors.Is(err, auth.ErrBadKey) {
			t.Errorf("a revoked key: %v, want ErrBadKey", err)
		}
		if valid() != 1 || gate.KeyFileError() != nil {
			t.Errorf("a good file is not told: valid %v, error %v", valid(), gate.KeyFileError())
		}
		change(string(good))
		var limit *auth.LimitError
		if _, err := gate.Admit(ctx, identify(t, gate, key), "chat"); !errors.As(err, &limit) {
			t.Errorf("the lease of before the changes is forgotten: %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		identify(t, gate, key)
		if valid() != 0 {
			t.Error("a missing file is not told")
		}
		lease.Release()
		if got := metricValue(t, reg, "ocrmux_tenant_in_progress", "acme"); got != 0 {
			t.Errorf("%v in progress at the end", got)
		}
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestGate_KeepsAFormerTenantUntilItsRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := writeFile(t, "tenants: [{name: staying}, {name: leaving, limits: {in_progress: 1}}]\n")
		key, _ := createKey(t, path, auth.KeyOptions{Tenant: "leaving"})
		both, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		gate := newGate(t, path, auth.Deps{Registerer: reg})
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- gate.Run(ctx) }()
		change := func(content string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond) // of the bubble
			synctest.Wait()
		}
		series := func() int {
			t.Helper()
			n, err := testutil.GatherAndCount(reg, "ocrmux_tenant_in_progress", "ocrmux_tenant_admissions_total", "ocrmux_limit_refusals_total")
			if err != nil {
				t.Fatal(err)
			}
			return n
		}

		lease, err := gate.Admit(ctx, identify(t, gate, key), "chat")
		if err != nil {
			t.Fatal(err)
		}
		change("tenants: [{name: staying}]\n")
		if got := metricValue(t, reg, "ocrmux_tenant_in_progress", "leaving"); got != 1 {
			t.Errorf("%v in progress of a former tenant, want 1", got)
		}
		change(string(both))
		if _, err := gate.Admit(ctx, identify(t, gate, key), "chat"); err == nil {
			t.Error("a tenant that came back has its slots twice")
		}
		lease.Release()
		if got := series(); got != 18 {
			t.Errorf("%d series of two tenants, want 18", got)
		}
		change("tenants: [{name: staying}]\n# and nobody else\n")
		if got := series(); got != 9 {
			t.Errorf("%d series of one tenant, want 9", got)
		}
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestGate_MetricsAreWellFormed(t *testing.T) {
	reg := prometheus.NewRegistry()
	newGate(t, writeFile(t, "tenants: [{name: acme}]\n"), auth.Deps{Registerer: reg})
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
