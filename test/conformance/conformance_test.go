// Package conformance_test asks the router, through the clients that people use,
// what an OpenAI client may expect of a server.
//
// The cases are a table (cases). Each runs with the clients it names: openai for
// Python, openai for Node, OpenAI's openai-go, sashabaranov/go-openai and plain
// HTTP. All talk to one router before two stand-in backends, one after the other,
// because a case may break the backends for its time. At the end a matrix, case by
// client, is printed; a cell that should be filled and is not fails the suite.
package conformance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"ocrmux/test/drivers"
)

// Clients, by the letters that cases name them with.
const (
	python   = "P"
	node     = "N"
	openaiGo = "O"
	goOpenAI = "G"
	plain    = "R"

	sdks = python + node + openaiGo + goOpenAI
	all  = sdks + plain
	// one SDK and the wire, where nothing depends on the client
	usual = python + plain
)

// client is one of them in use.
type client struct {
	letter string
	drivers.Driver
}

// testCase is a row of the matrix. Its number is the one that the project's list
// of conformance cases gives it.
type testCase struct {
	number  int
	name    string
	clients string
	run     func(t *testing.T, w *world, c client)
	last    bool // runs after all others
	// later says what a case waits for that cannot be asked yet. run is nil then.
	later string
}

func TestConformance(t *testing.T) {
	w := newWorld(t)
	clients := []client{
		{python, drivers.Python(t)},
		{node, drivers.Node(t)},
		{openaiGo, drivers.OpenAIGo{}},
		{goOpenAI, drivers.GoOpenAI{}},
		{plain, drivers.HTTP{}},
	}
	m := matrix{}
	for _, one := range inOrder() {
		t.Run(fmt.Sprintf("%d %s", one.number, one.name), func(t *testing.T) {
			for _, c := range clients {
				if one.run == nil || !strings.Contains(one.clients, c.letter) {
					continue
				}
				t.Run(heading[c.letter], func(t *testing.T) {
					m.fill(one, c.letter, failed)
					w.begin(t)
					one.run(t, w, c)
					if !t.Failed() {
						m.fill(one, c.letter, passed)
					}
				})
			}
		})
	}
	t.Run("what comes later is not there yet", w.laterRoutesAreUnknown)
	t.Run("the matrix has no hole", func(t *testing.T) {
		fmt.Print(m.table())
		for _, hole := range m.holes() {
			t.Error(hole)
		}
	})
}

// inOrder are the cases as they run.
func inOrder() []testCase {
	return slices.SortedStableFunc(slices.Values(cases), func(a, b testCase) int {
		switch {
		case a.last == b.last:
			return 0
		case a.last:
			return 1
		}
		return -1
	})
}

// laterRoutesAreUnknown is what can be said of files and batches today.
func (w *world) laterRoutesAreUnknown(t *testing.T) {
	for _, request := range []string{
		"POST /v1/files", "GET /v1/files", "GET /v1/files/file-1", "GET /v1/files/file-1/content", "DELETE /v1/files/file-1",
		"POST /v1/batches", "GET /v1/batches", "GET /v1/batches/batch-1", "POST /v1/batches/batch-1/cancel",
	} {
		method, path, _ := strings.Cut(request, " ")
		status, body := w.plainly(t, method, path)
		var said struct{ Error struct{ Code string } }
		if err := json.Unmarshal(body, &said); err != nil || status != 404 || said.Error.Code != "unknown_url" {
			t.Errorf("%s: %d %s, want 404 unknown_url", request, status, body)
		}
	}
}

// TestMain brings the SDKs, or says in a line what cannot be had.
func TestMain(m *testing.M) {
	if err := drivers.Install(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
