package auth

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// complete sets what is absent to its default and checks the whole. The lines
// are those of the tenants and keys, in order.
func (f *KeyFile) complete(tenantLines, keyLines []int) error {
	tenants := make(map[string]bool, len(f.Tenants))
	for i := range f.Tenants {
		t := &f.Tenants[i]
		if err := t.complete(); err != nil {
			return fmt.Errorf("line %d: %w", tenantLines[i], err)
		}
		if tenants[t.Name] {
			return fmt.Errorf("line %d: tenant %q stands here a second time", tenantLines[i], t.Name)
		}
		tenants[t.Name] = true
	}
	ids := make(map[string]bool, len(f.Keys))
	for i := range f.Keys {
		k := &f.Keys[i]
		switch {
		case !keyIDPattern.MatchString(k.ID):
			return fmt.Errorf("line %d: id must be %d of the letters and digits that keys are made of", keyLines[i], keyIDLength)
		case ids[k.ID]:
			return fmt.Errorf("line %d: key %s stands here a second time", keyLines[i], k.ID)
		case !k.Limits.valid():
			return fmt.Errorf("line %d: key %s: a limit must not be negative, and at most %d", keyLines[i], k.ID, int64(maxLimit))
		case k.Hash == KeyHash{}:
			return fmt.Errorf("line %d: key %s has no hash", keyLines[i], k.ID)
		case k.Tenant == AnonymousTenant:
			return fmt.Errorf("line %d: key %s belongs to tenant %q, which is for callers without a key", keyLines[i], k.ID, k.Tenant)
		case !tenants[k.Tenant]:
			return fmt.Errorf("line %d: key %s belongs to tenant %q, which is not in the file", keyLines[i], k.ID, k.Tenant)
		}
		ids[k.ID] = true
	}
	return nil
}

var (
	keyIDPattern = regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{8}$`)
	// A name becomes a metric label and part of cache keys: short and printable.
	tenantNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

func (t *Tenant) complete() error {
	if t.Class == "" {
		t.Class = ClassInteractive
	}
	if t.Weight == 0 {
		t.Weight = 1
	}
	switch {
	case !tenantNamePattern.MatchString(t.Name):
		return fmt.Errorf("tenant name %q: 1 to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit", t.Name)
	case t.Class != ClassInteractive && t.Class != ClassBatch:
		return fmt.Errorf("tenant %s: class %q is neither %s nor %s", t.Name, t.Class, ClassInteractive, ClassBatch)
	case !(t.Weight > 0) || math.IsInf(t.Weight, 1): // catches NaN too
		return fmt.Errorf("tenant %s: weight must be above 0", t.Name)
	case !t.Limits.valid() || t.Quota.PagesPerMonth < 0 || t.Quota.TokensPerMonth < 0:
		return fmt.Errorf("tenant %s: a limit or quota must not be negative, and at most %d", t.Name, int64(maxLimit))
	}
	for _, route := range t.Routes {
		if !slices.Contains(Routes, route) {
			return fmt.Errorf("tenant %s: there is no route %q; there are %s", t.Name, route, strings.Join(Routes, ", "))
		}
	}
	return nil
}

// maxLimit keeps sums of charges, megapixels in pixels among them, far from overflow.
const maxLimit = 1_000_000_000

func (l Limits) valid() bool {
	for _, limit := range []int64{l.RequestsPerMinute, l.ImagesPerMinute, l.MegapixelsPerMinute, l.TokensPerMinute, int64(l.InProgress)} {
		if limit < 0 || limit > maxLimit {
			return false
		}
	}
	return true
}
