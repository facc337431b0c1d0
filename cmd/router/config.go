package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ocrmux/backends"
	"ocrmux/fetch"
	"ocrmux/gateway"
)

// Config is config.yaml: what can be set, under which key, and what holds
// where the file says nothing (defaults, setDefaults). What each setting means
// is written in the config.yaml of the repository's root, which states all of
// them; a tag says what a value must at least be, which words it may be, or that
// it takes a restart to change it.
type Config struct {
	HTTP   HTTP             `yaml:"http"`
	Admin  Admin            `yaml:"admin" change:"restart"`
	Log    Log              `yaml:"log"`
	Keys   Keys             `yaml:"keys" change:"restart"`
	Limits Ceilings         `yaml:"limits"`
	Usage  Usage            `yaml:"usage"`
	Memory Memory           `yaml:"memory"`
	Cache  Cache            `yaml:"cache"`
	OpenAI OpenAI           `yaml:"openai"`
	Images Images           `yaml:"images"`
	Legacy Legacy           `yaml:"legacy"`
	Pools  map[string]Pool  `yaml:"pools"`
	Models map[string]Model `yaml:"models"`

	from  source
	asked map[string]bool // environment variables that the file names
}

// source is where a configuration is from.
type source struct {
	path   string                      // of the file, in whose directory relative names start
	env    func(string) (string, bool) // os.LookupEnv
	digest [sha256.Size]byte           // of what the file held
}

// HTTP is the main listener.
type HTTP struct {
	Listen         string        `yaml:"listen" change:"restart"`
	TrustedProxies []Network     `yaml:"trusted_proxies"`
	TLS            TLS           `yaml:"tls" change:"restart"`
	HeaderTimeout  time.Duration `yaml:"header_timeout" min:"1ms" change:"restart"`
	BodyTimeout    time.Duration `yaml:"body_timeout" min:"1ms"`
	IdleTimeout    time.Duration `yaml:"idle_timeout" min:"1ms" change:"restart"`
	WriteTimeout   time.Duration `yaml:"write_timeout" min:"1ms"`
	LameDuck       time.Duration `yaml:"lame_duck" min:"1ms"`
	Drain          time.Duration `yaml:"drain" min:"1ms"`
}

// TLS names the certificate of the main listener; empty for plain HTTP.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Admin is the second listener.
type Admin struct {
	Listen    string     `yaml:"listen"`
	TokenFile SecretFile `yaml:"token_file"`
}

// Log is how the router writes its log.
type Log struct {
	Level  string `yaml:"level" oneof:"debug info warn error"`
	Format string `yaml:"format" oneof:"json text" change:"restart"`
}

// Keys is who may call.
type Keys struct {
	File       string     `yaml:"file"`
	PepperFile SecretFile `yaml:"pepper_file"`
}

// Limits bound what requests take; 0 is no limit.
type Limits struct {
	RequestsPerMinute   int `yaml:"requests_per_minute" min:"0"`
	ImagesPerMinute     int `yaml:"images_per_minute" min:"0"`
	MegapixelsPerMinute int `yaml:"megapixels_per_minute" min:"0"`
	TokensPerMinute     int `yaml:"tokens_per_minute" min:"0"`
	InProgress          int `yaml:"in_progress" min:"0"`
}

// Ceilings are the Limits of all requests together, and of those of a route.
type Ceilings struct {
	RequestsPerMinute   int               `yaml:"requests_per_minute" min:"0"`
	ImagesPerMinute     int               `yaml:"images_per_minute" min:"0"`
	MegapixelsPerMinute int               `yaml:"megapixels_per_minute" min:"0"`
	TokensPerMinute     int               `yaml:"tokens_per_minute" min:"0"`
	InProgress          int               `yaml:"in_progress" min:"0"`
	Routes              map[string]Limits `yaml:"routes"`
}

// Usage is the record of what tenants have used.
type Usage struct {
	Journal string `yaml:"journal" change:"restart"`
}

// Memory bounds what requests hold.
type Memory struct {
	Bodies Size `yaml:"bodies" min:"1MiB"`
}

// Cache is the store of results.
type Cache struct {
	MaxBytes  Size          `yaml:"max_bytes" min:"0"`
	TTL       time.Duration `yaml:"ttl" min:"0s"`
	Charge    Share         `yaml:"charge"`
	Dir       string        `yaml:"dir" change:"restart"`
	DiskBytes Size          `yaml:"disk_bytes" min:"1MiB"`
}

// OpenAI bounds the routes under /v1.
type OpenAI struct {
	MaxBody       Size          `yaml:"max_body" min:"1KiB"`
	MaxN          int           `yaml:"max_n" min:"1"`
	Queue         time.Duration `yaml:"queue" min:"1ms"`
	Timeout       time.Duration `yaml:"timeout" min:"1ms"`
	StreamTimeout time.Duration `yaml:"stream_timeout" min:"1ms"`
	Silence       time.Duration `yaml:"silence" min:"1ms"`
	KeepAlive     time.Duration `yaml:"keep_alive" min:"1ms"`
}

// Images is whether image URLs are fetched, and how.
type Images struct {
	Fetch    bool          `yaml:"fetch"`
	MaxBytes Size          `yaml:"max_bytes" min:"1KiB"`
	Timeout  time.Duration `yaml:"timeout" min:"1ms"`
	Hosts    []string      `yaml:"hosts"`
}

// Legacy is the face of the old service.
type Legacy struct {
	Profile string        `yaml:"profile" oneof:"union app app_standard"`
	Model   string        `yaml:"model"`
	MaxBody Size          `yaml:"max_body" min:"1KiB"`
	Timeout time.Duration `yaml:"timeout" min:"1ms"`
	Batch   Batch         `yaml:"batch"`
}

// Batch bounds /ocr/batch.
type Batch struct {
	Parallel int `yaml:"parallel" min:"1"`
}

// Pool is a set of backends with one queue.
type Pool struct {
	Backends []Backend `yaml:"backends"`
	Policy   string    `yaml:"policy" oneof:"least_loaded round_robin"`
	MaxQueue int       `yaml:"max_queue" min:"1"`
	Fallback string    `yaml:"fallback"`
	Health   Health    `yaml:"health"`
	Breaker  Breaker   `yaml:"breaker"`
	Retry    Retry     `yaml:"retry"`
}

// Health is when a backend counts as up, down or suspect.
type Health struct {
	Interval     time.Duration `yaml:"interval" min:"1ms"`
	Timeout      time.Duration `yaml:"timeout" min:"1ms"`
	DownAfter    int           `yaml:"down_after" min:"1"`
	UpAfter      int           `yaml:"up_after" min:"1"`
	Silence      time.Duration `yaml:"silence" min:"1ms"`
	ProbeOverdue time.Duration `yaml:"probe_overdue" min:"1ms"`
}

// Breaker is how long a backend that fails gets no work.
type Breaker struct {
	OpenMin time.Duration `yaml:"open_min" min:"1ms"`
	OpenMax time.Duration `yaml:"open_max" min:"1ms"`
}

// Retry bounds second attempts.
type Retry struct {
	Percent int `yaml:"percent" min:"1"`
	Min     int `yaml:"min" min:"1"`
}

// Backend is one vLLM server.
type Backend struct {
	Name        string     `yaml:"name"`
	URL         string     `yaml:"url"`
	APIKey      Secret     `yaml:"api_key"`
	APIKeyFile  SecretFile `yaml:"api_key_file"`
	MaxInFlight int        `yaml:"max_in_flight" min:"1"`
}

// Model is a name that clients may ask for.
type Model struct {
	Pool     string   `yaml:"pool"`
	ServedAs string   `yaml:"served_as"`
	Aliases  []string `yaml:"aliases"`
	Recipe   Recipe   `yaml:"recipe"`
	Guard    Guard    `yaml:"guard"`
}

// Guard is against answers that run away.
type Guard struct {
	Repeats int  `yaml:"repeats" min:"0"`
	Cut     bool `yaml:"cut"`
}

// defaults are the rooms' own, and what no room knows of.
func defaults() *Config {
	g, f := gateway.Defaults(), fetch.Defaults()
	return &Config{
		HTTP: HTTP{
			Listen:        "127.0.0.1:5000",
			HeaderTimeout: g.Time.Header,
			BodyTimeout:   g.Time.Body,
			IdleTimeout:   g.Time.Idle,
			WriteTimeout:  g.Time.Write,
			LameDuck:      g.Time.LameDuck,
			Drain:         60 * time.Second,
		},
		Admin:  Admin{Listen: "127.0.0.1:5001"},
		Log:    Log{Level: "info", Format: "json"},
		Keys:   Keys{File: "keys.yaml"},
		Memory: Memory{Bodies: Size(g.BodiesBytes)},
		Cache:  Cache{MaxBytes: 256 << 20, TTL: 24 * time.Hour, DiskBytes: 4 << 30},
		OpenAI: OpenAI{
			MaxBody:       Size(g.OpenAI.MaxBody),
			MaxN:          g.OpenAI.MaxN,
			Queue:         g.OpenAI.Queue,
			Timeout:       g.OpenAI.Timeout,
			StreamTimeout: g.OpenAI.Streaming,
			Silence:       g.OpenAI.Silence,
			KeepAlive:     g.Time.KeepAlive,
		},
		Images: Images{MaxBytes: Size(f.MaxBytes), Timeout: f.Timeout},
		Legacy: Legacy{
			Profile: "union",
			MaxBody: Size(g.Legacy.MaxBody),
			Timeout: g.Legacy.Timeout,
			Batch:   Batch{Parallel: g.Legacy.BatchParallel},
		},
	}
}

func (p *Pool) setDefaults() {
	d := backends.Defaults()
	p.Policy, p.MaxQueue = d.Policy, d.MaxQueue
	p.Health = Health{
		Interval:     d.ProbeInterval,
		Timeout:      d.ProbeTimeout,
		DownAfter:    d.DownAfter,
		UpAfter:      d.UpAfter,
		Silence:      d.StallSilence,
		ProbeOverdue: d.StallProbe,
	}
	p.Breaker = Breaker{OpenMin: d.BreakerOpenMin, OpenMax: d.BreakerOpenMax}
	p.Retry = Retry{Percent: int(math.Round(100 * d.RetryShare)), Min: d.RetryMin}
}

func (b *Backend) setDefaults() { b.MaxInFlight = backends.DefaultMaxInFlight }

func (m *Model) setDefaults() { m.Recipe.MaxImages, m.Guard.Repeats = 1, 20 }

// load reads and validates a configuration. An error of kind *problems lists
// all that is wrong.
func load(path string, env func(string) (string, bool)) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(data, path, env)
}

// parse makes a configuration of what a file holds.
func parse(data []byte, path string, env func(string) (string, bool)) (*Config, error) {
	c := defaults()
	c.from = source{path, env, sha256.Sum256(data)}
	c.asked = map[string]bool{}
	d := &decoder{problems: problems{file: path}, dir: c.dir(), env: func(name string) (string, bool) {
		c.asked[name] = true
		return env(name)
	}}
	if d.document(data, c) {
		c.fill()
		d.validate(c)
	}
	if len(d.list) > 0 {
		return nil, &d.problems
	}
	return c, nil
}

// fill gives what is left out the value that follows from the rest.
func (c *Config) fill() {
	for name, m := range c.Models {
		if m.ServedAs == "" {
			m.ServedAs = name
		}
		c.Models[name] = m
	}
	if names := slices.Collect(maps.Keys(c.Models)); c.Legacy.Model == "" && len(names) == 1 {
		c.Legacy.Model = names[0]
	}
}

func (c *Config) dir() string { return filepath.Dir(c.from.path) }

// file finds a file that the configuration names.
func (c *Config) file(name string) string { return resolve(c.dir(), name) }

// key is the path of an element of a list.
func key(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
