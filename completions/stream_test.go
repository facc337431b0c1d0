package completions_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends"
	"ocrmux/completions"
)

const prompt = `{"model":"` + model + `","messages":[{"role":"user","content":"x"}],"stream":true}`

// scripted is a stream whose pool does what script says.
func scripted(t *testing.T, ctx context.Context, body string, script func(context.Context, backends.Sink) error) (*completions.Stream, *pool) {
	t.Helper()
	p := &pool{script: func(ctx context.Context, _ *backends.Request, s backends.Sink) (backends.Receipt, error) {
		return backends.Receipt{Start: backends.Start{Backend: "gpu0", Attempts: 1}}, script(ctx, s)
	}}
	s := service(t, p, nil)
	return s.Stream(ctx, client(t, s, body)), p
}

// read takes all that comes and what it ended with.
func read(st *completions.Stream) (string, error) {
	var all strings.Builder
	for {
		p, err := st.Next(nil)
		if err != nil {
			return all.String(), err
		}
		all.Write(p)
	}
}

// begun is told the sink that gpu0 answers.
func begun(s backends.Sink) { s.Begin(backends.Start{Backend: "gpu0", Attempts: 1}) }

func TestStream_HandsOutTheBackendsBytes(t *testing.T) {
	events := answer("one two three", "stop", false)
	st, p := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		begun(s)
		return give(s, events...)
	})
	if err := st.Await(nil); err != nil {
		t.Fatal(err)
	}
	if st.Start().Backend != "gpu0" || st.Awaited() <= 0 {
		t.Errorf("started %+v after %v", st.Start(), st.Awaited())
	}
	got, err := read(st)
	if want := strings.Join(events, ""); err != io.EOF || got != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	if receipt, finish := st.Close(nil); receipt.Backend != "gpu0" || finish != "stop" {
		t.Errorf("got %+v, %q", receipt, finish)
	}
	if !p.asked[0].Stream {
		t.Error("the pool is not told that it is a stream")
	}
}

func TestUsage_IsAskedForAndTakenOutWhereTheClientDidNot(t *testing.T) {
	const usage = `"usage":{"prompt_tokens":7`
	for _, c := range []struct {
		options string // the client's
		sent    string // to the backend
		shown   bool
	}{
		{``, `"stream_options":{"include_usage":true}`, false},
		{`,"stream_options":{"include_usage":false}`, `"stream_options":{"include_usage":true}`, false},
		{`,"stream_options":{"continuous_usage_stats":true}`, `"stream_options":{"continuous_usage_stats":true,"include_usage":true}`, false},
		{`,"stream_options":{ "include_usage" : true }`, `"stream_options":{ "include_usage" : true }`, true},
	} {
		st, p := scripted(t, t.Context(), strings.TrimSuffix(prompt, "}")+c.options+"}", func(_ context.Context, s backends.Sink) error {
			begun(s)
			return give(s, answer("x", "stop", true)...)
		})
		got, err := read(st)
		st.Close(nil)
		if err != io.EOF || strings.Contains(got, usage) != c.shown || !strings.HasSuffix(got, "data: [DONE]\n\n") || strings.Count(p.body(), "stream_options") != 1 || !strings.Contains(p.body(), c.sent) {
			t.Errorf("client %q: %v\nsent %s\n got %q", c.options, err, p.body(), got)
		}
	}
}

func TestStream_TellsAnErrorAfterWhatCame(t *testing.T) {
	st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		begun(s)
		if err := give(s, event("half")); err != nil {
			return err
		}
		return backends.ErrLost
	})
	got, err := read(st)
	if got != event("half") || !errors.Is(err, backends.ErrLost) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, finish := st.Close(nil); finish != "" {
		t.Errorf("it finished with %q", finish)
	}
}

func TestStream_ThatFailsBeforeAnEventSaysSoToAwait(t *testing.T) {
	st, _ := scripted(t, t.Context(), prompt, func(context.Context, backends.Sink) error { return backends.ErrBusy })
	if err := st.Await(nil); !errors.Is(err, backends.ErrBusy) {
		t.Errorf("got %v", err)
	}
	if st.Awaited() != 0 || st.Start().Backend != "" {
		t.Errorf("started %+v after %v", st.Start(), st.Awaited())
	}
	st.Close(nil)
}

func TestStream_CanBeBegunAnewUntilItsReaderHasSeenSome(t *testing.T) {
	awaited, restarted, seen := make(chan struct{}), make(chan struct{}), make(chan struct{})
	st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		begun(s)
		_ = give(s, event("void"), `data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`+"\n\n")
		<-awaited
		if !s.Restart() {
			t.Error("Await took something")
		}
		s.Begin(backends.Start{Backend: "gpu1", Attempts: 2})
		_ = give(s, event("good"))
		close(restarted)
		<-seen
		if s.Restart() {
			t.Error("what a reader has seen was forgotten")
		}
		return backends.ErrLost
	})
	if err := st.Await(nil); err != nil {
		t.Fatal(err)
	}
	close(awaited)
	<-restarted
	p, err := st.Next(nil)
	if string(p) != event("good") || err != nil || st.Start().Backend != "gpu1" {
		t.Errorf("got %q, %v of %+v", p, err, st.Start())
	}
	close(seen)
	if p, err := st.Next(nil); !errors.Is(err, backends.ErrLost) {
		t.Errorf("got %q, %v", p, err)
	}
	if _, finish := st.Close(nil); finish != "" {
		t.Errorf("finish_reason %q is of a void attempt", finish)
	}
}

func TestStream_CountsTheTimeToTheFirstEventThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
			time.Sleep(time.Second)
			begun(s)
			_ = give(s, event("void"))
			s.Restart()
			time.Sleep(time.Second)
			begun(s)
			return give(s, answer("x", "stop", false)...)
		})
		_, err := read(st)
		if err != io.EOF || st.Awaited() != 2*time.Second {
			t.Errorf("%v after %v, want 2s", err, st.Awaited())
		}
		st.Close(nil)
	})
}

func TestStream_IsQuietForAsLongAsItsReaderWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := scripted(t, t.Context(), prompt, func(ctx context.Context, s backends.Sink) error {
			time.Sleep(10 * time.Second)
			begun(s)
			_ = give(s, event("a"))
			time.Sleep(10 * time.Second)
			return give(s, answer("b", "stop", false)...)
		})
		began := time.Now()
		for _, wait := range []func(<-chan time.Time) error{
			st.Await,
			func(quiet <-chan time.Time) error { _, err := st.Next(quiet); return err },
		} {
			if err := wait(time.After(3 * time.Second)); err != completions.ErrQuiet {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		if time.Since(began) != 6*time.Second {
			t.Errorf("twice 3 s took %v", time.Since(began))
		}
		if err := st.Await(nil); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if got, err := st.Next(nil); string(got) != event("a") || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := st.Next(time.After(3 * time.Second)); err != completions.ErrQuiet {
			t.Errorf("in the middle: %v", err)
		}
		if got, err := read(st); err != io.EOF || !strings.HasPrefix(got, event("b")) {
			t.Errorf("got %q, %v", got, err)
		}
		st.Close(nil)
	})
}

func TestStream_CloseEndsTheWorkAndWaitsForIt(t *testing.T) {
	why := errors.New("why")
	for _, cause := range []error{why, nil} {
		var ended atomic.Bool
		var told error
		st, _ := scripted(t, t.Context(), prompt, func(ctx context.Context, s backends.Sink) error {
			begun(s)
			_ = give(s, event("x"))
			<-ctx.Done()
			for range 100 {
				runtime.Gosched() // what is still to be put away
			}
			told = context.Cause(ctx)
			ended.Store(true)
			return told
		})
		if _, err := st.Next(nil); err != nil {
			t.Fatal(err)
		}
		if st.Close(cause); !ended.Load() {
			t.Error("Close came back before the work had ended")
		}
		if (cause != nil && told != cause) || told == nil || told == context.Canceled {
			t.Errorf("the work was ended because of %v, want %v", told, cause)
		}
		if again, _ := st.Close(nil); again.Backend != "gpu0" {
			t.Errorf("closed again: %+v", again)
		}
	}
}

func TestStream_EndsWithItsCallersContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	st, _ := scripted(t, ctx, prompt, func(ctx context.Context, s backends.Sink) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	cancel(gone)
	if _, err := read(st); err != gone {
		t.Errorf("got %v", err)
	}
	st.Close(nil)
}

func TestStream_MakesAnErrorOfAPanic(t *testing.T) {
	st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		begun(s)
		_ = give(s, event("x"))
		panic("a defect")
	})
	got, err := read(st)
	if got != event("x") || err == nil || err == io.EOF {
		t.Errorf("got %q, %v", got, err)
	}
	st.Close(nil)
}

func TestStream_ThatIsReadSlowlyDoesNotHoldItsBackend(t *testing.T) {
	events := answer(strings.Repeat("word ", 10_000), "stop", false)
	done := make(chan struct{})
	st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		defer close(done)
		begun(s)
		return give(s, events...)
	})
	first, err := st.Next(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := string(first)
	<-done // without another read
	rest, err := read(st)
	if got += rest; err != io.EOF || got != strings.Join(events, "") {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(strings.Join(events, "")))
	}
	st.Close(nil)
}

func TestStream_HoldsOnlySoMuchForItsReader(t *testing.T) {
	done := make(chan struct{})
	st, _ := scripted(t, t.Context(), prompt, func(_ context.Context, s backends.Sink) error {
		defer close(done)
		begun(s)
		big := event(strings.Repeat("x", 1<<20))
		for range 1000 {
			if err := give(s, big); err != nil {
				return err
			}
		}
		return nil
	})
	<-done
	got, err := read(st)
	if !errors.Is(err, completions.ErrBehind) || len(got) > 16<<20 || len(got) < 15<<20 {
		t.Errorf("%v after %d MiB", err, len(got)>>20)
	}
	st.Close(nil)
}

// Schedules of pump, reader and the one who cancels, as they come: what was seen
// is always the beginning of one attempt, and the whole of it where the end says so.
func TestStream_NeverMixesAttemptsWhateverTheSchedule(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 300 {
		schedule(t, rand.New(rand.NewPCG(seed, uint64(round))))
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
}

func schedule(t *testing.T, r *rand.Rand) {
	pause := func(r *rand.Rand) func() {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		return func() {
			for range mine.IntN(4) {
				runtime.Gosched()
			}
		}
	}
	attempts := 1 + r.IntN(3)
	texts := make([][]string, attempts)
	for i := range texts {
		for range 1 + r.IntN(20) {
			texts[i] = append(texts[i], event(strings.Repeat(string(rune('a'+i)), 1+r.IntN(9))))
		}
	}
	failure := errors.New("the last attempt failed")
	if r.IntN(2) == 0 {
		failure = nil
	}
	pumping, reading, leaving := pause(r), pause(r), pause(r)
	leaves, final := r.IntN(3) == 0, -1
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	st, _ := scripted(t, ctx, prompt, func(ctx context.Context, s backends.Sink) error {
		for i, events := range texts {
			final = i
			begun(s)
			for _, e := range events {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				pumping()
				if err := give(s, e); err != nil {
					return err
				}
			}
			if i == attempts-1 {
				return failure
			}
			if !s.Restart() {
				return errors.New("it was seen")
			}
		}
		return nil
	})
	var others sync.WaitGroup
	if leaves {
		others.Go(func() { leaving(); cancel(errors.New("left")) })
	}
	quiet := make(chan time.Time)
	close(quiet)
	if r.IntN(2) == 0 {
		if err := st.Await(quiet); err != nil && err != completions.ErrQuiet && err == io.EOF {
			t.Errorf("a stream with events ended before the first: %v", err)
		}
	}
	var got strings.Builder
	var err error
	for err == nil || err == completions.ErrQuiet {
		var p []byte
		p, err = st.Next(quiet)
		got.Write(p)
		reading()
	}
	others.Wait()
	st.Close(nil)
	switch whole := strings.Join(texts[final], ""); {
	case err == io.EOF && (got.String() != whole || failure != nil):
		t.Errorf("a whole answer: got %q, want %q (%v)", got.String(), whole, failure)
	case !strings.HasPrefix(whole, got.String()):
		t.Errorf("got %q, which is not the beginning of %q", got.String(), whole)
	}
}
