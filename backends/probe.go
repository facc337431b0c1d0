package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"ocrmux/balancer"
)

const (
	maxProbes     = 3       // under way at one backend
	maxProbeBytes = 1 << 20 // read of an answer to a probe
	maxModels     = 256     // remembered of one backend
)

// watch probes b until ctx ends.
func (p *Pool) watch(ctx context.Context, b *backend) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var last time.Time
	for ctx.Err() == nil {
		s := p.settings.Load()
		if wait := time.Until(last.Add(s.ProbeInterval)); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.replaced: // perhaps by a shorter interval
			case <-ctx.Done():
			}
			continue
		}
		last = time.Now()
		if p.probeBegins(b) {
			// Beside the loop: a probe that hangs must not keep the next one from
			// showing that the backend is back.
			wg.Go(func() { p.probeOnce(ctx, b, s) })
		}
	}
}

func (p *Pool) probeBegins(b *backend) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.probes >= maxProbes {
		return false
	}
	b.probes++
	p.apply(p.balancer.Probe(time.Now(), b.id, balancer.ProbeStarted))
	return true
}

// probeOnce asks for b's health, and now and then for its models. A backend
// that comes up is asked for them first, so that nothing is sent to it that it
// does not serve.
func (p *Pool) probeOnce(ctx context.Context, b *backend, s *settings) {
	within, cancel := context.WithTimeout(ctx, s.ProbeTimeout)
	defer cancel()
	_, err := p.get(within, b, b.health)
	event := balancer.ProbeSucceeded
	if err != nil {
		event = balancer.ProbeFailed
	}
	p.mu.Lock()
	rises := event == balancer.ProbeSucceeded && (b.failed || b.listed.IsZero())
	due := event == balancer.ProbeSucceeded && time.Since(b.listed) >= s.ModelsInterval
	p.mu.Unlock()
	if rises {
		p.listModels(within, b)
	}
	p.advance(func() []balancer.Effect {
		b.probes--
		b.failed = event == balancer.ProbeFailed
		return p.balancer.Probe(time.Now(), b.id, event)
	})
	if due && !rises {
		p.listModels(within, b)
	}
}

// listModels asks b what it serves. Where it does not say, what was known
// stays.
func (p *Pool) listModels(ctx context.Context, b *backend) {
	body, err := p.get(ctx, b, b.list)
	var list struct {
		Data []struct {
			ID          string `json:"id"`
			MaxModelLen int    `json:"max_model_len"`
		} `json:"data"`
	}
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	if err == nil && list.Data == nil {
		err = errors.New("the answer has no data")
	}
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("a backend does not list its models", "backend", b.Name, "error", err)
		}
		return
	}
	models := []model{} // none is not the same as unknown
	var names []string
	for _, m := range list.Data[:min(len(list.Data), maxModels)] {
		models = append(models, model{m.ID, m.MaxModelLen})
		names = append(names, m.ID)
	}
	missing := ""
	p.advance(func() []balancer.Effect {
		b.models, b.listed = models, time.Now()
		missing = b.nowMissing(p.settings.Load().Models)
		p.storeLimits()
		return p.balancer.Serves(time.Now(), b.id, names)
	})
	if missing != "" {
		p.warnMissing(b.Name, missing)
	}
}

func (p *Pool) warnMissing(backend, missing string) {
	p.log.Warn("a backend does not serve a configured model", "backend", backend, "missing", missing)
}

// storeLimits works out the smallest max_model_len by model. p.mu is held.
func (p *Pool) storeLimits() {
	limits := make(map[string]int)
	for _, b := range p.current {
		for _, m := range b.models {
			if had, ok := limits[m.name]; m.maxLen > 0 && (!ok || m.maxLen < had) {
				limits[m.name] = m.maxLen
			}
		}
	}
	p.limits.Store(&limits)
}

// MaxModelLen is the smallest context length, in tokens, among the backends
// that serve model; 0 while none has said.
func (p *Pool) MaxModelLen(model string) int {
	if limits := p.limits.Load(); limits != nil {
		return (*limits)[model]
	}
	return 0
}

// get returns the body of a 200.
func (p *Pool) get(ctx context.Context, b *backend, u *url.URL) ([]byte, error) {
	req := newRequest(http.MethodGet, u).WithContext(ctx)
	req.Header = http.Header{"Accept": {"*/*"}, "User-Agent": []string{userAgent}}
	if b.authorization != nil {
		req.Header["Authorization"] = b.authorization
	}
	resp, err := p.probe.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBytes))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return body, err
}
