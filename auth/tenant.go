package auth

import "slices"

// AnonymousTenant is the reserved name of the tenant of callers without a key.
// Where keys.yaml has it, its limits count for each client address.
const AnonymousTenant = "anonymous"

// Priority classes of a tenant's requests.
const (
	ClassInteractive = "interactive"
	ClassBatch       = "batch"
)

// Tenant is a holder of keys and what it may do. It is never changed once loaded.
type Tenant struct {
	// Name is the tenant's name in keys.yaml, metrics and cache keys.
	Name string `yaml:"name"`
	// Models lists the names and aliases of models that the tenant may use. Empty means all.
	Models []string `yaml:"models,omitempty"`
	// Class is ClassInteractive, also where it is absent, or ClassBatch.
	Class string `yaml:"class,omitempty"`
	// Weight is the tenant's share beside others of its class. Absent means 1.
	Weight float64 `yaml:"weight,omitempty"`
	// Limits bound what the tenant's keys may do together.
	Limits Limits `yaml:"limits,omitempty"`
	// Privileged tenants may send the request fields that reach into a backend.
	Privileged bool `yaml:"privileged,omitempty"`
	// Wait makes a request wait for its turn at the limit of requests in
	// progress, where others are refused.
	Wait bool `yaml:"wait,omitempty"`
}

// Limits of a tenant. 0 sets no limit.
type Limits struct {
	// RequestsPerMinute bounds the requests admitted in any 60 seconds.
	RequestsPerMinute int64 `yaml:"requests_per_minute,omitempty"`
	// InProgress bounds the requests admitted and not yet ended.
	InProgress int `yaml:"in_progress,omitempty"`
}

// MayUse reports whether the tenant may use a model under any of its names.
func (t *Tenant) MayUse(names ...string) bool {
	if len(t.Models) == 0 {
		return true
	}
	for _, name := range names {
		if slices.Contains(t.Models, name) {
			return true
		}
	}
	return false
}
