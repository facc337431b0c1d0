package auth_test

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ocrmux/auth"
)

// checksummed completes the first three parts of a key.
func checksummed(parts string) string {
	return fmt.Sprintf("%s-%08x", parts, crc32.ChecksumIEEE([]byte(parts)))
}

// transplant returns a well-formed key with the secret of one key and the id of another.
func transplant(t testing.TB, secretOf, idOf string) string {
	t.Helper()
	secret, id := strings.Split(secretOf, "-"), strings.Split(idOf, "-")
	return checksummed(strings.Join([]string{"sk", "ocr", id[2], secret[3]}, "-"))
}

func TestKey_HasTheDocumentedFormat(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\n")
	format := regexp.MustCompile(`^sk-ocr-[0-9a-hjkmnp-tv-z]{8}-[0-9a-hjkmnp-tv-z]{52}-[0-9a-f]{8}$`)
	seen := make(map[string]bool)
	for range 20 {
		key, entry := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
		if !format.MatchString(key) {
			t.Errorf("key of %d characters is not of the format", len(key))
		}
		if cut := strings.LastIndex(key, "-"); checksummed(key[:cut]) != key {
			t.Error("checksum is not the CRC-32 of what stands before it")
		}
		secret := strings.Split(key, "-")[3]
		if seen[entry.ID] || seen[secret] {
			t.Error("id or secret twice")
		}
		seen[entry.ID], seen[secret] = true, true
	}
}

func TestKey_EveryTypoOfOneLetterIsMalformed(t *testing.T) {
	path := writeFile(t, "tenants: [{name: acme}]\n")
	key, _ := createKey(t, path, auth.KeyOptions{Tenant: "acme"})
	reg := prometheus.NewRegistry()
	gate := newGate(t, path, auth.Deps{Registerer: reg})
	identify(t, gate, key)
	typos := 0
	for i := range key {
		for _, letter := range "-0129abckzAZ~ " {
			if typo := key[:i] + string(letter) + key[i+1:]; typo != key {
				typos++
				if _, err := gate.Identify(typo, local); err == nil {
					t.Fatalf("typo at %d is accepted", i)
				}
			}
		}
	}
	if got := failures(t, reg, "malformed"); got != float64(typos) {
		t.Errorf("%v of %d typos found without a look-up", got, typos)
	}
}

func TestNew_RefusesAShortPepper(t *testing.T) {
	path := writeFile(t, "keys: []\n")
	if _, err := auth.New(auth.Config{KeyFile: path, Pepper: pepper[:auth.MinPepperBytes-1]}, auth.Deps{}); err == nil {
		t.Error("accepted")
	}
}
