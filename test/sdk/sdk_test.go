// Package sdk_test proves with the SDKs that people use, as they are published,
// that the router is the OpenAI API to them: openai for Python, openai for Node
// and go-openai.
//
// Each SDK is a driver that carries out commands ([driver]); the Python and Node
// ones are programs in python/ and node/. They talk to a router and two stand-in
// backends, all built binaries in processes of their own ([stand]).
package sdk_test

import (
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"ocrmux/test/pages"
)

var deaths = flag.Int("deaths", 6, "mid-stream deaths of a backend for every SDK and way of reading")

// way is an SDK and how it reads.
type way struct {
	name   string
	driver driver
	do     string
}

func TestSDKs_ReadTheSameTextInEveryWay(t *testing.T) {
	s := startStand(t, "-engine", "tesseract")
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
	s := startStand(t, "-engine", "synthetic")
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
			if joined := strings.Join(list, " "); !strings.Contains(joined, model) || !strings.Contains(joined, "deepseek-ocr") {
				t.Errorf("models %q, want %q and its alias", list, model)
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

// A stream that lost its backend must never look like one that ended well. The
// deaths are of three kinds in turn: kill -9 of both backends, a cut between two
// chunks of the transfer coding, which is where a clean end would stand, and a
// cut inside a chunk. All ways read at once, each a page of its own.
func TestSDKs_RaiseAnErrorForEveryDeathMidStream(t *testing.T) {
	const events = 300
	s := startStand(t, "-engine", "synthetic", "-tokens", fmt.Sprint(events), "-ttft", "20ms", "-tpot", "5ms")
	ways := []way{
		{"Python, plain iteration", startPython(t, s), "plain"},
		{"Python, .stream()", startPython(t, s), "helper"},
		{"Node, plain iteration", startNode(t, s), "plain"},
		{"Node, .stream()", startNode(t, s), "helper"},
		{"Go, plain iteration", goSDK{s}, "plain"},
	}
	seed := rand.Uint64()
	t.Logf("places of death from seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	page, err := pages.Random(seed, pages.English)
	if err != nil {
		t.Fatal(err)
	}

	raised := make(map[string]int)
	for round := range *deaths {
		var killed func()
		kind := []string{"kill", "cut", "cut_chunk"}[round%3]
		if kind != "kill" {
			// Anywhere after the first text and before the last chunks.
			s.setFaults(t, map[string]any{"mid_stream": kind, "after_events": 2 + random.IntN(events/2)})
		} else {
			killed = func() {
				for _, b := range s.backends {
					b.kill()
				}
			}
		}
		for i, said := range s.readAll(t, ways, page, round, killed) {
			switch {
			case said.Text != nil:
				t.Errorf("round %d, %s: %s: a false success with %d bytes of text", round, kind, ways[i].name, len(*said.Text))
			case !expected(said):
				t.Errorf("round %d, %s: %s: %s: %s, want an API error", round, kind, ways[i].name, said.Error, said.Message)
			default:
				raised[ways[i].name]++
			}
		}
		if kind == "kill" {
			for _, b := range s.backends {
				b.start(t)
			}
		} else {
			s.setFaults(t, map[string]any{})
		}
		s.waitForBackends(t)
		waitFor(t, s.url+"/readyz")
	}
	for _, w := range ways {
		t.Logf("%s: %d deaths, %d errors raised", w.name, *deaths, raised[w.name])
	}

	// Nobody is held to be dead who lives: the same readers succeed now.
	for i, said := range s.readAll(t, ways, page, *deaths, nil) {
		if said.Text == nil {
			t.Errorf("after the deaths: %s: %s: %s, want a text", ways[i].name, said.Error, said.Message)
		}
	}
}

// expected says whether an answer is the error that the SDK documents for a
// stream that went wrong.
func expected(said answer) bool {
	return said.Error != "" && !strings.HasPrefix(said.Error, "foreign ") && said.Message != ""
}

// readAll lets all ways read at once. When all of them have received text it
// calls allBegan, if there is one. Answers stand in the order of ways.
func (s *stand) readAll(t *testing.T, ways []way, page pages.Page, round int, allBegan func()) []answer {
	t.Helper()
	answers, failures := make([]answer, len(ways)), make([]error, len(ways))
	var readers, beginnings sync.WaitGroup
	for i, w := range ways {
		beginnings.Add(1)
		begin := sync.OnceFunc(beginnings.Done)
		readers.Go(func() {
			defer begin() // also where no text came at all
			prompt := fmt.Sprintf("Free OCR. (%d, %d)", round, i)
			answers[i], failures[i] = w.driver.carryOut(question(page, w.do, prompt), begin)
		})
	}
	beginnings.Wait()
	if allBegan != nil {
		allBegan()
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
	return command{Do: do, Model: model, Image: "data:image/png;base64," + picture, Prompt: prompt}
}
