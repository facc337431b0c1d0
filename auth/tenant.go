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
	Name string `yaml:"name" json:"name"`
	// Models lists the names and aliases of models that the tenant may use. Empty means all.
	Models []string `yaml:"models,omitempty" json:"models,omitempty"`
	// Routes lists the routes that the tenant may use, of those in Routes. Empty means all.
	Routes []string `yaml:"routes,omitempty" json:"routes,omitempty"`
	// Class is ClassInteractive, also where it is absent, or ClassBatch.
	Class string `yaml:"class,omitempty" json:"class"`
	// Weight is the tenant's share beside others of its class. Absent means 1.
	Weight float64 `yaml:"weight,omitempty" json:"weight"`
	// Limits bound what the tenant's keys may do together.
	Limits Limits `yaml:"limits,omitempty" json:"limits"`
	// Quota bounds what the tenant's keys may use together in a calendar month, UTC.
	Quota Quota `yaml:"quota,omitempty" json:"quota"`
	// Privileged tenants may send the request fields that reach into a backend.
	Privileged bool `yaml:"privileged,omitempty" json:"privileged,omitempty"`
	// Wait makes a request wait for its turn at the limit of requests in
	// progress, where others are refused.
	Wait bool `yaml:"wait,omitempty" json:"wait,omitempty"`
	// CacheGroup names tenants that share remembered answers, and answers in
	// progress, with each other. Empty: the tenant shares with nobody.
	CacheGroup string `yaml:"cache_group,omitempty" json:"cache_group,omitempty"`
	// FinishAbandoned lets work go on for the cache, at the tenant's cost, when
	// everybody who wanted its answer has left.
	FinishAbandoned bool `yaml:"finish_abandoned,omitempty" json:"finish_abandoned,omitempty"`
	// Labels are for people and their tools; the router only shows them.
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
}

// Limits of a tenant, of a key, of a route or of the whole. 0 sets no limit.
// Those per minute hold in any 60 seconds, wherever they begin.
type Limits struct {
	// RequestsPerMinute bounds the requests admitted.
	RequestsPerMinute int64 `yaml:"requests_per_minute,omitempty" json:"requests_per_minute,omitempty"`
	// ImagesPerMinute bounds the images of admitted requests.
	ImagesPerMinute int64 `yaml:"images_per_minute,omitempty" json:"images_per_minute,omitempty"`
	// MegapixelsPerMinute bounds the size of these images, as their heads tell it.
	MegapixelsPerMinute int64 `yaml:"megapixels_per_minute,omitempty" json:"megapixels_per_minute,omitempty"`
	// TokensPerMinute bounds prompt, image and generated tokens together.
	TokensPerMinute int64 `yaml:"tokens_per_minute,omitempty" json:"tokens_per_minute,omitempty"`
	// InProgress bounds the requests admitted and not yet ended.
	InProgress int `yaml:"in_progress,omitempty" json:"in_progress,omitempty"`
}

// Quota of a tenant. 0 sets none.
type Quota struct {
	// PagesPerMonth bounds the images read.
	PagesPerMonth int64 `yaml:"pages_per_month,omitempty" json:"pages_per_month,omitempty"`
	// TokensPerMonth bounds prompt, image and generated tokens together.
	TokensPerMonth int64 `yaml:"tokens_per_month,omitempty" json:"tokens_per_month,omitempty"`
}

// Routes are the names by which a tenant's routes and the ceilings of routes are
// given, and under which work is counted.
var Routes = []string{"chat", "completions", "responses", "models", "usage", "ocr", "ocr_batch"}

// MayUse reports whether the tenant may use a model under any of its names.
func (t *Tenant) MayUse(names ...string) bool {
	return len(t.Models) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(t.Models, name) })
}

// MayTake reports whether the tenant may use a route.
func (t *Tenant) MayTake(route string) bool {
	return len(t.Routes) == 0 || slices.Contains(t.Routes, route)
}
