package completions_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/balancer"
	"ocrmux/completions"
)

func TestNew_RefusesNamesAndPoolsThatMakeNoSense(t *testing.T) {
	pools := map[string]completions.Pool{"main": &pool{}}
	for _, c := range []struct {
		name   string
		models []completions.Model
		want   string
	}{
		{"no such pool", []completions.Model{{Name: "a", Pool: "other"}}, `model "a": there is no pool "other"`},
		{"no name", []completions.Model{{Pool: "main"}}, `model "": it has no name`},
		{"a name twice", []completions.Model{{Name: "a", Pool: "main"}, {Name: "a", Pool: "main"}}, `the model name "a" stands for two models`},
		{"an alias is a name", []completions.Model{{Name: "a", Pool: "main"}, {Name: "b", Pool: "main", Aliases: []string{"a"}}}, `the model name "a" stands for two models`},
	} {
		if _, err := completions.New(completions.Config{Models: c.models}, completions.Deps{Pools: pools}); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestModel_IsFoundByNameAndAlias(t *testing.T) {
	s := service(t, &pool{}, nil)
	m := s.Model(model)
	if m == nil || s.Model(alias) != m || s.Model("nobody") != nil || len(s.Models()) != 1 {
		t.Fatalf("got %v, %v", m, s.Models())
	}
	if m.ServedAs != served || m.Recipe.MaxImages != 1 || fmt.Sprint(m.Names()) != "["+model+" "+alias+"]" {
		t.Errorf("got %+v", m)
	}
	plain, err := completions.New(completions.Config{Models: []completions.Model{{Name: "a", Pool: "main"}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": &pool{}}})
	if err != nil || plain.Model("a").ServedAs != "a" {
		t.Errorf("got %v, want a model that is served under its own name", err)
	}
}

// two is a service before a pool and the one that stands in for it.
func two(t *testing.T, first, second completions.Pool) *completions.Service {
	t.Helper()
	s, err := completions.New(
		completions.Config{Models: []completions.Model{{Name: model, Pool: "main", ServedAs: served, Recipe: recipe}}},
		completions.Deps{
			Pools:    map[string]completions.Pool{"main": first, "spare": second},
			Fallback: map[string]string{"main": "spare"},
			Log:      slog.New(slog.DiscardHandler),
		})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFallback_IsAskedOnlyWhereNoBackendIsUsable(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{backends.ErrUnavailable, 1},
		{fmt.Errorf("pool main: %w", backends.ErrUnavailable), 1},
		{backends.ErrBusy, 0},
		{backends.ErrLost, 0},
		{backends.ErrMalformed, 0},
		{context.Canceled, 0},
	} {
		spare := answering("from the spare", "stop")
		spare.maxLen = 32768
		s := two(t, failing(c.err), spare)
		a, err := s.Whole(t.Context(), upload(s, picture(1), "x"))
		if spare.times() != c.want {
			t.Errorf("%v: the fallback was asked %d times, want %d", c.err, spare.times(), c.want)
		}
		if c.want == 0 {
			if !errors.Is(err, c.err) || a == nil {
				t.Errorf("%v: got %v, %v", c.err, a, err)
			}
			continue
		}
		if err != nil || a.Text != "from the spare" || !strings.Contains(spare.body(), `"max_tokens":8192`) {
			t.Errorf("%v: got %+v, %v; the body must suit the fallback: %s", c.err, a, err, spare.body())
		}
	}
}

func TestFallback_GetsWhatIsLeftOfTheQueuesTime(t *testing.T) {
	main := &pool{script: func(context.Context, *backends.Request, backends.Sink) (backends.Receipt, error) {
		return backends.Receipt{Start: backends.Start{Queue: 3 * time.Second}}, backends.ErrUnavailable
	}}
	spare := answering("x", "stop")
	s := two(t, main, spare)
	r := upload(s, picture(1), "x")
	for limit, want := range map[time.Duration]time.Duration{10 * time.Second: 7 * time.Second, time.Second: 0} {
		r.QueueFor = limit
		a, err := s.Whole(t.Context(), r)
		if got := spare.asked[spare.times()-1].QueueFor; err != nil || got != want || a.Receipt.Queue != 3*time.Second {
			t.Errorf("of %v: got %v, want %v; waited %v, %v", limit, got, want, a.Receipt.Queue, err)
		}
	}
}

func TestFallback_AddsItsTimeToTheFirstPools(t *testing.T) {
	gives := func(busy time.Duration, err error) *pool {
		return &pool{script: func(_ context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
			if err == nil {
				begun(s)
				err = give(s, answer("x", "stop", true)...)
			}
			return backends.Receipt{Busy: busy}, err
		}}
	}
	s := two(t, gives(2*time.Second, backends.ErrUnavailable), gives(3*time.Second, nil))
	if a, err := s.Whole(t.Context(), page(s)); err != nil || a.Receipt.Busy != 5*time.Second {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestUsable_CountsTheFallbackToo(t *testing.T) {
	up, down := &pool{idle: true}, &pool{}
	for _, c := range []struct {
		first, second *pool
		want          bool
	}{{up, down, true}, {down, up, true}, {down, down, false}} {
		s := two(t, c.first, c.second)
		if got := s.Usable(s.Model(model)); got != c.want {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
	if s := service(t, down, nil); s.Usable(s.Model(model)) {
		t.Error("a model without a backend or a fallback is usable")
	}
}

func TestRequest_TellsThePoolWhoAsks(t *testing.T) {
	p := answering("x", "stop")
	s := service(t, p, nil)
	r := upload(s, picture(1), "x")
	r.Batch, r.Weight, r.QueueFor = true, 2.5, 9*time.Second
	if _, err := s.Whole(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if q := p.asked[0]; q.Tenant != "acme" || q.Class != balancer.Batch || q.Weight != 2.5 || q.QueueFor != 9*time.Second {
		t.Errorf("got %+v", q)
	}
}

func TestWhole_ForgetsWhatAFailedAttemptGave(t *testing.T) {
	p := &pool{script: func(_ context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		s.Begin(backends.Start{Backend: "gpu0", Attempts: 1})
		if err := give(s, answer("half of the wrong", "length", true)[:2]...); err != nil {
			return backends.Receipt{}, err
		}
		if !s.Restart() {
			t.Error("an answer that nobody has seen cannot be begun anew")
		}
		s.Begin(backends.Start{Backend: "gpu1", Attempts: 2})
		return backends.Receipt{}, give(s, answer("the right one", "stop", false)...)
	}}
	s := service(t, p, nil)
	a, err := s.Whole(t.Context(), upload(s, picture(1), "x"))
	if err != nil || a.Text != "the right one" || a.Finish != "stop" || a.Usage.TotalTokens != 0 {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestWhole_HandsOutABodyAsItCame(t *testing.T) {
	p := answering("x", "stop")
	s := service(t, p, nil)
	a, err := s.Whole(t.Context(), client(t, s, `{"model":"`+alias+`","messages":[{"role":"user","content":"x"}]}`))
	if err != nil || !strings.HasPrefix(string(a.JSON), `{"id":"x","choices":[`) || a.Text != "" || p.asked[0].Stream {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestWhole_BoundsTheTextOfAnAnswer(t *testing.T) {
	endless := event(strings.Repeat("x", 1<<20))
	p := &pool{script: func(_ context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		for range 64 {
			if err := give(s, endless); err != nil {
				return backends.Receipt{}, err
			}
		}
		return backends.Receipt{}, nil
	}}
	s := service(t, p, nil)
	if a, err := s.Whole(t.Context(), upload(s, picture(1), "x")); err == nil {
		t.Errorf("got %d MiB of text and no error", len(a.Text)>>20)
	}
}
