package sim_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends/sim"
)

// slowly has pages of 100 tokens that take a second to the first token and
// 10 ms for each after it; preparing a request takes 50 ms.
func slowly() sim.Config {
	cfg := atOnce(100)
	cfg.Timing = &sim.Timing{Preprocess: 50 * time.Millisecond, FirstToken: time.Second, PerToken: 10 * time.Millisecond}
	return cfg
}

func TestTime_IsPreprocessingFirstTokenAndTokens(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings string
		speed    float64
		slow     float64
		want     time.Duration
	}{
		{"whole", exact, 1, 0, 2040 * time.Millisecond},
		{"stream", exact + `,"stream":true`, 1, 0, 2040 * time.Millisecond},
		{"speed 4", exact, 4, 0, 510 * time.Millisecond},
		{"three times slower", exact, 1, 3, 6120 * time.Millisecond},
		{"shorter answer", exact + `,"max_tokens":1`, 1, 0, 1050 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := slowly()
			cfg.Speed = c.speed
			inBubble(t, cfg, func(t *testing.T, s *sim.Server, client *http.Client) {
				if err := s.SetFaults(sim.Faults{Slow: c.slow}); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				resp, err := client.Do(chatRequest(t.Context(), ocr(blank(10, 10), c.settings)))
				if err != nil {
					t.Fatal(err)
				}
				readAll(t, resp.Body)
				if got := time.Since(start); got != c.want {
					t.Errorf("took %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestTime_OnlyPreprocessingIsSerial(t *testing.T) {
	inBubble(t, slowly(), func(t *testing.T, s *sim.Server, client *http.Client) {
		start := time.Now()
		took := make(chan time.Duration)
		for range 4 {
			go func() {
				resp, err := client.Do(chatRequest(t.Context(), ocr(blank(10, 10), exact)))
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				if err != nil {
					t.Error(err)
				}
				took <- time.Since(start)
			}()
		}
		for i := range 4 {
			if got, want := <-took, 2040*time.Millisecond+time.Duration(i)*50*time.Millisecond; got != want {
				t.Errorf("answer %d after %v, want %v", i, got, want)
			}
		}
	})
}

func TestTime_ModelledGrowsWithTheBatchAndStaysNearItsFigures(t *testing.T) {
	cfg := sim.Config{Engine: sim.Synthetic{Tokens: sim.Range{Min: 605, Max: 605}}}
	batch := func(t *testing.T, n int) (slowest time.Duration) {
		inBubble(t, cfg, func(t *testing.T, s *sim.Server, client *http.Client) {
			start := time.Now()
			ended := make(chan error)
			for i := range n {
				go func() {
					resp, err := client.Do(chatRequest(t.Context(), ocr(blank(10+i, 10), exact)))
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
					ended <- err
				}()
			}
			for range n {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			slowest = time.Since(start)
		})
		return slowest
	}
	// Published for pages of this length: 1.1 s alone, 3.4 s (p99 4.9 s) at sixteen.
	if got := batch(t, 1); got < 900*time.Millisecond || got > 1300*time.Millisecond {
		t.Errorf("one page takes %v", got)
	}
	if got := batch(t, 16); got < 3*time.Second || got > 5*time.Second {
		t.Errorf("sixteen pages take %v", got)
	}
}

func TestAbort_AClosedConnectionEndsTheWorkInEveryPhase(t *testing.T) {
	for _, c := range []struct {
		name      string
		settings  string
		faults    sim.Faults
		after     time.Duration
		generated int64
	}{
		{"while preparing", exact, sim.Faults{}, 20 * time.Millisecond, 0},
		{"before the first token", exact, sim.Faults{}, 500 * time.Millisecond, 0},
		{"before the first token of a stream", exact + `,"stream":true`, sim.Faults{}, 500 * time.Millisecond, 0},
		{"mid-answer", exact, sim.Faults{}, 1555 * time.Millisecond, 51},
		{"mid-stream", exact + `,"stream":true`, sim.Faults{}, 1555 * time.Millisecond, 51},
		{"while hanging", exact, sim.Faults{Hang: true}, time.Hour, 0},
		{"while hanging in a stream", exact + `,"stream":true`, sim.Faults{MidStream: "hang", AfterEvents: 5}, time.Hour, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, slowly(), func(t *testing.T, s *sim.Server, client *http.Client) {
				if err := s.SetFaults(c.faults); err != nil {
					t.Fatal(err)
				}
				ctx, leave := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() {
					resp, err := client.Do(chatRequest(ctx, ocr(blank(10, 10), c.settings)))
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
					ended <- err
				}()
				time.Sleep(c.after)
				synctest.Wait()
				if got := s.Stats(); got.InProgress != 1 || got.Aborted != 0 {
					t.Errorf("before: %+v", got)
				}
				leave()
				synctest.Wait() // no time passes
				got := s.Stats()
				if got.Aborted != 1 || got.InProgress != 0 || got.Completed+got.Failed+got.Refused != 0 {
					t.Errorf("after: %+v", got)
				}
				// A whole answer's tokens are counted in steps of 20 ms.
				if g := got.AbortedTokens; g.Image != 273 || g.Prompt != 277 || g.Generated > c.generated || g.Generated < c.generated-2 {
					t.Errorf("tokens thrown away: %+v, want %d generated", g, c.generated)
				}
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("client got %v", err)
				}
			})
		})
	}
}

func TestAbort_WhileQueuedTakesNoPlace(t *testing.T) {
	cfg := slowly()
	cfg.MaxNumSeqs = 1
	inBubble(t, cfg, func(t *testing.T, s *sim.Server, client *http.Client) {
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		ask := func(ctx context.Context) {
			resp, err := client.Do(chatRequest(ctx, ocr(blank(10, 10), exact)))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			ended <- err
		}
		start := time.Now()
		go ask(t.Context())
		time.Sleep(200 * time.Millisecond)
		go ask(ctx)
		time.Sleep(200 * time.Millisecond)
		go ask(t.Context())
		time.Sleep(200 * time.Millisecond)
		leave()
		synctest.Wait()
		if got := s.Stats(); got.Aborted != 1 || got.InProgress != 2 {
			t.Errorf("after one left: %+v", got)
		}
		for range 3 {
			_ = <-ended
		}
		if got, want := time.Since(start), 2*1990*time.Millisecond+50*time.Millisecond; got != want {
			t.Errorf("two answers one after the other took %v, want %v", got, want)
		}
		if got := s.Stats(); got.Completed != 2 {
			t.Errorf("in the end: %+v", got)
		}
	})
}

func TestAbort_WhileSendingCounts(t *testing.T) {
	inBubble(t, slowly(), func(t *testing.T, s *sim.Server, client *http.Client) {
		conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST "+chatPath+" HTTP/1.1\r\nHost: sim\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := s.Stats(); got.Received != 1 || got.InProgress != 1 {
			t.Errorf("before: %+v", got)
		}
		conn.Close()
		synctest.Wait()
		if got := s.Stats(); got.Received != 1 || got.Aborted != 1 || got.InProgress != 0 {
			t.Errorf("after: %+v", got)
		}
	})
}

func TestConnections_AreClosedAfterFiveIdleSeconds(t *testing.T) {
	inBubble(t, atOnce(1), func(t *testing.T, s *sim.Server, client *http.Client) {
		conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: sim\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the end of the connection", err)
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("closed after %v, want 5s", got)
		}
	})
}

func TestTime_EveryEventIsSentWhenItsTokenIsMade(t *testing.T) {
	inBubble(t, slowly(), func(t *testing.T, s *sim.Server, client *http.Client) {
		start := time.Now()
		resp, err := client.Do(chatRequest(t.Context(), ocr(blank(10, 10), exact+`,"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 50*time.Millisecond {
			t.Errorf("status after %v, want 50ms: when the request is prepared", got)
		}
		lines := bufio.NewScanner(resp.Body)
		for i := 0; lines.Scan(); i++ {
			if i%2 == 1 { // the empty line after an event
				continue
			}
			// The role comes with the first token, the end and [DONE] with the last.
			token := min(max(i/2-1, 0), 99)
			if got, want := time.Since(start), 1050*time.Millisecond+time.Duration(token)*10*time.Millisecond; got != want {
				t.Fatalf("event %d (%.60s) after %v, want %v", i/2, lines.Text(), got, want)
			}
		}
	})
}
