// Package sdk_test proves with the SDKs that people use, as they are published,
// that the router is the OpenAI API to them: openai for Python, openai for Node
// and go-openai.
//
// Each SDK is a driver that carries out commands ([driver]); the Python and Node
// ones are programs in python/ and node/. They talk to a router before two
// stand-in backends, all of them built binaries in processes of their own.
package sdk_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"ocrmux/test/pages"
	"ocrmux/test/stand"
)

// uncached makes every answer a backend's own.
const uncached = "cache: {max_bytes: 0}"

var deaths = flag.Int("deaths", 8, "mid-stream deaths of a backend for every SDK and way of reading")

// way is an SDK and how it reads.
type way struct {
	name   string
	driver driver
	do     string
}

func TestSDKs_ReadTheSameTextInEveryWay(t *testing.T) {
	s := stand.New(t, stand.Options{Sim: []string{"-engine", "tesseract"}, Config: uncached})
	ways := []way{
		{name: "Python", driver: startPython(t, s)},
		{name: "Node", driver: startNode(t, s)},
		{name: "Go", driver: goSDK{s}},
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
				for _, do := range []string{"whole", "plain", "helper"} {
					if _, isGo := w.driver.(goSDK); isGo && do == "helper" {
						continue // go-openai has none
					}
					text := succeed(t, w, question(page, do, "Free OCR."))
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
		{way{name: "Python", driver: startPython(t, s)}, "AuthenticationError"},
		{way{name: "Node", driver: startNode(t, s)}, "AuthenticationError"},
		{way{name: "Go", driver: goSDK{s}}, "*openai.APIError"},
	} {
		t.Run(w.name, func(t *testing.T) {
			list := strings.Split(succeed(t, w.way, command{Do: "models"}), "\n")
			if joined := strings.Join(list, " "); !strings.Contains(joined, stand.Model) || !strings.Contains(joined, "deepseek-ocr") {
				t.Errorf("models %q, want %q and its alias", list, stand.Model)
			}
			refused, err := w.driver.carryOut(command{Do: "badkey"}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			if refused.Error != w.badKey || !strings.Contains(refused.Message, "401") {
				t.Errorf("a bad key: %s: %s, want %s with status 401", refused.Error, refused.Message, w.badKey)
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
		{"Python, plain iteration", startPython(t, s), "plain"},
		{"Python, .stream()", startPython(t, s), "helper"},
		{"Node, plain iteration", startNode(t, s), "plain"},
		{"Node, .stream()", startNode(t, s), "helper"},
		{"Go, plain iteration", goSDK{s}, "plain"},
	}
	for _, w := range ways {
		succeed(t, w, command{Do: "models"}) // a program needs seconds to start
	}
	seed := rand.Uint64()
	t.Logf("page and places of death from seed %d", seed)
	page, err := pages.Random(seed, pages.English)
	if err != nil {
		t.Fatal(err)
	}
	last := countEvents(t, s.Backends[0].URL, question(page, "plain", "Free OCR.")) - 1
	random := rand.New(rand.NewPCG(seed, 0))

	raised := make(map[string]int)
	for round := range *deaths {
		d := deathOf(round, random, last)
		for _, b := range s.Backends {
			b.SetFaults(t, d.faults)
		}
		for i, said := range readAll(t, s, ways, page, d) {
			switch {
			case said.Text != nil:
				t.Errorf("round %d, %s: %s: a false success with %d bytes of text", round, d.name, ways[i].name, len(*said.Text))
			case strings.HasPrefix(said.Error, "foreign ") || said.Message == "":
				t.Errorf("round %d, %s: %s: %s: %s, want the SDK's own error", round, d.name, ways[i].name, said.Error, said.Message)
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
		if said.Text == nil {
			t.Errorf("after the deaths: %s: %s: %s, want a text", ways[i].name, said.Error, said.Message)
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
func countEvents(t *testing.T, backend string, c command) int {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"model": c.Model, "stream": true,
		"stream_options": map[string]any{"include_usage": true},
		"messages": []any{map[string]any{"role": "user", "content": []any{
			map[string]any{"type": "text", "text": c.Prompt},
			map[string]any{"type": "image_url", "image_url": map[string]any{"url": c.Image}},
		}}},
	})
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
func readAll(t *testing.T, s *stand.Stand, ways []way, page pages.Page, d death) []answer {
	t.Helper()
	answers, failures := make([]answer, len(ways)), make([]error, len(ways))
	var readers, beginnings sync.WaitGroup
	for i, w := range ways {
		beginnings.Add(1)
		begin := sync.OnceFunc(beginnings.Done)
		readers.Go(func() {
			defer begin() // also where no text came at all
			prompt := fmt.Sprintf("Free OCR. (%d)", i)
			answers[i], failures[i] = w.driver.carryOut(question(page, w.do, prompt), begin)
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

func succeed(t *testing.T, w way, c command) string {
	t.Helper()
	said, err := w.driver.carryOut(c, func() {})
	if err != nil {
		t.Fatalf("%s, %s: %v", w.name, c.Do, err)
	}
	if said.Text == nil {
		t.Fatalf("%s, %s: %s: %s", w.name, c.Do, said.Error, said.Message)
	}
	return *said.Text
}

func question(page pages.Page, do, prompt string) command {
	picture := base64.StdEncoding.EncodeToString(page.PNG())
	return command{Do: do, Model: stand.Model, Image: "data:image/png;base64," + picture, Prompt: prompt}
}

// TestMain brings the SDKs, or says in a line what cannot be had.
func TestMain(m *testing.M) {
	for _, sdk := range []string{"python", "node"} {
		bring := exec.Command(stand.Repository("scripts/sdk"), sdk)
		bring.Stdout, bring.Stderr = os.Stderr, os.Stderr
		if err := bring.Run(); err != nil {
			fmt.Fprintf(os.Stderr, "scripts/sdk %s: %v\n", sdk, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
