package completions_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends"
	"ocrmux/completions"
)

var (
	schedules = flag.Int("schedules", 1500, "random schedules of readers, failures and leavings; the full form is 10000")
	seed      = flag.Uint64("seed", 0, "of the schedules; 0 takes another one each time")
)

// Readers of every kind ask a few questions at about the same time, read as they
// like and leave when they like, while backends fail and the cache is slow.
// Whatever the schedule:
//
//   - what a reader sees is the beginning of one attempt's answer to its own
//     space's question, and all of it where it is told that it is whole;
//   - no reader, slow or stalled, takes any of the pump's time;
//   - nothing runs for nobody but by the rules (arena.nobody);
//   - among plain askers there is at most one run at a time, and none after a
//     sound answer;
//   - the receipts add up to the pool's time, to the nanosecond;
//   - nothing is left: no flight, no run, no goroutine (synctest would not end).
func TestFlights_KeepTheirPromisesWhateverTheSchedule(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	total, n := map[string]int{}, 0
	defer func() {
		if t.Failed() {
			t.Logf("schedule %d of -seed %d", n, first)
		}
	}()
	for ; n < *schedules; n++ {
		synctest.Test(t, func(t *testing.T) {
			a := newArena(t, rand.New(rand.NewPCG(first, uint64(n))))
			a.play()
			for what, times := range a.seen {
				total[what] += times
			}
		})
	}
	t.Log(total)
	for _, what := range []string{"whole", "stream", "miss", "hit", "joined", "bypass", "left", "busy", "failed", "ongoing", "restarted", "nobody there"} {
		if *schedules >= 1000 && total[what] == 0 {
			t.Errorf("no schedule has shown: %s", what)
		}
	}
}

// spaces are whose answers the tenants share.
var spaces = map[string]string{"a": "a", "b": "group", "c": "group"}

// arena is a service, its pool and its readers, and what is known of them.
type arena struct {
	*testing.T
	service *completions.Service
	cache   *memory
	calm    bool // all readers are plain askers

	mu     sync.Mutex
	rand   *rand.Rand
	asks   []*ask
	runs   []*run
	aboard map[string]int       // readers, by question
	grace  map[string]time.Time // until when a client is expected back
	busy   time.Duration        // the pool's
	paid   time.Duration        // by all readers
	owed   int                  // accounts to be told
	seen   map[string]int
}

// run is one Do of the pool.
type run struct {
	opener *ask
	ctx    context.Context
	texts  []string // of each attempt, as far as it would go
	whole  bool     // the last one came to its end
	sound  bool
	over   bool
}

// left reports whether the last reader left before the run was known to be over.
func (r *run) left() bool {
	cause := context.Cause(r.ctx)
	return cause != nil && cause != context.Canceled // which is what an ended flight says
}

func newArena(t *testing.T, r *rand.Rand) *arena {
	a := &arena{
		T: t, rand: r, cache: new(memory), calm: r.IntN(2) == 0,
		aboard: map[string]int{}, grace: map[string]time.Time{}, seen: map[string]int{},
	}
	if r.IntN(3) == 0 {
		a.cache.slow = time.Duration(r.IntN(5)) * 50 * time.Millisecond
	}
	var err error
	if a.service, err = completions.New(
		completions.Config{Models: []completions.Model{{Name: model, Pool: "main", Recipe: recipe}}},
		completions.Deps{Pools: map[string]completions.Pool{"main": a}, Cache: a.cache, Log: slog.New(slog.DiscardHandler)},
	); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *arena) play() {
	var all sync.WaitGroup
	for range 2 + a.rand.IntN(12) {
		a.asks = append(a.asks, a.newAsk())
	}
	for _, k := range a.asks {
		all.Go(k.ask)
	}
	all.Wait()
	time.Sleep(11 * time.Minute) // what goes on for nobody is bounded
	synctest.Wait()
	if n := a.service.InProgress(); n != 0 {
		a.Errorf("%d flights are left", n)
	}
	for i, r := range a.runs {
		if !r.over {
			a.Errorf("run %d is left", i)
		}
	}
	if a.paid != a.busy || a.owed != 0 {
		a.Errorf("paid for %v of %v; %d accounts are open", a.paid, a.busy, a.owed)
	}
}

func (a *arena) count(what string) { a.seen[what]++ }

// draw is a random source of its own for somebody's goroutine.
func (a *arena) draw() *rand.Rand { return rand.New(rand.NewPCG(a.rand.Uint64(), 0)) }

func (a *arena) MaxModelLen(string) int { return 8192 }
func (a *arena) Usable(string) bool     { return true }

var errInjected = errors.New("a backend failed")

// Do is the pool's: it waits, sends, fails or answers as chance will have it.
func (a *arena) Do(ctx context.Context, q *backends.Request, s backends.Sink) (receipt backends.Receipt, err error) {
	a.mu.Lock()
	r := &run{opener: a.asks[int(q.Weight)], ctx: ctx}
	n := len(a.runs)
	a.runs = append(a.runs, r)
	rng := a.draw()
	if a.calm && !r.left() {
		for i, other := range a.runs[:n] {
			if (!other.over || other.sound) && !other.left() && other.opener.question == r.opener.question {
				a.Errorf("run %d beside, or after, run %d", n, i)
			}
		}
	}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		r.over = true
		a.busy += receipt.Busy
	}()
	for attempt := 1; ; attempt++ {
		if err := pause(ctx, rng, 8); err != nil {
			return receipt, err
		}
		receipt.Start = backends.Start{Backend: "gpu0", Attempts: attempt}
		began := time.Now()
		again, err := a.attempt(ctx, q, s, r, fmt.Sprintf("%d.%d ", n, attempt), rng)
		receipt.Busy += time.Since(began)
		if err == nil {
			return receipt, nil
		}
		if !again || attempt == 3 || !s.Restart() {
			return receipt, err
		}
		a.mu.Lock()
		a.count("restarted")
		a.mu.Unlock()
	}
}

func (a *arena) attempt(ctx context.Context, q *backends.Request, s backends.Sink, r *run, name string, rng *rand.Rand) (again bool, err error) {
	_ = q.Body.Open().Close()
	finish := []string{"stop", "stop", "stop", "length"}[rng.IntN(4)]
	words := 1 + rng.IntN(8)
	fails := rng.IntN(60) // after so many events; most answers have fewer
	events := answer(strings.Repeat(name, words), finish, true)
	a.mu.Lock()
	r.texts = append(r.texts, strings.Repeat(name, words))
	a.mu.Unlock()
	if fails == 0 {
		return true, errInjected
	}
	s.Begin(backends.Start{Backend: "gpu0", Attempts: len(r.texts)})
	for i, e := range events {
		if err := pause(ctx, rng, 5); err != nil {
			return false, err
		}
		if i == fails {
			return true, errInjected
		}
		if i == len(events)-1 { // known before any reader can say so
			a.mu.Lock()
			r.whole, r.sound = true, finish == "stop"
			a.mu.Unlock()
		}
		before := time.Now()
		if err := give(s, e); err != nil {
			return false, err
		}
		if waited := time.Since(before); waited != 0 {
			a.Errorf("a reader has held up the pump for %v", waited)
		}
	}
	return false, nil
}

// pause lasts up to most tenths of a second, often none.
func pause(ctx context.Context, rng *rand.Rand, most int) error {
	d := time.Duration(max(0, rng.IntN(2*most)-most)) * 100 * time.Millisecond
	if d == 0 {
		return context.Cause(ctx)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask is one reader, from before it asks.
type ask struct {
	*arena
	rand     *rand.Rand
	request  *completions.Request
	question string
	shared   bool
	comes    time.Duration
	stays    time.Duration // 0: to the end
	asked    time.Time
}

var errLeft = errors.New("the reader has left")

func (a *arena) newAsk() *ask {
	k := &ask{arena: a, rand: a.draw(), shared: true}
	number, tenant := 1+k.rand.IntN(4)/3, string("abbbcc"[k.rand.IntN(6)])
	text := fmt.Sprintf("question %d", number)
	switch k.rand.IntN(4) {
	case 0:
		k.request = upload(a.service, picture(1), text)
	case 1:
		k.request = client(a.T, a.service, chat(picture(1), text, ""))
	default:
		k.request = client(a.T, a.service, chat(picture(1), text, fmt.Sprintf(`,"stream":true,"stream_options":{"include_usage":%t}`, k.rand.IntN(2) == 0)))
	}
	r := k.request
	r.Tenant, r.Weight = tenant, float64(len(a.asks))
	if spaces[tenant] != tenant {
		r.Share = spaces[tenant]
	}
	k.question = fmt.Sprint(number, spaces[tenant])
	if !a.calm {
		r.Control = []completions.Control{0, 0, 0, 0, 0, completions.NoCache, completions.NoStore}[k.rand.IntN(7)]
		k.shared = r.Control != completions.NoStore
		r.Finish = k.rand.IntN(4) == 0
	}
	r.Batch = k.rand.IntN(3) == 0
	r.QueueFor = []time.Duration{0, 300 * time.Millisecond, time.Second, time.Minute, time.Minute, time.Minute}[k.rand.IntN(6)]
	k.comes = time.Duration(k.rand.IntN(40)) * 50 * time.Millisecond
	if k.rand.IntN(3) == 0 {
		k.stays = time.Duration(k.rand.IntN(50)) * 50 * time.Millisecond
		if k.rand.IntN(2) == 0 {
			r.Announced = k.stays + time.Duration(k.rand.IntN(4)-2)*600*time.Millisecond
		}
	}
	r.Account = func(receipt backends.Receipt) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.owed--
		a.paid += receipt.Busy
	}
	return k
}

func (k *ask) ask() {
	time.Sleep(k.comes)
	ctx, cancel := context.WithCancelCause(k.Context())
	defer cancel(nil)
	if k.stays > 0 {
		defer time.AfterFunc(k.stays, func() { cancel(errLeft) }).Stop()
	}
	k.asked = time.Now()
	if k.shared {
		k.mu.Lock()
		k.aboard[k.question]++
		k.mu.Unlock()
	}
	if k.request.Client == nil || !k.request.Client.Stream {
		k.whole(ctx)
	} else {
		k.stream(ctx)
	}
}

func (k *ask) whole(ctx context.Context) {
	a, err := k.service.Whole(ctx, k.request)
	k.left(a.Receipt, a.Ongoing, a.Cache)
	k.judge("whole", a.Text, err == nil, a.Cache, err)
	if err == nil && k.request.Client != nil && a.Cache != completions.Bypass && !strings.Contains(string(a.JSON), a.Text) {
		k.Errorf("%s for %q", a.JSON, a.Text)
	}
}

func (k *ask) stream(ctx context.Context) {
	st := k.service.Stream(ctx, k.request)
	slow, most := k.rand.IntN(4), 1000
	if k.rand.IntN(6) == 0 {
		most = k.rand.IntN(5) // pieces, and then it closes
	}
	var err error
	if k.rand.IntN(2) == 0 {
		err = st.Await(nil)
	}
	var got strings.Builder
	for i := 0; err == nil && i < most; i++ {
		var p []byte
		switch p, err = st.Next(time.After(300 * time.Millisecond)); err {
		case completions.ErrQuiet:
			err = nil
		case nil:
			got.Write(p)
			k.dawdle(slow)
		}
	}
	cache := st.Cache()
	why := context.Cause(ctx)
	receipt, _ := st.Close(why)
	k.left(receipt, st.Ongoing(), cache)
	text, usage := textOf(k.T, got.String())
	if usage && !k.request.Client.IncludeUsage || err == io.EOF && usage != k.request.Client.IncludeUsage {
		k.Errorf("usage shown: %t", usage)
	}
	if err == io.EOF && !strings.HasSuffix(got.String(), "data: [DONE]\n\n") {
		k.Errorf("the end is missing: %q", got.String())
	}
	if err == nil { // it has had enough
		err = errLeft
	}
	k.judge("stream", text, err == io.EOF, cache, err)
}

// dawdle is what a reader does between one piece and the next.
func (k *ask) dawdle(slow int) {
	switch slow {
	case 0:
		time.Sleep(time.Duration(k.rand.IntN(10)) * 100 * time.Millisecond)
	case 1:
		if k.rand.IntN(4) == 0 {
			time.Sleep(time.Minute)
		}
	}
}

// left is called at once when the reader is no longer one.
func (k *ask) left(receipt backends.Receipt, ongoing bool, cache completions.CacheState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.paid += receipt.Busy
	if ongoing {
		k.owed++
		k.count("ongoing")
	}
	if receipt.Busy > 0 && (ongoing || cache == completions.Joined || cache == completions.Hit) {
		k.Errorf("%v: pays for %v", cache, receipt.Busy)
	}
	k.count(cache.String())
	if !k.shared {
		for i, r := range k.runs {
			if r.opener == k && !r.over {
				k.Errorf("run %d of its own goes on", i)
			}
		}
		return
	}
	k.aboard[k.question]--
	if over := time.Since(k.asked) - k.request.Announced; k.request.Announced > 0 && over.Abs() <= time.Second {
		k.grace[k.question] = time.Now().Add(10 * time.Second)
		time.AfterFunc(10*time.Second+time.Millisecond, func() { k.nobody(k.question) })
	}
	k.mu.Unlock()
	k.nobody(k.question)
	k.mu.Lock()
}

// nobody checks that nothing runs for a question without readers, unless a
// client is expected back or the opener's tenant wants it finished.
func (a *arena) nobody(question string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.aboard[question] > 0 || time.Now().Before(a.grace[question]) {
		return
	}
	a.count("nobody there")
	for i, r := range a.runs {
		if r.opener.question == question && r.opener.shared && !r.over && !r.opener.request.Finish {
			a.Errorf("run %d goes on for nobody", i)
		}
	}
}

// judge says whether a reader may have seen what it has seen.
func (k *ask) judge(kind, text string, whole bool, cache completions.CacheState, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count(kind)
	switch {
	case whole:
	case errors.Is(err, errLeft):
		k.count("left")
	case errors.Is(err, errInjected):
		k.count("failed")
	case errors.Is(err, backends.ErrBusy) && time.Since(k.asked) >= k.request.QueueFor && text == "":
		k.count("busy")
	default:
		k.Errorf("%v: %v after %v", cache, err, time.Since(k.asked))
	}
	if text == "" && !whole {
		return
	}
	if k.request.Client != nil && !k.request.Client.Stream && cache == completions.Bypass {
		return // a backend's JSON, of which this pool has none
	}
	var n, attempt int
	if _, scan := fmt.Sscanf(text, "%d.%d ", &n, &attempt); scan != nil || n >= len(k.runs) || attempt > len(k.runs[n].texts) {
		k.Errorf("%s, %v: %q is of no run", kind, cache, text)
		return
	}
	r := k.runs[n]
	full := r.texts[attempt-1]
	switch {
	case r.opener.question != k.question:
		k.Errorf("%q is of %s", text, r.opener.question)
	case !whole && !strings.HasPrefix(full, text):
		k.Errorf("%q is no beginning of %q", text, full)
	case whole && (text != full || !r.whole || attempt != len(r.texts)):
		k.Errorf("%q is not the whole of %q", text, full)
	case cache == completions.Hit && !r.sound:
		k.Errorf("%q was remembered", text)
	}
}
