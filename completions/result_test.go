package completions_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/completions"
)

func TestResult_IsRememberedAndFoundByBothRoutes(t *testing.T) {
	m := new(memory)
	p := answering("the page's text", "stop")
	s := service(t, p, m)
	ask := func(r *completions.Request) *completions.Answer {
		t.Helper()
		a, err := s.Whole(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if a.Text != "the page's text" || a.Finish != "stop" || a.Usage.TotalTokens != 10 {
			t.Errorf("got %+v", a)
		}
		return a
	}
	page, body := upload(s, picture(1), "Free OCR."), client(t, s, chat(picture(1), "Free OCR.", ""))
	if a := ask(page); a.Cache != completions.Miss || a.Cache.String() != "miss" {
		t.Errorf("first: got %s", a.Cache)
	}
	for _, r := range []*completions.Request{body, page} {
		if a := ask(r); a.Cache != completions.Hit || a.Age != time.Minute || a.Receipt.Backend != "" || (a.JSON != nil) != (r.Client != nil) {
			t.Errorf("again: got %+v", a)
		}
	}
	if p.times() != 1 {
		t.Errorf("the pool was asked %d times, want once", p.times())
	}

	body.Control = completions.NoCache
	if a := ask(body); a.Cache != completions.Miss || a.JSON == nil || m.puts != 2 {
		t.Errorf("no-cache: got %s, %d puts", a.Cache, m.puts)
	}
	page.Control = completions.NoStore
	if a := ask(page); a.Cache != completions.Bypass || a.Cache.String() != "bypass" || m.puts != 2 {
		t.Errorf("no-store: got %s, %d puts", a.Cache, m.puts)
	}
	if p.times() != 3 {
		t.Errorf("the pool was asked %d times, want 3", p.times())
	}
}

func TestResult_ThatIsNotWholeIsNotRemembered(t *testing.T) {
	for _, finish := range []string{"length", "repetition", "content_filter", "tool_calls", "abort"} {
		m := new(memory)
		s := service(t, answering("half a page", finish), m)
		for _, r := range []*completions.Request{upload(s, picture(1), "x"), client(t, s, chat(picture(1), "x", ""))} {
			if a, err := s.Whole(t.Context(), r); err != nil || a.Cache != completions.Miss || a.Finish != finish {
				t.Errorf("%s: got %+v, %v", finish, a, err)
			}
		}
		if m.puts != 0 {
			t.Errorf("%s: remembered", finish)
		}
	}
	m := new(memory)
	s := service(t, failing(backends.ErrLost), m)
	if _, err := s.Whole(t.Context(), upload(s, picture(1), "x")); !errors.Is(err, backends.ErrLost) || m.puts != 0 {
		t.Errorf("got %v, %d puts", err, m.puts)
	}
}

func TestResult_OfACallerWhoLeftIsRememberedAllTheSame(t *testing.T) {
	m := new(memory)
	p := answering("x", "stop")
	ctx, leave := context.WithCancel(t.Context())
	answer := p.script
	p.script = func(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		defer leave() // just when the answer is complete
		return answer(ctx, r, s)
	}
	s := service(t, p, m)
	if _, err := s.Whole(ctx, upload(s, picture(1), "x")); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Whole(t.Context(), upload(s, picture(1), "x")); err != nil || a.Cache != completions.Hit {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestCache_ThatFailsIsAMiss(t *testing.T) {
	m := &memory{err: errors.New("broken")}
	p := answering("x", "stop")
	s := service(t, p, m)
	for range 2 {
		if a, err := s.Whole(t.Context(), upload(s, picture(1), "x")); err != nil || a.Text != "x" {
			t.Errorf("got %+v, %v", a, err)
		}
		for key := range m.values { // another program wrote it
			m.values[key] = []byte("not JSON")
		}
	}
	if p.times() != 2 {
		t.Errorf("the pool was asked %d times, want 2", p.times())
	}
}
