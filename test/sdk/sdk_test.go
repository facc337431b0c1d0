// Package sdk_test proves with the SDKs that people use, as they are published,
// that the router is the OpenAI API to them: openai for Python, openai for Node
// and go-openai.
//
// Each SDK is a driver that carries out commands (test/drivers). They talk to a
// router before two stand-in backends, all of them built binaries in processes of
// their own.
package sdk_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"ocrmux/test/drivers"
	"ocrmux/test/pages"
	"ocrmux/test/stand"
)

// uncached makes every answer a backend's own.
const uncached = "cache: {max_bytes: 0}"

var deaths = flag.Int("deaths", 8, "mid-stream deaths of a backend for every SDK and way of reading")

// way is an SDK and how it reads.
type way struct {
	name   string
	driver drivers.Driver
	do     string
}

func TestSDKs_ReadTheSameTextInEveryWay(t *testing.T) {
	s := stand.New(t, stand.Options{Sim: []string{"-engine", "tesseract"}, Config: uncached})
	ways := []way{
		{name: "Python", driver: drivers.Python(t)},
		{name: "Node", driver: drivers.Node(t)},
		{name: "Go", driver: drivers.GoOpenAI{}},
	}
	for _, test := range []struct {
		script pages.Script
		bound  float64 // of the character error
	}{{pages.English, 0.02}, {pages.Chinese, 0.12}} {
		t.Run(test.script.String(), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("page of seed %d", seed)
			page, err := pages.Random(seed, test.script)
			if err != nil {
				t.Fatal(err)
			}
			first := ""
			for _, w := range ways {
				for _, do := range []string{drivers.Chat, drivers.ChatStream, drivers.ChatHelper} {
					if w.name == "Go" && do == drivers.ChatHelper {
						continue // go-openai has none
					}
					text := succeed(t, w, question(s, page, do, "Free OCR."))
					if first == "" {
						first = text
						t.Logf("character error %.2f %%", 100*pages.CharacterError(text, page.Text))
					}
					if text != first {
						t.Errorf("%s, %s: %q, want the text of the first, %q", w.name, do, text, first)
					}
				}
			}
			if share := pages.CharacterError(first, page.Text); share > test.bound {
				t.Errorf("character error %.3f, want at most %.2f; read:\n%s\ntrue:\n%s", share, test.bound, first, page.Text)
			}
		})
	}
}

func TestSDKs_ListModelsAndRefuseABadKey(t *testing.T) {
	s := stand.New(t, stand.Options{})
	for _, w := range []struct {
		way
		badKey string // the class of the error
	}{
		{way{name: "Python", driver: drivers.Python(t)}, "AuthenticationError"},
		{way{name: "Node", driver: drivers.Node(t)}, "AuthenticationError"},
		{way{name: "Go", driver: drivers.GoOpenAI{}}, "*openai.APIError"},
	} {
		t.Run(w.name, func(t *testing.T) {
			ids := models(t, w.way, s)
			if !slices.Contains(ids, stand.Model) || !slices.Contains(ids, "deepseek-ocr") {
				t.Errorf("models %q, want %q and its alias", ids, stand.Model)
			}
			bad := command(s, drivers.Models)
			bad.Key = s.Key[:len(s.Key)-1] + "~"
			refused, err := w.driver.Do(bad, func() {})
			if err != nil {
				t.Fatal(err)
			}
			if refused.Error == nil || refused.Error.Class != w.badKey || refused.Error.Status != http.StatusUnauthorized {
				t.Errorf("a bad key: %v, want %s with status 401", refused.Error, w.badKey)
			}
		})
	}
}

// A stream that lost its backend must never look like one that ended well. All
// ways read at once; each death ends all of their streams.
func TestSDKs_RaiseAnErrorForEveryDeathMidStream(t *testing.T) {
	s := stand.New(t, stand.Options{
		Sim:    []string{"-tokens", "40", "-ttft", "20ms", "-tpot", "5ms"},
		Config: uncached,
		// These backends fail on purpose: the router forgives them at once.
		Pool: "health: {interval: 100ms}\nbreaker: {open_min: 10ms, open_max: 20ms}",
	})
	ways := []way{
		{"Python, plain iteration", drivers.Python(t), drivers.ChatStream},
		{"Python, .stream()", drivers.Python(t), drivers.ChatHelper},
		{"Node, plain iteration", drivers.Node(t), drivers.ChatStream},
		{"Node, .stream()", drivers.Node(t), drivers.ChatHelper},
		{"Go, plain iteration", drivers.GoOpenAI{}, drivers.ChatStream},
	}
	for _, w := range ways {
		models(t, w, s) // a program needs seconds to start
	}
	seed := rand.Uint64()
	t.Logf("page and places of death from seed %d", seed)
	page, err := pages.Random(seed, pages.English)
	if err != nil {
		t.Fatal(err)
	}
	last := countEvents(t, s.Backends[0].URL, question(s, page, drivers.ChatStream, "Free OCR.")) - 1
	random := rand.New(rand.NewPCG(seed, 0))

	raised := make(map[string]int)
	for round := range *deaths {
		d := deathOf(round, random, last)
		for _, b := range s.Backends {
			b.SetFaults(t, d.faults)
		}
		for i, said := range readAll(t, s, ways, page, d) {
			switch {
			case said.Error == nil:
				t.Errorf("round %d, %s: %s: a false success after %d chunks", round, d.name, ways[i].name, len(said.Chunks))
			case said.Error.Foreign || said.Error.Message == "":
				t.Errorf("round %d, %s: %s: %s, want the SDK's own error", round, d.name, ways[i].name, said.Error)
			default:
				raised[ways[i].name]++
			}
		}
		if d.kill {
			for _, b := range s.Backends {
				b.Restart(t)
			}
		}
		stand.WaitFor(t, s.Routers[0].Admin+"/readyz")
	}
	for _, w := range ways {
		t.Logf("%s: %d deaths, %d errors raised", w.name, *deaths, raised[w.name])
	}

	// Nobody is held to be dead who lives: the same readers succeed now.
	for _, b := range s.Backends {
		b.SetFaults(t, nil)
	}
	for i, said := range readAll(t, s, ways, page, death{}) {
		if said.Error != nil {
			t.Errorf("after the deaths: %s: %s, want a text", ways[i].name, said.Error)
		}
	}
}

// death is one way for a backend to end before its answer does.
type death struct {
	name   string
	faults map[string]any // of every backend; see POST /sim/faults
	kill   bool           // kill -9 both backends once all readers have text
}

// deathOf takes the kinds of death in turn. Event number last of an answer is
// its [DONE]; shortly before it stands the finish reason, after which a reader
// may well believe that all is there.
func deathOf(round int, random *rand.Rand, last int) death {
	cut := func(name, kind string, after int) death {
		return death{
			name:   fmt.Sprintf("%s after %d events", name, after),
			faults: map[string]any{"mid_stream": kind, "after_events": after},
		}
	}
	switch round % 4 {
	case 0:
		// Slow enough that no answer ends before the last reader has text.
		return death{name: "kill -9", kill: true, faults: map[string]any{"slow": 50}}
	case 1:
		return cut("cut between two chunks", "cut", 2+random.IntN(last-5))
	case 2:
		return cut("cut inside a chunk", "cut_chunk", 2+random.IntN(last-2))
	default:
		return cut("cut between the last chunks", "cut", last-round/4%3)
	}
}

// countEvents asks a backend itself, as the router does, and counts the events
// of its answer.
func countEvents(t *testing.T, backend string, c drivers.Command) int {
	t.Helper()
	members := maps.Clone(c.Params)
	members["stream"], members["stream_options"] = true, map[string]any{"include_usage": true}
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(backend+"/v1/chat/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) {
		t.Fatalf("the backend's own answer has no end: %s %s", answer.Status, text)
	}
	return bytes.Count(text, []byte("data: "))
}

// readAll lets all ways read at once, each a question of its own. In a death by
// kill -9 it kills when all of them have received text. Answers stand in the
// order of ways.
func readAll(t *testing.T, s *stand.Stand, ways []way, page pages.Page, d death) []drivers.Answer {
	t.Helper()
	answers, failures := make([]drivers.Answer, len(ways)), make([]error, len(ways))
	var readers, beginnings sync.WaitGroup
	for i, w := range ways {
		beginnings.Add(1)
		begin := sync.OnceFunc(beginnings.Done)
		readers.Go(func() {
			defer begin() // also where no text came at all
			prompt := fmt.Sprintf("Free OCR. (%d)", i)
			answers[i], failures[i] = w.driver.Do(question(s, page, w.do, prompt), begin)
		})
	}
	beginnings.Wait()
	if d.kill {
		for _, b := range s.Backends {
			b.Kill(t)
		}
	}
	readers.Wait()
	for i, err := range failures {
		if err != nil {
			t.Fatalf("%s: %v", ways[i].name, err)
		}
	}
	return answers
}

func succeed(t *testing.T, w way, c drivers.Command) string {
	t.Helper()
	said, err := w.driver.Do(c, func() {})
	if err != nil {
		t.Fatalf("%s, %s: %v", w.name, c.Do, err)
	}
	text, err := said.Text()
	if err != nil {
		t.Fatalf("%s, %s: %v", w.name, c.Do, err)
	}
	return text
}

// models lists what a client may use.
func models(t *testing.T, w way, s *stand.Stand) (ids []string) {
	t.Helper()
	said, err := w.driver.Do(command(s, drivers.Models), func() {})
	if err != nil || said.Error != nil {
		t.Fatalf("%s, models: %v %v", w.name, err, said.Error)
	}
	var list struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(said.Value, &list); err != nil {
		t.Fatal(err)
	}
	for _, model := range list.Data {
		ids = append(ids, model.ID)
	}
	return ids
}

// command is one as people give it: with the SDK's usual retries.
func command(s *stand.Stand, do string) drivers.Command {
	return drivers.Command{Do: do, BaseURL: s.Routers[0].URL + "/v1", Key: s.Key, Retries: drivers.UsualRetries}
}

func question(s *stand.Stand, page pages.Page, do, prompt string) drivers.Command {
	picture := "data:image/png;base64," + base64.StdEncoding.EncodeToString(page.PNG())
	c := command(s, do)
	c.Params = map[string]any{
		"model": stand.Model,
		"messages": []any{map[string]any{"role": "user", "content": []any{
			map[string]any{"type": "text", "text": prompt},
			map[string]any{"type": "image_url", "image_url": map[string]any{"url": picture}},
		}}},
	}
	return c
}

// TestMain brings the SDKs, or says in a line what cannot be had.
func TestMain(m *testing.M) {
	if err := drivers.Install(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
