// Package e2e_test shows with the built programs, as processes, what holds of
// the whole: nobody's request is lost when a backend dies, stands still or a
// router is restarted; who leaves costs nothing; nothing private gets out.
//
// The scenarios named TestSoak run in a short form, and in full with -soak
// (`make soak`). Each prints its figures in one line.
package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ocrmux/test/stand"
)

var soak = flag.Bool("soak", false, "run the scenarios named TestSoak in full")

// form is how much of a scenario is run.
func form(short, full int) int {
	if *soak {
		return full
	}
	return short
}

// page is a picture whose text and work are known.
type page struct {
	png  []byte
	text string        // through chat
	ocr  string        // through /ocr, whose answers are trimmed
	work time.Duration // of a backend that has nothing else to do
}

// timing is how long the stand-in takes: fixed, so that a test knows each
// request's own work.
type timing struct {
	first, token   time.Duration
	shortest, most int // tokens
}

func (m timing) args() []string {
	return []string{"-ttft", m.first.String(), "-tpot", m.token.String(), "-tokens", fmt.Sprintf("%d-%d", m.shortest, m.most)}
}

func (m timing) work(tokens int) time.Duration { return m.first + time.Duration(tokens-1)*m.token }

// picture is a small image like no other of its number.
func picture(t testing.TB, number int) []byte {
	t.Helper()
	sum := sha256.Sum256(strconv.AppendInt(nil, int64(number), 10))
	img := image.NewGray(image.Rect(0, 0, 32, 32))
	for i := range img.Pix {
		img.Pix[i] = sum[i%len(sum)]
	}
	img.SetGray(0, 0, color.Gray{Y: uint8(number)})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plain is a white image of a size.
func plain(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// learn reads n pages at a thousandth of the time they take, to know what
// their answers must be and how much work they are.
func learn(t testing.TB, s *stand.Stand, c *client, m timing, n int) []page {
	t.Helper()
	for _, b := range s.Backends {
		b.SetFaults(t, map[string]any{"slow": 0.001})
	}
	pages := make([]page, n)
	for i := range pages {
		p := &pages[i]
		p.png = picture(t, i)
		a, err := c.chat(t.Context(), *p)
		if err != nil {
			t.Fatal(err)
		}
		p.text, p.work = a.texts[0], m.work(a.tokens)
		if !strings.Contains(p.text, heading(*p)) {
			t.Fatalf("the text of another page: %q", p.text)
		}
		if a, err = c.ocr(t.Context(), *p); err != nil {
			t.Fatal(err)
		}
		p.ocr = a.texts[0]
	}
	for _, b := range s.Backends {
		b.SetFaults(t, nil)
	}
	return pages
}

// heading is in the stand-in's text of a page and of no other.
func heading(p page) string {
	sum := sha256.Sum256(p.png)
	return "Page " + hex.EncodeToString(sum[:4])
}

// done is a request that was answered, or not.
type done struct {
	kind     string
	work     time.Duration // of its slowest page
	took     time.Duration
	attempts int
	err      error
}

// load is clients that ask again and again until the test says enough.
type load struct {
	enough context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	done []done
	turn []int // requests ended, by client
}

// run starts n clients. ask is the whole of one request; its ctx ends with the
// test only.
func run(t testing.TB, n int, ask func(ctx context.Context, client, turn int) done) *load {
	over, enough := context.WithCancel(t.Context())
	l := &load{enough: enough, turn: make([]int, n)}
	for i := range n {
		l.wg.Go(func() {
			for turn := 0; over.Err() == nil; turn++ {
				began := time.Now()
				d := ask(t.Context(), i, turn)
				d.took = time.Since(began)
				l.mu.Lock()
				l.done = append(l.done, d)
				l.turn[i]++
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// stop lets every client end what it has begun, and returns all.
func (l *load) stop() []done {
	l.enough()
	l.wg.Wait()
	return l.done
}

// settle waits until every request that is in progress now has ended.
func (l *load) settle(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	before := append([]int(nil), l.turn...)
	l.mu.Unlock()
	stand.Eventually(t, "what was in progress has ended", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, n := range before {
			if l.turn[i] == n {
				return false
			}
		}
		return true
	})
}

// readers are n clients that have pages read, without streaming: half of them
// by chat, a quarter by /ocr, a quarter in batches of three. They check every
// text.
func readers(t testing.TB, c *client, pages []page, n int) *load {
	return run(t, n, func(ctx context.Context, client, turn int) done {
		at := client*7 + turn*13
		p := pages[at%len(pages)]
		switch client % 4 {
		case 0:
			several := []page{p, pages[(at+1)%len(pages)], pages[(at+2)%len(pages)]}
			d := done{kind: "batch"}
			a, err := c.batch(ctx, several...)
			for i, p := range several {
				d.work = max(d.work, p.work)
				if err == nil && (len(a.texts) != len(several) || a.texts[i] != p.ocr) {
					err = fmt.Errorf("%q is not the text of page %d", a.texts, i)
				}
			}
			d.attempts, d.err = a.attempts, err
			return d
		case 1:
			a, err := c.ocr(ctx, p)
			return done{kind: "ocr", work: p.work, attempts: a.attempts, err: same(a, err, p.ocr)}
		default:
			a, err := c.chat(ctx, p)
			return done{kind: "chat", work: p.work, attempts: a.attempts, err: same(a, err, p.text)}
		}
	})
}

func same(a answer, err error, text string) error {
	if err == nil && a.texts[0] != text {
		return fmt.Errorf("the text of another page: %q", a.texts[0])
	}
	return err
}

// tally fails the test for every request that failed, and sums up the rest.
func tally(t testing.TB, all []done) (again int, excess time.Duration) {
	t.Helper()
	for _, d := range all {
		if d.err != nil {
			t.Errorf("a %s request failed after %s (own work %s): %v", d.kind, d.took, d.work, d.err)
		}
		if d.attempts > 1 {
			again++
		}
		excess = max(excess, d.took-2*d.work)
	}
	return again, excess
}
