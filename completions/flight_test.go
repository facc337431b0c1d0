package completions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/completions"
)

// slow is a pool whose answers have words words: the first after a second, then
// one every second. It waits for a slot for as long as wait says.
func slow(words int, wait time.Duration) *pool {
	p := &pool{maxLen: 8192}
	p.script = func(ctx context.Context, r *backends.Request, s backends.Sink) (backends.Receipt, error) {
		began := time.Now()
		receipt := backends.Receipt{Start: backends.Start{Backend: "gpu0", Attempts: 1, Queue: wait}, Usage: compat.Usage{TotalTokens: 10}}
		err := play(ctx, s, receipt.Start, answer(strings.TrimSpace(strings.Repeat("word ", words)), "stop", true))
		receipt.Busy = time.Since(began)
		return receipt, err
	}
	return queued(p, wait)
}

// queued lets p's requests wait for a slot before their bodies are sent.
func queued(p *pool, wait time.Duration) *pool {
	p.queue = wait
	return p
}

// play gives one event every second.
func play(ctx context.Context, s backends.Sink, start backends.Start, events []string) error {
	s.Begin(start)
	for _, e := range events {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := give(s, e); err != nil {
			return err
		}
	}
	return nil
}

// page, body and stream are the same question by three ways.
func page(s *completions.Service) *completions.Request { return upload(s, picture(1), "Free OCR.") }

func body(t *testing.T, s *completions.Service) *completions.Request {
	return client(t, s, chat(picture(1), "Free OCR.", ""))
}

func stream(t *testing.T, s *completions.Service, usage bool) *completions.Request {
	return client(t, s, chat(picture(1), "Free OCR.", fmt.Sprintf(`,"stream":true,"stream_options":{"include_usage":%t}`, usage)))
}

// within is a bubble of virtual time with a service before p.
func within(t *testing.T, p *pool, test func(t *testing.T, s *completions.Service, m *memory)) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		s := service(t, p, m)
		test(t, s, m)
		synctest.Wait()
		if n := s.InProgress(); n != 0 {
			t.Errorf("%d flights are left", n)
		}
	})
}

// textOf is what the events of a stream say.
func textOf(t *testing.T, events string) (text string, usage bool) {
	t.Helper()
	for _, e := range strings.SplitAfter(events, "\n\n") {
		data := strings.TrimSuffix(strings.TrimPrefix(e, "data: "), "\n\n")
		var c compat.Chunk
		if data == "" {
			continue
		}
		if err := compat.ParseChunk(compat.Chat, []byte(data), &c); err != nil {
			t.Errorf("%v: %q", err, data)
		}
		usage = usage || c.Usage != nil
		for _, choice := range c.Choices {
			text += string(compat.AppendText(nil, choice.Text))
		}
	}
	return text, usage
}

func TestFlight_AnswersEqualQuestionsOfEveryKindWithOneRun(t *testing.T) {
	p := slow(4, 500*time.Millisecond)
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		const want = "word word word word"
		var all sync.WaitGroup
		var mu sync.Mutex
		states := map[completions.CacheState]int{}
		for i := range 200 {
			all.Go(func() {
				time.Sleep(time.Duration(i%8) * 900 * time.Millisecond) // until just before the end
				var text string
				var state completions.CacheState
				switch i % 4 {
				case 0, 1:
					r := page(s)
					if i%4 == 1 {
						r = body(t, s)
					}
					a, err := s.Whole(t.Context(), r)
					if err != nil || a.Finish != "stop" || a.Usage.TotalTokens != 10 {
						t.Errorf("%d: %+v, %v", i, a, err)
					}
					text, state = a.Text, a.Cache
					var json_ struct {
						Choices []struct{ Message struct{ Content string } }
					}
					if i%4 == 1 && (json.Unmarshal(a.JSON, &json_) != nil || json_.Choices[0].Message.Content != want) {
						t.Errorf("%d: %s", i, a.JSON)
					}
				default:
					st := s.Stream(t.Context(), stream(t, s, i%4 == 2))
					got, err := read(st)
					var usage bool
					if text, usage = textOf(t, got); err != io.EOF || usage != (i%4 == 2) || !strings.HasSuffix(got, "[DONE]\n\n") {
						t.Errorf("%d: %v %q", i, err, got)
					}
					state = st.Cache()
					if _, finish := st.Close(nil); finish != "stop" {
						t.Errorf("%d: finish %q", i, finish)
					}
				}
				if text != want {
					t.Errorf("%d: %q", i, text)
				}
				mu.Lock()
				states[state]++
				mu.Unlock()
			})
		}
		all.Wait()
		if p.times() != 1 || states[completions.Miss] != 1 || states[completions.Joined] != 199 {
			t.Errorf("%d runs, %v", p.times(), states)
		}
		if completions.Joined.String() != "joined" {
			t.Error(completions.Joined)
		}
	})
}

func TestFlight_GivesLateReadersWhatIsThereAtOnce(t *testing.T) {
	within(t, slow(6, 0), func(t *testing.T, s *completions.Service, _ *memory) {
		first := s.Stream(t.Context(), stream(t, s, false))
		defer first.Close(nil)
		time.Sleep(4500 * time.Millisecond)
		st := s.Stream(t.Context(), stream(t, s, false))
		asked := time.Now()
		p, err := st.Next(nil)
		if text, _ := textOf(t, string(p)); err != nil || text != "word word word word " || time.Since(asked) != 0 || st.Awaited() != 0 {
			t.Errorf("%q, %v after %v", text, err, time.Since(asked))
		}
		kept := string(p)
		if _, err := st.Next(nil); err != nil || time.Since(asked) != 500*time.Millisecond {
			t.Errorf("the next one: %v after %v", err, time.Since(asked))
		}
		if string(p) != kept {
			t.Error("what was handed out has changed")
		}
		if _, err := read(st); err != io.EOF {
			t.Error(err)
		}
		receipt, _ := st.Close(nil)
		if receipt.Backend != "gpu0" || receipt.Busy != 0 || receipt.Usage.TotalTokens != 10 || st.Ongoing() {
			t.Errorf("one who joined is told %+v", receipt)
		}
	})
}

func TestFlight_IsNotHeldUpByAReaderThatStalls(t *testing.T) {
	within(t, slow(6, 0), func(t *testing.T, s *completions.Service, _ *memory) {
		stalled := s.Stream(t.Context(), stream(t, s, false))
		began := time.Now()
		if _, err := stalled.Next(nil); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Whole(t.Context(), page(s)); err != nil || time.Since(began) != 9*time.Second {
			t.Errorf("%+v, %v after %v", a, err, time.Since(began))
		}
		time.Sleep(time.Hour)
		if got, err := read(stalled); err != io.EOF || strings.Count(got, "word") != 5 {
			t.Errorf("what was left: %q, %v", got, err)
		}
		stalled.Close(nil)
	})
}

func TestFlight_TellsEveryReaderTheSameFailure(t *testing.T) {
	failure := errors.New("the last attempt failed")
	p := &pool{maxLen: 8192}
	p.script = func(ctx context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
		_ = play(ctx, s, backends.Start{Backend: "gpu0", Attempts: 1}, []string{event("half ")})
		time.Sleep(time.Second)
		return backends.Receipt{Start: backends.Start{Backend: "gpu0", Attempts: 1}}, failure
	}
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				if i%2 == 0 {
					if a, err := s.Whole(t.Context(), page(s)); err != failure || a.Text != "" || a.JSON != nil || a.Receipt.Attempts != 1 {
						t.Errorf("%+v, %v", a, err)
					}
					return
				}
				st := s.Stream(t.Context(), stream(t, s, false))
				if got, err := read(st); err != failure || got != event("half ") {
					t.Errorf("%q, %v", got, err)
				}
				if s.InProgress() != 0 {
					t.Error("one that has failed can be joined")
				}
				st.Close(nil)
			})
		}
		all.Wait()
		if m.puts != 0 || p.times() != 1 {
			t.Errorf("%d remembered, %d runs", m.puts, p.times())
		}
	})
}

func TestFlight_BeginsAnewUntilOneOfItsReadersHasSeenSome(t *testing.T) {
	for _, seen := range []bool{false, true} {
		p := &pool{maxLen: 8192}
		p.script = func(ctx context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
			_ = play(ctx, s, backends.Start{Backend: "gpu0", Attempts: 1}, answer("void void", "length", true)[:2])
			time.Sleep(time.Second)
			if !s.Restart() {
				return backends.Receipt{}, backends.ErrLost
			}
			return backends.Receipt{}, play(ctx, s, backends.Start{Backend: "gpu1", Attempts: 2}, answer("good", "stop", true))
		}
		within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
			var all sync.WaitGroup
			all.Go(func() {
				if a, err := s.Whole(t.Context(), page(s)); seen != (err != nil) || !seen && (a.Text != "good" || a.Finish != "stop") {
					t.Errorf("seen %t: %+v, %v", seen, a, err)
				}
			})
			st := s.Stream(t.Context(), stream(t, s, false))
			if err := st.Await(nil); err != nil {
				t.Fatal(err)
			}
			var got string
			if seen {
				p, _ := st.Next(nil)
				got = string(p)
			}
			time.Sleep(10 * time.Second)
			rest, err := read(st)
			got += rest
			if text, _ := textOf(t, got); seen && (!errors.Is(err, backends.ErrLost) || text != "void void") || !seen && (err != io.EOF || text != "good") {
				t.Errorf("seen %t: %q, %v", seen, text, err)
			}
			st.Close(nil)
			all.Wait()
		})
	}
}

func TestStream_OfARememberedAnswerIsAHit(t *testing.T) {
	p := slow(3, 0)
	within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
		st := s.Stream(t.Context(), stream(t, s, false))
		if _, err := read(st); err != io.EOF || st.Age() != 0 {
			t.Fatal(err)
		}
		st.Close(nil)
		if m.puts != 1 {
			t.Fatalf("%d remembered", m.puts)
		}
		for _, wants := range []bool{true, false} {
			st := s.Stream(t.Context(), stream(t, s, wants))
			if err := st.Await(nil); err != nil || st.Cache() != completions.Hit || st.Age() != time.Minute {
				t.Errorf("%v, %v, %v", err, st.Cache(), st.Age())
			}
			got, err := read(st)
			if text, usage := textOf(t, got); err != io.EOF || text != "word word word" || usage != wants || !strings.HasSuffix(got, "[DONE]\n\n") {
				t.Errorf("%v: %q", err, got)
			}
			if receipt, finish := st.Close(nil); receipt.Backend != "" || finish != "stop" || st.Quality() != completions.Sound || st.Ongoing() {
				t.Errorf("%+v, %q", receipt, finish)
			}
		}
		if a, err := s.Whole(t.Context(), body(t, s)); err != nil || a.Cache != completions.Hit || p.times() != 1 || !strings.Contains(string(a.JSON), "word word word") {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestFlight_IsCalledTheSameByAllWhoReadIt(t *testing.T) {
	p := &pool{maxLen: 8192, script: func(ctx context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
		return backends.Receipt{}, play(ctx, s, backends.Start{}, append([]string{
			`data: {"id":"chatcmpl-7","created":77,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}` + "\n\n",
		}, answer("x", "stop", true)...))
	}}
	within(t, p, func(t *testing.T, s *completions.Service, _ *memory) {
		a, err := s.Whole(t.Context(), body(t, s))
		if err != nil || !strings.HasPrefix(string(a.JSON), `{"id":"chatcmpl-7","object":"chat.completion","created":77,"model":"`+model+`"`) {
			t.Errorf("%v: %s", err, a.JSON)
		}
	})
}

func TestFlight_AsksTheBackendForAStreamWithUsageWhoeverOpensIt(t *testing.T) {
	for name, ask := range map[string]func(*testing.T, *completions.Service){
		"whole": func(t *testing.T, s *completions.Service) { _, _ = s.Whole(t.Context(), body(t, s)) },
		"stream": func(t *testing.T, s *completions.Service) {
			s.Stream(t.Context(), stream(t, s, false)).Close(nil)
		},
	} {
		p := answering("x", "stop")
		m := new(memory)
		s := service(t, p, m)
		ask(t, s)
		if got := p.body(); strings.Count(got, `"stream":true`) != 1 || strings.Count(got, `"include_usage":true`) != 1 || strings.Contains(got, "false}") || !json.Valid([]byte(got)) || !p.asked[0].Stream {
			t.Errorf("%s: sent %s", name, got)
		}
	}
}

func TestFlight_MakesAnErrorOfAPanic(t *testing.T) {
	for name, script := range map[string]func(*pool, *memory, *completions.Request){
		"in the pool":   func(p *pool, _ *memory, _ *completions.Request) { p.script = nil },
		"in the cache":  func(_ *pool, m *memory, _ *completions.Request) { m.panics = "put" },
		"in its lookup": func(_ *pool, m *memory, _ *completions.Request) { m.panics = "get" },
		"in the account": func(_ *pool, _ *memory, r *completions.Request) {
			r.Account = func(backends.Receipt) { panic("a defect") }
		},
	} {
		p := slow(3, 0)
		within(t, p, func(t *testing.T, s *completions.Service, m *memory) {
			r := accounted(page(s), nil)
			script(p, m, r)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			var all sync.WaitGroup
			all.Go(func() {
				if _, err := s.Whole(ctx, r); err == nil {
					t.Errorf("%s: no error", name)
				}
			})
			synctest.Wait()
			if a, err := s.Whole(t.Context(), body(t, s)); err == nil && name != "in the account" && name != "in the cache" {
				t.Errorf("%s: %+v", name, a)
			}
			all.Wait()
		})
	}
}

func TestFlight_BoundsItsRecord(t *testing.T) {
	p := &pool{maxLen: 8192, script: func(_ context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
		begun(s)
		big := event(strings.Repeat("x", 1<<20))
		for range 1000 {
			if err := give(s, big); err != nil {
				return backends.Receipt{}, err
			}
		}
		return backends.Receipt{}, nil
	}}
	s := service(t, p, new(memory))
	st := s.Stream(t.Context(), stream(t, s, false))
	got, err := read(st)
	if err == nil || err == io.EOF || len(got) > 16<<20 {
		t.Errorf("%v after %d MiB", err, len(got)>>20)
	}
	st.Close(nil)
}
