package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"ocrmux/admin"
	"ocrmux/auth"
	"ocrmux/backends"
)

// operators is the server of the operators' listener. It has no timeouts for
// reading and writing: a drain and a profile take as long as they are asked to.
func (r *rooms) operators(c *Config) (*http.Server, error) {
	ring, err := auth.NewKeyRing(c.file(c.Keys.File), []byte(c.Keys.PepperFile.value))
	if err != nil {
		return nil, err
	}
	handler := admin.New(
		admin.Config{
			Token:    func() string { return string(c.Admin.TokenFile.value) },
			Loopback: loopback(c.Admin.Listen),
		},
		admin.Deps{
			Log:      r.log,
			Registry: r.registry,
			Ready:    r.gateway.Ready,
			Checks: []admin.Check{
				{Name: "key file", Err: r.gate.KeyFileError},
				{Name: "config", Err: r.configError},
				{Name: "usage journal", Err: r.ledger.JournalError},
			},
			Keys:    ring,
			Applied: r.gate.Follow,
			Usage:   r.ledger,
			Pools:   func() []*backends.Pool { return inOrder(r.fleet.of(r.config())) },
			Reload:  func(ctx context.Context) (any, error) { return r.Reload(ctx) },
			Config:  func() (json.RawMessage, error) { return configJSON(r.config()) },
			Cache:   r.results.store,
		},
	)
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}, nil
}
