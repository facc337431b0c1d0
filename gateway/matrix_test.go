package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ocrmux/auth"
	"ocrmux/gateway"
)

// matrixTenant is what a generated tenant may do.
type matrixTenant struct {
	name           string
	models, routes []string // empty: all
}

// matrixKey is a credential and why it opens nothing, "" for a good one.
type matrixKey struct {
	text, wrong string
	remote      bool // to be sent from another machine
	tenant      *matrixTenant
}

var matrixModels = []string{model, "deepseek-ocr", "secret-model", "no-such-model"}

// opens reports whether the tenant's list names the model under any of its names.
func (m *matrixTenant) opens(name string) bool {
	if name == "no-such-model" {
		return false
	}
	names := []string{name}
	if name != "secret-model" {
		names = []string{model, "deepseek-ocr"}
	}
	return len(m.models) == 0 || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(m.models, n) })
}

func (m *matrixTenant) takes(route string) bool {
	return len(m.routes) == 0 || slices.Contains(m.routes, route)
}

// generateMatrix draws tenants and, for each, keys in every state that a key can have.
func generateMatrix(t *testing.T, random *rand.Rand) (keyFile string, keys []matrixKey) {
	t.Helper()
	subset := func(of []string) []string {
		var some []string
		for _, s := range of {
			if random.IntN(2) == 0 {
				some = append(some, s)
			}
		}
		return some
	}
	tenants := []*matrixTenant{{name: "acme"}}
	for i := range 6 {
		tenants = append(tenants, &matrixTenant{fmt.Sprintf("t%d", i), subset(matrixModels[:3]), subset(auth.Routes)})
	}
	text := "tenants:\n"
	for _, m := range tenants {
		text += fmt.Sprintf("  - {name: %s, models: [%s], routes: [%s]}\n", m.name, strings.Join(m.models, ", "), strings.Join(m.routes, ", "))
	}
	path := filepath.Join(t.TempDir(), "keys.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	pepper := bytes.Repeat([]byte("p"), 32)
	ring, err := auth.NewKeyRing(path, pepper)
	must(t, err)
	create := func(m *matrixTenant, o auth.KeyOptions) (string, string) {
		o.Tenant = m.name
		text, entry, err := ring.Create(o)
		must(t, err)
		return text, entry.ID
	}
	for _, m := range tenants {
		good, _ := create(m, auth.KeyOptions{})
		here, _ := create(m, auth.KeyOptions{LoopbackOnly: true})
		expired, _ := create(m, auth.KeyOptions{Expires: time.Now().Add(-time.Hour)})
		expiring, _ := create(m, auth.KeyOptions{Expires: time.Now().Add(time.Hour)})
		disabled, disabledID := create(m, auth.KeyOptions{})
		_, err := ring.Disable(disabledID)
		must(t, err)
		enabled, enabledID := create(m, auth.KeyOptions{})
		_, err = ring.Disable(enabledID)
		must(t, err)
		_, err = ring.Enable(enabledID)
		must(t, err)
		deleted, deletedID := create(m, auth.KeyOptions{})
		_, err = ring.Delete(deletedID)
		must(t, err)
		old, oldID := create(m, auth.KeyOptions{})
		rotated, _, _, err := ring.Rotate(oldID, 0)
		must(t, err)
		older, olderID := create(m, auth.KeyOptions{})
		_, _, _, err = ring.Rotate(olderID, time.Hour)
		must(t, err)
		keys = append(keys,
			matrixKey{text: good, tenant: m},
			matrixKey{text: here, tenant: m},
			matrixKey{text: here, tenant: m, remote: true, wrong: "for this machine only"},
			matrixKey{text: expired, tenant: m, wrong: "expired"},
			matrixKey{text: expiring, tenant: m},
			matrixKey{text: disabled, tenant: m, wrong: "disabled"},
			matrixKey{text: enabled, tenant: m},
			matrixKey{text: deleted, tenant: m, wrong: "deleted"},
			matrixKey{text: old, tenant: m, wrong: "rotated away"},
			matrixKey{text: rotated, tenant: m},
			matrixKey{text: older, tenant: m}, // still good for an hour
			matrixKey{text: good[:len(good)-1] + "x", tenant: m, wrong: "mistyped"},
		)
	}
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content), append(keys, matrixKey{wrong: "none"})
}

// Every tenant's every key on every route with every model: what may pass
// passes, what may not looks like what does not exist, and reaches no backend.
func TestAuthorization_HoldsForTenantsTimesRoutesTimesModelsTimesKeyStates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	keyFile, keys := generateMatrix(t, rand.New(rand.NewPCG(seed, 0)))
	w := newWorld(t, setup{keys: keyFile, gateway: gateway.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	image := page(1)
	form := func(field, model string) (string, string) {
		contentType, body := upload(t, field, [][]byte{image}, "model", model)
		return contentType, string(body)
	}
	tried, passed, wrongs := 0, 0, 0
	for _, key := range keys {
		for _, route := range auth.Routes {
			for _, name := range matrixModels {
				method, path, contentType, body := "POST", "/v1/"+route, "application/json", ""
				switch route {
				case "chat":
					path, body = "/v1/chat/completions", strings.Replace(chatBody(image, ""), model, name, 1)
				case "completions":
					body = fmt.Sprintf(`{"model":%q,"prompt":"x","max_tokens":2}`, name)
				case "responses":
					body = fmt.Sprintf(`{"model":%q,"input":"x","max_output_tokens":2}`, name)
				case "models":
					method, path = "GET", "/v1/models/"+name
				case "usage":
					method = "GET"
				case "ocr":
					path = "/ocr"
					contentType, body = form("file", name)
				case "ocr_batch":
					path = "/ocr/batch"
					contentType, body = form("files", name)
				}
				want := 200
				switch {
				case key.wrong != "":
					want = 401
				case !key.tenant.takes(route):
					want = 403
				case route != "usage" && !key.tenant.opens(name):
					want = 404
				}
				var headers []string
				if key.text != "" {
					headers = append(headers, "Authorization", "Bearer "+key.text)
				}
				if key.wrong != "" { // each wrong one from another address, or it is throttled
					wrongs++
					headers = append(headers, "X-Forwarded-For", fmt.Sprintf("192.0.%d.%d", 1+wrongs/250, 1+wrongs%250))
				}
				before := w.sims[0].Stats().Received
				r := w.do(method, path, contentType, strings.NewReader(body), headers...)
				tried++
				if r.status != want {
					t.Fatalf("%s with a key %q (%+v) for %s: %d, want %d: %s", route, key.wrong, key.tenant, name, r.status, want, r.body)
				}
				if reached := w.sims[0].Stats().Received - before; reached > 0 && want != 200 {
					t.Fatalf("%s for %s was refused with %d and reached a backend", route, name, want)
				}
				if want == 404 {
					r.isLikeUnknown(t, name)
				}
				if want == 200 {
					passed++
				}
			}
		}
		if key.wrong == "" && key.tenant.takes("models") {
			w.listsOnly(key)
		}
	}
	if passed < 200 || tried-passed < 500 {
		t.Errorf("%d of %d passed: the matrix shows too little", passed, tried)
	}
	t.Logf("%d requests, %d passed", tried, passed)
}

// isLikeUnknown holds a refusal to what a model that nobody has gets.
func (r reply) isLikeUnknown(t *testing.T, name string) {
	t.Helper()
	switch {
	case strings.Contains(r.body, "model_not_found"):
		if want := "The model `" + name + "` does not exist or you do not have access to it."; r.json(t)["error"].(map[string]any)["message"] != want {
			t.Errorf("%s", r.body)
		}
	case r.json(t)["error"] != "找不到指定的模型，或此 API 金鑰無權使用該模型":
		t.Errorf("%s", r.body)
	}
}

// listsOnly holds /v1/models to what the tenant may use.
func (w *world) listsOnly(key matrixKey) {
	w.t.Helper()
	var list struct{ Data []struct{ ID string } }
	must(w.t, json.Unmarshal([]byte(w.do("GET", "/v1/models", "", nil, "Authorization", "Bearer "+key.text).body), &list))
	var got []string
	for _, m := range list.Data {
		got = append(got, m.ID)
	}
	var want []string
	for _, name := range matrixModels {
		if key.tenant.opens(name) {
			want = append(want, name)
		}
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("tenant %+v sees %v", key.tenant, got)
	}
}
