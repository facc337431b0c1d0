package e2e_test

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"ocrmux/test/stand"
)

func TestSoak_NothingIsLostWhenARouterIsRestartedBehindHAProxy(t *testing.T) {
	t.Parallel()
	m := timing{first: 100 * time.Millisecond, token: 20 * time.Millisecond, shortest: 20, most: 70} // 0.48 to 1.48 s
	s := stand.New(t, stand.Options{Backends: 4, Routers: 2, Sim: m.args(), Config: noCache})
	pages := learn(t, s, newClient(t, s.Routers[0].URL, s.Key), m, 40)
	c := newClient(t, startHAProxy(t, s), s.Key)
	whole := readers(t, c, pages, askers)
	streams := run(t, 20, func(ctx context.Context, client, turn int) done {
		p := pages[(client*11+turn*17)%len(pages)]
		text, err := c.stream(ctx, p)
		return done{kind: "stream", work: p.work, err: same(answer{texts: []string{text}}, err, p.text)}
	})

	stops := form(2, 10)
	least := math.MaxInt
	var longest time.Duration
	for round := range stops {
		router := s.Routers[round%2]
		busy := 0
		stand.Eventually(t, "the router has work in progress", func() bool {
			busy = int(router.Metric(t, "ocrmux_requests_in_flight"))
			return busy >= 20
		})
		least = min(least, busy)
		began := time.Now()
		router.End(t, syscall.SIGTERM)
		longest = max(longest, time.Since(began))
		if strings.Count(router.Log(t), `"msg":"stopped"`) != round/2+1 {
			t.Errorf("stop %d was not a clean one", round)
		}
		router.Again(t)
		router.WaitUntilReady(t, len(s.Backends))
		streams.settle(t)
	}
	all, streamed := whole.stop(), streams.stop()
	tally(t, all)
	tally(t, streamed)
	t.Logf("SIGTERM behind HAProxy: %d stops with at least %d requests in progress, %d requests of %d clients and %d streams of 20 answered; the longest stop took %.2f s",
		stops, least, len(all), askers, len(streamed), longest.Seconds())
}

// startHAProxy puts Debian's HAProxy before the routers of s and returns its URL.
func startHAProxy(t *testing.T, s *stand.Stand) string {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		if program = "/usr/sbin/haproxy"; !executable(program) {
			t.Fatal("haproxy is missing: apt-get install haproxy")
		}
	}
	address := stand.FreeAddress(t)
	values := struct {
		Listen  string
		Routers []string
	}{Listen: address}
	for _, r := range s.Routers {
		values.Routers = append(values.Routers, strings.TrimPrefix(r.URL, "http://"))
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := template.Must(template.ParseFiles("haproxy.cfg.in")).Execute(file, values); err != nil {
		t.Fatal(err)
	}
	stand.Start(t, "haproxy", program, "-db", "-f", path)
	stand.WaitFor(t, "http://"+address+"/readyz")
	return "http://" + address
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// A stream that is under way when the router is told to stop ends as it would
// have, and new connections are refused meanwhile.
func TestSIGTERM_LetsAStreamEndAndTakesNobodyNew(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-tpot", "50ms", "-tokens", "60"}, Config: noCache})
	router := s.Routers[0]
	res := beginStream(t, s)
	defer res.Body.Close()
	router.Signal(t, syscall.SIGTERM)
	stand.Eventually(t, "/readyz is 503 on the operators' listener", func() bool {
		answer, err := http.Get(router.Admin + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusServiceUnavailable
	})
	stand.Eventually(t, "new connections are refused", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(router.URL, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	rest, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the stream ended with %q, %v", rest[max(0, len(rest)-100):], err)
	}
	<-router.Done()
	if log := router.Log(t); !strings.Contains(log, `"msg":"stopped"`) {
		t.Errorf("the router did not say that it stopped:\n%s", log)
	}
}

func TestSIGTERM_TwiceEndsAtOnceAndTellsTheClient(t *testing.T) {
	t.Parallel()
	s := stand.New(t, stand.Options{Backends: 1, Sim: []string{"-tpot", "1s", "-tokens", "60"}, Config: noCache})
	router := s.Routers[0]
	res := beginStream(t, s)
	defer res.Body.Close()
	router.Signal(t, syscall.SIGTERM)
	stand.Eventually(t, "the first signal is heard", func() bool { return strings.Contains(router.Log(t), "stopping") })
	router.Signal(t, syscall.SIGTERM)
	began := time.Now()
	rest, err := io.ReadAll(res.Body)
	<-router.Done()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the router ended after %s", took)
	}
	if err == nil && !strings.Contains(string(rest), `data: {"error":`) {
		t.Errorf("a stream that was cut looks whole: %q", rest)
	}
	if log := router.Log(t); !strings.Contains(log, "a second signal") {
		t.Errorf("the router did not say why it ended:\n%s", log)
	}
}

// beginStream asks for a stream and reads the head of its answer.
func beginStream(t *testing.T, s *stand.Stand) *http.Response {
	t.Helper()
	body := chatBody(page{png: picture(t, 1)}, "Free OCR.", `,"stream":true`)
	req, err := http.NewRequest(http.MethodPost, s.Routers[0].URL+"/v1/chat/completions", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	return res
}
