package hostile_test

import (
	"bytes"
	"flag"
	"hash/maphash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ocrmux/test/stand"
)

var full = flag.Bool("full", false, "send each kind of request in all its sizes and numbers")

// seed is what all variants follow from.
const seed = 2

// requests is how many different ones are sent, the corpus and its variants.
const requests = 1000

// keys is one tenant without limits, and nobody without a key. It is the
// repository's development key.
const keys = `
tenants:
  - name: development
keys:
  - id: j13mkb88
    tenant: development
    hash: hmac-sha256:8a9d63e2e56e4b1ec09d527e357448453d00ef26ea4e5c2c83f3db6796c0867c
    created: 2026-11-22T17:24:36Z
    loopback_only: true
`

// withAnonymous lets callers of the legacy routes in without a key.
const withAnonymous = "  - name: anonymous\n"

var goodKey string // of the stand in use

// attacks are the entries as they stand and, in turns, variants of those that
// have some, until there are enough. Two are never the same.
func attacks(t testing.TB, key string) []*attack {
	t.Helper()
	entries := readCorpus(t)
	var all []*attack
	seen := map[uint64]bool{}
	hash := maphash.MakeSeed()
	for variant := 0; len(all) < requests; variant++ {
		if variant > 100 {
			t.Fatalf("only %d different requests", len(all))
		}
		for _, e := range entries {
			if variant > 0 && (e.vary[0] == "none" || len(all) == requests) {
				continue
			}
			if variant > 0 && e.large && !*full {
				continue // their sizes alone take most of the time
			}
			a := e.render(t, key, variant)
			e.large = len(a.bytes) > mebibyte
			if sum := maphash.Bytes(hash, a.bytes); !seen[sum] {
				seen[sum] = true
				a.bytes = nil // made again when it is sent: together they are gigabytes
				all = append(all, a)
			}
		}
	}
	return all
}

func TestEveryHostileRequestGetsItsAnswerAndNoneReachesABackend(t *testing.T) {
	s := stand.New(t, stand.Options{
		Backends: 1,
		Keys:     keys,
		HTTP:     "header_timeout: 3s\nbody_timeout: 3s",
		Sim:      []string{"-ttft", "1ms", "-tokens", "5"},
	})
	goodKey = s.Key
	router := s.Routers[0]
	address := strings.TrimPrefix(router.URL, "http://")
	others := serveOthers(t, router.URL, s.Key)
	all := attacks(t, s.Key)
	work := make(chan *attack)
	var wrong atomic.Int64
	var senders sync.WaitGroup
	large := make(chan struct{}, 3) // so that the senders do not starve each other
	for range 32 {
		senders.Go(func() {
			for a := range work {
				if a.large {
					large <- struct{}{}
				}
				sent := a.render(t, s.Key, a.variant)
				if fault := a.judge(send(address, sent)); fault != "" {
					wrong.Add(1)
					t.Errorf("%s: %s\n%.250q", a, fault, sent.bytes)
				}
				if a.large {
					<-large
				}
			}
		})
	}
	began := time.Now()
	for _, a := range all {
		work <- a
	}
	close(work)
	senders.Wait()
	took := time.Since(began)
	served, slowest := others.stop()
	if got := s.Backends[0].Stats(t).Received; got != served {
		t.Errorf("the backend received %d requests, %d of them from others", got, served)
	}
	if served < int64(took/time.Second) {
		t.Errorf("only %d requests of others were served in %s", served, took)
	}
	if slowest > 3*time.Second {
		t.Errorf("somebody else waited %s", slowest)
	}
	t.Logf("%d requests of %d entries in %s, %d wrong; %d of others served meanwhile, the slowest in %s",
		len(all), len(readCorpus(t)), took.Round(time.Millisecond), wrong.Load(), served, slowest.Round(time.Millisecond))
}

func TestVariantsFollowFromTheSeed(t *testing.T) {
	for _, e := range readCorpus(t) {
		if strings.HasPrefix(e.name, "/") {
			continue // of these the size alone differs
		}
		first, second := e.render(t, "key", 1), e.render(t, "key", 1)
		if !bytes.Equal(first.bytes, second.bytes) || !slices.Equal(first.cuts, second.cuts) {
			t.Errorf("%s is different each time", first)
		}
	}
}

// others are well-behaved clients beside the hostile ones.
type others struct {
	done    chan struct{}
	once    sync.Once
	working sync.WaitGroup
	served  atomic.Int64
	slowest atomic.Int64
}

// serveOthers has four clients ask for a text again and again.
func serveOthers(t *testing.T, url, key string) *others {
	return serve(t, url, key, `{"model":"deepseek-ocr","messages":[{"role":"user","content":"Hello."}]}`)
}

// serveShortTexts is for backends whose texts are long.
func serveShortTexts(t *testing.T, url, key string) *others {
	return serve(t, url, key, `{"model":"deepseek-ocr","max_tokens":5,"messages":[{"role":"user","content":"Hello."}]}`)
}

func serve(t *testing.T, url, key, chat string) *others {
	o := &others{done: make(chan struct{})}
	t.Cleanup(func() { o.stop() }) // where the test gives up before
	for range 4 {
		o.working.Go(func() {
			for {
				select {
				case <-o.done:
					return
				case <-time.After(20 * time.Millisecond): // two hundred in a second are enough
				}
				began := time.Now()
				status, body := good(url, key, chat)
				if status != http.StatusOK {
					t.Errorf("somebody else was answered %d %.200s", status, body)
				}
				o.served.Add(1)
				for took := int64(time.Since(began)); ; {
					longest := o.slowest.Load()
					if took <= longest || o.slowest.CompareAndSwap(longest, took) {
						break
					}
				}
			}
		})
	}
	return o
}

func (o *others) stop() (served int64, slowest time.Duration) {
	o.once.Do(func() { close(o.done) })
	o.working.Wait()
	return o.served.Load(), time.Duration(o.slowest.Load())
}

// good is a request that has every right to be answered.
func good(url, key, chat string) (status int, body string) {
	req, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(chat))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(said)
}
