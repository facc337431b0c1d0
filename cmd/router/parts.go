package main

import (
	"maps"
	"slices"
	"strings"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
	"ocrmux/fetch"
	"ocrmux/gateway"
)

// ceilings are the limits that belong to no tenant.
func (c *Config) ceilings() auth.Ceilings {
	limits := func(l Limits) auth.Limits {
		return auth.Limits{
			RequestsPerMinute:   int64(l.RequestsPerMinute),
			ImagesPerMinute:     int64(l.ImagesPerMinute),
			MegapixelsPerMinute: int64(l.MegapixelsPerMinute),
			TokensPerMinute:     int64(l.TokensPerMinute),
			InProgress:          l.InProgress,
		}
	}
	all := c.Limits
	out := auth.Ceilings{Routes: map[string]auth.Limits{}, All: limits(Limits{
		all.RequestsPerMinute, all.ImagesPerMinute, all.MegapixelsPerMinute, all.TokensPerMinute, all.InProgress,
	})}
	for route, l := range all.Routes {
		out.Routes[route] = limits(l)
	}
	return out
}

// fetch is fetch's part of the configuration.
func (c *Config) fetch() fetch.Config {
	out := fetch.Config{MaxBytes: int64(c.Images.MaxBytes), Timeout: c.Images.Timeout}
	for _, host := range c.Images.Hosts {
		out.Hosts = append(out.Hosts, strings.ToLower(host))
	}
	return out
}

// durable are the places where a running router keeps what shall outlast it,
// each with a lock on it; "" is none.
type durable struct{ journal, cache string }

func (c *Config) durable() (d durable) {
	if c.Usage.Journal != "" {
		d.journal = c.file(c.Usage.Journal)
	}
	if c.Cache.Dir != "" && c.Cache.MaxBytes > 0 {
		d.cache = c.file(c.Cache.Dir)
	}
	return d
}

// gateway is the gateway's part of the configuration.
func (c *Config) gateway() gateway.Config {
	profile, err := legacy.ParseProfile(c.Legacy.Profile)
	if err != nil {
		panic(err) // validate knows the same words
	}
	out := gateway.Config{
		BodiesBytes: int64(c.Memory.Bodies),
		CacheCharge: float64(c.Cache.Charge),
		OpenAI: gateway.OpenAI{
			MaxBody:   int64(c.OpenAI.MaxBody),
			Timeout:   c.OpenAI.Timeout,
			Streaming: c.OpenAI.StreamTimeout,
			Silence:   c.OpenAI.Silence,
			Queue:     c.OpenAI.Queue,
			MaxN:      c.OpenAI.MaxN,
		},
		Legacy: gateway.Legacy{
			Profile:       profile,
			Model:         c.Legacy.Model,
			MaxBody:       int64(c.Legacy.MaxBody),
			Timeout:       c.Legacy.Timeout,
			BatchParallel: c.Legacy.Batch.Parallel,
		},
		Time: gateway.Time{
			Header:    c.HTTP.HeaderTimeout,
			Body:      c.HTTP.BodyTimeout,
			Idle:      c.HTTP.IdleTimeout,
			Write:     c.HTTP.WriteTimeout,
			KeepAlive: c.OpenAI.KeepAlive,
			LameDuck:  c.HTTP.LameDuck,
		},
	}
	for _, network := range c.HTTP.TrustedProxies {
		out.TrustedProxies = append(out.TrustedProxies, network.Prefix)
	}
	return out
}

// pool is a pool's part, with the names that its backends must serve, also in
// place of another pool.
func (c *Config) pool(name string) backends.Config {
	p := c.Pools[name]
	out := backends.Config{
		Name:           name,
		Policy:         p.Policy,
		MaxQueue:       p.MaxQueue,
		ProbeInterval:  p.Health.Interval,
		ProbeTimeout:   p.Health.Timeout,
		DownAfter:      p.Health.DownAfter,
		UpAfter:        p.Health.UpAfter,
		StallSilence:   p.Health.Silence,
		StallProbe:     p.Health.ProbeOverdue,
		BreakerOpenMin: p.Breaker.OpenMin,
		BreakerOpenMax: p.Breaker.OpenMax,
		RetryShare:     float64(p.Retry.Percent) / 100,
		RetryMin:       p.Retry.Min,
	}
	for _, b := range p.Backends {
		key := b.APIKey
		if b.APIKeyFile.Name != "" {
			key = b.APIKeyFile.value
		}
		out.Backends = append(out.Backends, backends.Backend{Name: b.Name, URL: b.URL, APIKey: string(key), MaxInFlight: b.MaxInFlight})
	}
	for _, model := range slices.Sorted(maps.Keys(c.Models)) {
		if m := c.Models[model]; m.Pool == name || c.Pools[m.Pool].Fallback == name {
			out.Models = append(out.Models, m.ServedAs)
		}
	}
	return out
}

// completions is the models' part, in the order of their names.
func (c *Config) completions() completions.Config {
	var out completions.Config
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		m := c.Models[name]
		out.Models = append(out.Models, completions.Model{
			Name:     name,
			Aliases:  m.Aliases,
			Pool:     m.Pool,
			ServedAs: m.ServedAs,
			Recipe: completions.Recipe{
				Members:   m.Recipe.Members,
				MaxTokens: m.Recipe.MaxTokens,
				MaxImages: m.Recipe.MaxImages,
			},
			Guard: completions.Guard{Repeats: m.Guard.Repeats, Cut: m.Guard.Cut},
		})
	}
	return out
}
