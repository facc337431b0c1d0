package completions

import (
	"context"
	"encoding/json"

	"ocrmux/compat"
)

// CacheState says what the cache had to do with an answer. Its String is what
// callers see in x-ocrmux-cache.
type CacheState uint8

const (
	Bypass CacheState = iota // not asked: off, not deterministic, or the caller said no-store
	Miss                     // not remembered, or a fresh run was wanted; it is now, if it is whole
	Hit
	Joined // it came of an equal request that was already in progress
)

func (c CacheState) String() string { return [...]string{"bypass", "miss", "hit", "joined"}[c] }

// result is what is remembered of an answer: enough to render it for any caller.
type result struct {
	Text   string       `json:"text"`
	Finish string       `json:"finish"`
	Usage  compat.Usage `json:"usage"`
}

// ImageSum is what names a request's image while its body is read, for
// compat.Rules; nil where no answer in this dialect is remembered.
func (s *Service) ImageSum(d compat.Dialect) func(text []byte) ([32]byte, error) {
	if s.deps.Cache == nil || d != compat.Chat {
		return nil
	}
	return s.deps.Digest.SumBase64
}

// key names what r asks for, where only one answer to it is possible and the
// cache is on: then the answer may be a remembered or another's.
func (s *Service) key(r *Request) (key [32]byte, ok bool) {
	if s.deps.Cache == nil || r.Control == NoStore {
		return key, false
	}
	q, ok := r.question(s.deps.Digest)
	if !ok {
		return key, false
	}
	return q.key(), true
}

// recall returns the remembered answer; nil where there is none.
func (s *Service) recall(ctx context.Context, key [32]byte) *Answer {
	value, age, ok, err := s.deps.Cache.Get(ctx, key)
	if err != nil {
		s.deps.Log.Warn("the cache did not answer", "err", err)
	}
	if !ok {
		return nil
	}
	var res result
	if err := json.Unmarshal(value, &res); err != nil {
		s.deps.Log.Warn("a remembered result is unreadable", "err", err)
		return nil
	}
	return &Answer{Text: res.Text, Finish: res.Finish, Usage: res.Usage, Cache: Hit, Age: age}
}

// remember keeps a, the answer to r, where it is sound: one that was cut by its
// length, or by anything else, or that repeats itself, is not what the page says.
func (s *Service) remember(ctx context.Context, r *Request, key [32]byte, a *Answer) {
	if a.Finish != "stop" || a.Quality != Sound {
		return
	}
	value, err := json.Marshal(result{Text: a.Text, Finish: a.Finish, Usage: a.Usage})
	if err == nil {
		// the work is done: that the last caller leaves now must not lose it
		err = s.deps.Cache.Put(context.WithoutCancel(ctx), key, value, r.Tenant, r.Model.Name)
	}
	if err != nil {
		s.deps.Log.Warn("a result could not be remembered", "err", err)
	}
}
