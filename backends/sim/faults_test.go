package sim_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends/sim"
)

func (s served) fault(t *testing.T, faults string) {
	t.Helper()
	if status, body := s.post(t, "/sim/faults", faults); status != http.StatusOK {
		t.Fatalf("faults %s: %d %s", faults, status, body)
	}
}

// ask posts a chat request and returns what a careful client would see.
func (s served) ask(t *testing.T, settings string) (status int, body string, err error) {
	t.Helper()
	resp, err := http.Post(s.url+chatPath, "application/json", strings.NewReader(ocr(blank(10, 10), settings)))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestFaults_AreSwitchedByHTTPAndCleared(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"error_rate":1,"error_status":503}`)
	if status, _, _ := s.ask(t, exact); status != 503 {
		t.Errorf("got %d, want 503", status)
	}
	resp, err := http.Get(s.url + "/sim/faults")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := readAll(t, resp.Body); got != `{"error_rate":1,"error_status":503}` {
		t.Errorf("GET shows %s", got)
	}
	s.fault(t, `{}`)
	if status, _, _ := s.ask(t, exact); status != 200 {
		t.Errorf("got %d after clearing, want 200", status)
	}
	for _, bad := range []string{`{"explode":true}`, `{"error_rate":2}`, `{"mid_stream":"sideways"}`, `{"health":"maybe"}`, `{"error_shape":"round"}`, `{"slow":-1}`, `[]`} {
		if status, _ := s.post(t, "/sim/faults", bad); status != 400 {
			t.Errorf("%s: got %d, want 400", bad, status)
		}
	}
}

func TestFaults_ErrorsComeInEveryShape(t *testing.T) {
	s := serve(t, atOnce(5))
	for shape, want := range map[string]string{
		"vllm":   `{"error":{"message":"injected fault","type":"InternalServerError","param":null,"code":500}}`,
		"flat":   `{"object":"error","message":"injected fault","type":"InternalServerError","param":null,"code":500}`,
		"string": `{"error":"Unauthorized"}`,
		"detail": `{"detail":"injected fault"}`,
		"empty":  ``,
	} {
		s.fault(t, `{"error_rate":1,"error_shape":"`+shape+`"}`)
		if status, body, err := s.ask(t, exact); status != 500 || body != want || err != nil {
			t.Errorf("%s: got %d %s %v", shape, status, body, err)
		}
	}
	s.fault(t, `{"error_rate":1,"error_status":502,"error_shape":"html"}`)
	if status, body, _ := s.ask(t, exact); status != 502 || !strings.HasPrefix(body, "<html>") {
		t.Errorf("html: got %d %s", status, body)
	}
	s.fault(t, `{"error_rate":1,"error_status":200,"error_shape":"broken"}`)
	if status, body, _ := s.ask(t, exact); status != 200 || json.Valid([]byte(body)) {
		t.Errorf("broken: got %d %s", status, body)
	}
	if got := s.Stats(); got.Failed != 7 || got.Received != 7 {
		t.Errorf("stats %+v, want seven failed", got)
	}
}

func TestFaults_ErrorRateIsAShare(t *testing.T) {
	s := serve(t, atOnce(1))
	s.fault(t, `{"error_rate":0.3}`)
	for range 200 {
		_, _, _ = s.ask(t, exact)
	}
	if got := s.Stats(); got.Failed < 40 || got.Failed > 80 || got.Failed+got.Completed != 200 {
		t.Errorf("%d of 200 failed at a rate of 0.3", got.Failed)
	}
}

func TestFaults_CountLimitsThem(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"error_rate":1,"count":2}`)
	for i, want := range []int{500, 500, 200} {
		if _, err := http.Get(s.url + "/health"); err != nil { // does not count
			t.Fatal(err)
		}
		if status, _, _ := s.ask(t, exact); status != want {
			t.Errorf("request %d: got %d, want %d", i, status, want)
		}
	}
}

func TestFaults_RefuseResetsAllButTheSwitch(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"refuse":true}`)
	if _, _, err := s.ask(t, exact); !lost(err) {
		t.Errorf("chat: got %v, want a lost connection", err)
	}
	if _, err := http.Get(s.url + "/health"); !lost(err) {
		t.Errorf("health: got %v, want a lost connection", err)
	}
	s.fault(t, `{"refuse":true,"health":"ok"}`)
	if resp, err := http.Get(s.url + "/health"); err != nil || resp.StatusCode != 200 {
		t.Errorf("lying health: got %v %v", resp, err)
	}
	if _, _, err := s.ask(t, exact); !lost(err) {
		t.Errorf("chat beside a lying health: got %v", err)
	}
	if got := s.Stats().Received; got != 0 {
		t.Errorf("%d requests counted as received, want none", got)
	}
}

func lost(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

func TestFaults_HealthFails(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"health":"fail"}`)
	resp, err := http.Get(s.url + "/health")
	if err != nil || resp.StatusCode != 503 {
		t.Errorf("got %v %v", resp, err)
	}
	if status, _, _ := s.ask(t, exact); status != 200 {
		t.Errorf("chat got %d, want 200", status)
	}
}

func TestFaults_HangsEndWhenTheFaultsChange(t *testing.T) {
	for name, f := range map[string]sim.Faults{
		"before the first byte": {Hang: true},
		"mid-answer":            {MidStream: "hang"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, atOnce(5), func(t *testing.T, s *sim.Server, client *http.Client) {
				if err := s.SetFaults(f); err != nil {
					t.Fatal(err)
				}
				ended := make(chan string)
				go func() {
					resp, err := client.Do(chatRequest(t.Context(), ocr(blank(10, 10), exact)))
					if err != nil {
						t.Error(err)
					}
					ended <- readAll(t, resp.Body)
				}()
				time.Sleep(time.Hour)
				select {
				case got := <-ended:
					t.Errorf("answered %s", got)
				default:
				}
				if err := s.SetFaults(sim.Faults{}); err != nil {
					t.Fatal(err)
				}
				if got := decode(t, <-ended).Choices[0].Message.Content; !strings.HasPrefix(got, "# Page") {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

func TestFaults_HealthHangs(t *testing.T) {
	inBubble(t, atOnce(5), func(t *testing.T, s *sim.Server, client *http.Client) {
		if err := s.SetFaults(sim.Faults{Health: "hang"}); err != nil {
			t.Fatal(err)
		}
		client.Timeout = time.Minute
		if _, err := client.Get("http://sim/health"); err == nil {
			t.Error("health answered")
		}
		synctest.Wait()
	})
}

func TestFaults_MidStreamAfterEvents(t *testing.T) {
	for _, c := range []struct {
		kind   string
		events int  // that arrive whole
		clean  bool // the body ends as it should
		last   string
	}{
		{"cut", 3, false, ""},
		{"cut_chunk", 3, false, ""},
		{"end", 3, true, ""},
		{"error", 5, true, "[DONE]"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			s := serve(t, atOnce(20))
			s.fault(t, `{"mid_stream":"`+c.kind+`","after_events":3}`)
			status, body, err := s.ask(t, exact+`,"stream":true`)
			if status != 200 || (err == nil) != c.clean {
				t.Errorf("status %d, error %v", status, err)
			}
			whole := body[:strings.LastIndex(body, "\n\n")+2]
			if rest := body[len(whole):]; (rest != "") != (c.kind == "cut_chunk") {
				t.Errorf("stream ends with %q", rest)
			}
			got := events(t, whole)
			if len(got) != c.events {
				t.Errorf("%d events, want %d: %q", len(got), c.events, got)
			}
			if c.last != "" && got[len(got)-1] != c.last {
				t.Errorf("last event %q, want %q", got[len(got)-1], c.last)
			}
			if c.kind == "error" && got[3] != `{"error":{"message":"injected fault","type":"InternalServerError","param":null,"code":500}}` {
				t.Errorf("error event %q", got[3])
			}
			if st := s.Stats(); st.Failed != 1 || st.InProgress != 0 {
				t.Errorf("stats %+v, want one failed", st)
			}
		})
	}
}

func TestFaults_MidStreamOfAWholeAnswer(t *testing.T) {
	for _, kind := range []string{"cut", "cut_chunk", "end"} {
		s := serve(t, atOnce(20))
		s.fault(t, `{"mid_stream":"`+kind+`"}`)
		status, body, err := s.ask(t, exact)
		if status != 200 || body == "" || json.Valid([]byte(body)) || (err == nil) != (kind == "end") {
			t.Errorf("%s: got %d %q %v", kind, status, body, err)
		}
		if st := s.Stats(); st.Failed != 1 {
			t.Errorf("%s: stats %+v, want one failed", kind, st)
		}
	}
}

func TestFaults_BeyondTheEndDoNotHappen(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"mid_stream":"cut","after_events":100}`)
	_, body, err := s.ask(t, exact+`,"stream":true`)
	if err != nil || !strings.HasSuffix(body, "data: [DONE]\n\n") {
		t.Errorf("got %q, %v", body, err)
	}
	if st := s.Stats(); st.Completed != 1 {
		t.Errorf("stats %+v, want one completed", st)
	}
}

func TestFaults_LoopRunsToTheLimit(t *testing.T) {
	s := serve(t, atOnce(5))
	s.fault(t, `{"loop":true}`)
	if _, finish := s.text(t, ocr(blank(10, 10), exact+`,"max_tokens":500`)); finish != "length" {
		t.Errorf("finish %q, want length", finish)
	}
	if got := s.Stats().CompletedTokens.Generated; got != 500 {
		t.Errorf("%d tokens, want 500", got)
	}
}
