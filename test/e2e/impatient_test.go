package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

// leaveAt asks in one of the ways and hangs up after d, before the answer.
func leaveAt(t *testing.T, c *client, way string, p page, header http.Header, d time.Duration) {
	t.Helper()
	ctx, hangUp := context.WithTimeout(t.Context(), d)
	defer hangUp()
	if _, err := ways[way](ctx, c, p, header); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: answered before it left, or not at all: %v", way, err)
	}
}

// An SDK that gives up after the time that it has announced and asks again finds
// its work where it left it: on the way, or done in the meantime.
func TestImpatient_WhoAsksAgainFindsItsFlight(t *testing.T) {
	t.Parallel()
	const patience, work = time.Second, 2500 * time.Millisecond
	s := stand.New(t, stand.Options{Sim: []string{"-ttft", work.String(), "-tokens", "20"}})
	c := newClient(t, s.Routers[0].URL, s.Key)
	number := 0
	for _, header := range []http.Header{with("X-Stainless-Timeout", "1"), with("X-Stainless-Read-Timeout", "1.0")} {
		for _, way := range []string{"whole", "stream"} {
			for _, pause := range []time.Duration{500 * time.Millisecond, 2 * time.Second} { // an SDK's first one; until it is done
				number++
				p := page{png: picture(t, number)}
				t.Run(fmt.Sprintf("%v %s after %s", header, way, pause), func(t *testing.T) {
					t.Parallel()
					leaveAt(t, c, way, p, header, patience)
					time.Sleep(pause)
					began := time.Now()
					a, err := ways[way](t.Context(), c, p, header)
					if err != nil || !strings.Contains(a.texts[0], heading(p)) {
						t.Fatalf("%q %v", a.texts, err)
					}
					want := map[bool]string{true: "joined", false: "hit"}[patience+pause < work]
					t.Logf("%s: left after %s, asked again %s later, %s after %.2f s", way, patience, pause, a.cache(), time.Since(began).Seconds())
					if a.cache() != want {
						t.Errorf("x-ocrmux-cache is %q, want %q", a.cache(), want)
					}
				})
			}
		}
	}
	t.Cleanup(func() { // when all have ended
		sum := counts(t, s.Backends)
		t.Logf("%d clients left at the time they had announced and asked again: %d runs, %d of them aborted", number, sum.Received, sum.Aborted)
		if sum.Received != int64(number) || sum.Completed != int64(number) {
			t.Errorf("%d runs, %d of them completed, want %d", sum.Received, sum.Completed, number)
		}
	})
}

// Nobody waits for who leaves before its time, or has announced none: its work
// is ended at once.
func TestImpatient_WhoLeavesEarlyHasItsWorkCancelled(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-ttft", "1m", "-tokens", "20"}})
	c, b := newClient(t, s.Routers[0].URL, s.Key), s.Backends[0]
	var longest time.Duration
	var aborted int64
	for number, header := range []http.Header{nil, with("X-Stainless-Timeout", "10"), with("X-Stainless-Read-Timeout", "600")} {
		for _, way := range []string{"whole", "stream", "form", "batch"} {
			leaveAt(t, c, way, page{png: picture(t, number)}, header, 300*time.Millisecond)
			left := time.Now()
			aborted++
			stand.Eventually(t, "the backend has aborted the work", func() bool { return b.Stats(t).Aborted == aborted })
			longest = max(longest, time.Since(left))
		}
	}
	t.Logf("%d clients left early: each one's work was aborted within %.0f ms", aborted, ms(longest))
	if longest > 2*time.Second {
		t.Errorf("work went on for %s", longest)
	}
}

// Who was expected back and does not come is waited for for ten seconds.
func TestSoak_WhoDoesNotComeBackIsNotWaitedForLong(t *testing.T) {
	if !*soak {
		t.Skip("it waits ten seconds; completions proves it with a clock of its own")
	}
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-ttft", "1m", "-tokens", "20"}})
	c, b := newClient(t, s.Routers[0].URL, s.Key), s.Backends[0]
	leaveAt(t, c, "whole", page{png: picture(t, 1)}, with("X-Stainless-Timeout", "1"), time.Second)
	left := time.Now()
	stand.Eventually(t, "the backend has aborted the work", func() bool { return b.Stats(t).Aborted == 1 })
	waited := time.Since(left)
	t.Logf("the work of a client that was expected back was aborted after %.1f s", waited.Seconds())
	if waited < 9*time.Second || waited > 12*time.Second {
		t.Errorf("want 10 s")
	}
}

// The same with OpenAI's SDK for Python as it is published, whose own retry
// comes half a second after its timeout.
func TestImpatient_ThePythonSDKFindsItsFlight(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(stand.Repository(".venv/bin/python")); err != nil {
		t.Skip("the SDK is not installed; scripts/sdk python does it")
	}
	python := drivers.Python(t)
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-ttft", "3s", "-tokens", "20"}})
	b := s.Backends[0]
	if _, err := python.Do(drivers.Command{Do: drivers.Models, BaseURL: s.Routers[0].URL + "/v1", Key: s.Key}, nil); err != nil { // it takes seconds to start
		t.Fatal(err)
	}
	for number, do := range []string{drivers.Chat, drivers.ChatStream} {
		p := page{png: picture(t, number)}
		began := time.Now()
		a, err := python.Do(drivers.Command{
			Do: do, BaseURL: s.Routers[0].URL + "/v1", Key: s.Key, Retries: 1,
			Params: map[string]any{"model": stand.Model, "timeout": 2, "messages": question(p)},
		}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		text, err := a.Text()
		if err != nil || !strings.Contains(text, heading(p)) {
			t.Errorf("%s: %q %v", do, text, err)
		}
		requests := labelled(t, s.Routers[0], `ocrmux_answers_total{cache="joined"}`)
		got := b.Stats(t)
		t.Logf("openai for Python, %s with a timeout of 2 s: an answer of 3 s after %.2f s, with %d runs and %d joined", do, time.Since(began).Seconds(), got.Received, requests)
		if got.Received != int64(number+1) || got.Aborted != 0 || requests != number+1 {
			t.Errorf("%s: %+v, %d joined", do, got, requests)
		}
	}
}

// question is the messages about a page, as an SDK takes them.
func question(p page) []any {
	var body struct{ Messages []any }
	_ = json.Unmarshal(chatBody(p, "Free OCR.", ""), &body) // our own
	return body.Messages
}
