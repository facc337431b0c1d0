package completions_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"ocrmux/backends"
	"ocrmux/completions"
)

// guarded is a Service whose model has a guard.
func guarded(t *testing.T, p completions.Pool, cache completions.Cache, guard completions.Guard) *completions.Service {
	t.Helper()
	s, err := completions.New(
		completions.Config{Models: []completions.Model{{Name: model, Pool: "main", Recipe: recipe, Guard: guard}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": p}, Cache: cache, Log: slog.New(slog.DiscardHandler)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const repeated = "one line of a page, again and again. "

// endless says the same 400 times. It tells how much of that was taken.
func endless(taken *int) *pool {
	return &pool{maxLen: 8192, script: func(_ context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
		s.Begin(backends.Start{Backend: "gpu0", Attempts: 1})
		for *taken = 0; *taken < 400; *taken++ {
			if err := give(s, event(repeated)); err != nil {
				return backends.Receipt{}, err
			}
		}
		return backends.Receipt{}, give(s, answer("", "length", true)...)
	}}
}

func TestQuality_OfAPageIsMarkedAndNotRemembered(t *testing.T) {
	loop := strings.Repeat(repeated, 30)
	for name, c := range map[string]struct {
		text, finish string
		guard        completions.Guard
		want         completions.Quality
	}{
		"sound":                   {"text", "stop", completions.Guard{Repeats: 20}, completions.Sound},
		"ended by its length":     {"text", "length", completions.Guard{Repeats: 20}, completions.Truncated},
		"without a guard too":     {"text", "length", completions.Guard{}, completions.Truncated},
		"a loop":                  {loop, "stop", completions.Guard{Repeats: 20}, completions.Looping},
		"a loop without an end":   {loop, "length", completions.Guard{Repeats: 20}, completions.Looping},
		"as often as it may":      {loop, "stop", completions.Guard{Repeats: 30}, completions.Sound},
		"nobody looks":            {loop, "stop", completions.Guard{}, completions.Sound},
		"found out by the server": {"text", "repetition", completions.Guard{}, completions.Looping},
	} {
		store := new(memory)
		s := guarded(t, answering(c.text, c.finish), store, c.guard)
		a, err := s.Whole(t.Context(), upload(s, picture(1), "p"))
		if err != nil || a.Quality != c.want || a.Text != c.text || a.Finish != c.finish {
			t.Errorf("%s: %v, %q %q %v", name, a.Quality, a.Text, a.Finish, err)
		}
		if remembered := store.puts > 0; remembered != (c.want == completions.Sound) {
			t.Errorf("%s: remembered %t", name, remembered)
		}
		whole, err := s.Whole(t.Context(), client(t, s, chat(picture(2), "p", "")))
		if err != nil || whole.Quality != c.want || whole.JSON == nil {
			t.Errorf("%s, as JSON: %v %v", name, whole.Quality, err)
		}
	}
}

func TestQuality_OfAStreamIsKnownAtItsEnd(t *testing.T) {
	var taken int
	p := endless(&taken)
	s := guarded(t, p, nil, completions.Guard{Repeats: 20})
	st := s.Stream(t.Context(), client(t, s, chat(picture(1), "p", `,"stream":true`)))
	all, err := read(st)
	if err != io.EOF {
		t.Fatal(err)
	}
	if _, finish := st.Close(nil); finish != "length" || st.Quality() != completions.Looping || taken != 400 {
		t.Errorf("finish %q, quality %v, %d events", finish, st.Quality(), taken)
	}
	if strings.Count(all, "[DONE]") != 1 {
		t.Errorf("%d bytes end with %q", len(all), all[len(all)-100:])
	}
}

func TestGuard_CutsAStreamThatLoops(t *testing.T) {
	var taken int
	p := endless(&taken)
	s := guarded(t, p, nil, completions.Guard{Repeats: 20, Cut: true})
	st := s.Stream(t.Context(), client(t, s, chat(picture(1), "p", `,"stream":true`)))
	all, err := read(st)
	if err != io.EOF {
		t.Fatal(err)
	}
	if _, finish := st.Close(nil); finish != "length" || st.Quality() != completions.Looping {
		t.Errorf("finish %q, quality %v", finish, st.Quality())
	}
	if taken < 20 || taken > 40 {
		t.Errorf("cut after %d events", taken)
	}
	if !strings.HasSuffix(all, `"finish_reason":"length"}]}`+"\n\ndata: [DONE]\n\n") || strings.Count(all, repeated) != taken+1 {
		t.Errorf("after %d events: %q", taken, all[max(0, len(all)-200):])
	}
}

func TestGuard_CutsAPageThatLoopsAndKeepsWhatCame(t *testing.T) {
	var taken int
	store := new(memory)
	s := guarded(t, endless(&taken), store, completions.Guard{Repeats: 20, Cut: true})
	a, err := s.Whole(t.Context(), upload(s, picture(1), "p"))
	if err != nil || a.Finish != "length" || a.Quality != completions.Looping || strings.Count(a.Text, repeated) != taken+1 || taken > 40 {
		t.Errorf("%v: %q %v after %d events", err, a.Finish, a.Quality, taken)
	}
	if store.puts > 0 {
		t.Error("it was remembered")
	}
}

func TestGuard_CutsNoneOfSeveralChoices(t *testing.T) {
	var taken int
	s := guarded(t, endless(&taken), nil, completions.Guard{Repeats: 20, Cut: true})
	st := s.Stream(t.Context(), client(t, s, chat(picture(1), "p", `,"stream":true,"n":2`)))
	if _, err := read(st); err != io.EOF {
		t.Fatal(err)
	}
	if st.Close(nil); taken != 400 || st.Quality() != completions.Looping {
		t.Errorf("%d events, %v", taken, st.Quality())
	}
}

func TestGuard_BeginsAnewWithEveryAttempt(t *testing.T) {
	half := strings.Repeat(repeated, 12)
	p := &pool{maxLen: 8192, script: func(_ context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		for attempt := 1; attempt <= 2; attempt++ {
			s.Begin(backends.Start{Backend: "gpu0", Attempts: attempt})
			if err := give(s, event(half)); err != nil {
				return backends.Receipt{}, err
			}
			if attempt == 1 && !s.Restart() {
				return backends.Receipt{}, errors.New("it cannot begin anew")
			}
		}
		return backends.Receipt{}, give(s, answer("", "stop", true)...)
	}}
	s := guarded(t, p, nil, completions.Guard{Repeats: 20, Cut: true})
	if a, err := s.Whole(t.Context(), upload(s, picture(1), "p")); err != nil || a.Quality != completions.Sound || a.Text != half {
		t.Errorf("%v %v %q", err, a.Quality, a.Text)
	}
	st := s.Stream(t.Context(), client(t, s, chat(picture(1), "p", `,"stream":true`)))
	if _, finish := st.Close(nil); finish != "stop" || st.Quality() != completions.Sound {
		t.Errorf("a stream: %q %v", finish, st.Quality())
	}
}
