package conformance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

var heading = map[string]string{python: "Python", node: "Node", openaiGo: "openai-go", goOpenAI: "go-openai", plain: "HTTP"}

type outcome string

const (
	passed outcome = "ok"
	failed outcome = "FAIL"
	hole   outcome = "HOLE" // should have run and did not
	unused outcome = "·"
	later  outcome = "later"
)

type cell struct {
	number int
	letter string
}

// matrix is what became of every case with every client.
type matrix map[cell]outcome

func (m matrix) fill(c testCase, letter string, o outcome) { m[cell{c.number, letter}] = o }

func (m matrix) at(c testCase, letter string) outcome {
	if c.later != "" {
		return later
	}
	if !strings.Contains(c.clients, letter) {
		return unused
	}
	if o, ran := m[cell{c.number, letter}]; ran {
		return o
	}
	return hole
}

func (m matrix) table() string {
	var b strings.Builder
	row := func(name string, cells func(letter string) string) {
		fmt.Fprintf(&b, "%-52s", name)
		for _, letter := range all {
			fmt.Fprintf(&b, " %-9s", cells(string(letter)))
		}
		b.WriteByte('\n')
	}
	row("case", func(letter string) string { return heading[letter] })
	for _, c := range cases {
		row(fmt.Sprintf("%2d %s", c.number, c.name), func(letter string) string { return string(m.at(c, letter)) })
	}
	return b.String()
}

// holes lists what is not as it should be.
func (m matrix) holes() (list []string) {
	for _, c := range cases {
		if c.later == "" && c.clients == "" {
			list = append(list, fmt.Sprintf("case %d runs with nobody", c.number))
		}
		for _, letter := range all {
			if o := m.at(c, string(letter)); o == hole || o == failed {
				list = append(list, fmt.Sprintf("case %d %s, %s: %s", c.number, c.name, heading[string(letter)], o))
			}
		}
	}
	return list
}

func TestMatrix_FindsWhatDidNotRunOrFailed(t *testing.T) {
	m := matrix{}
	for _, c := range cases {
		for _, letter := range c.clients {
			m.fill(c, string(letter), passed)
		}
	}
	if found := m.holes(); len(found) > 0 {
		t.Errorf("nothing is wrong, and it says %q", found)
	}
	delete(m, cell{1, node})
	m[cell{8, goOpenAI}] = failed
	if found := m.holes(); len(found) != 2 || !strings.Contains(found[0], "HOLE") || !strings.Contains(found[1], "FAIL") {
		t.Errorf("two things are wrong, and it says %q", found)
	}
}

// The list has forty cases. Who runs them is the list's to say, not what happens
// to work.
func TestCases_AreAllOfTheList(t *testing.T) {
	everySDK := []int{1, 2, 6, 7, 8, 9, 12, 13, 15, 18, 19, 20, 23, 33, 34}
	some := map[int]string{3: "PNO", 4: "G", 11: "N", 26: "G", 27: "PNO", 35: "PNO"}
	for i, c := range cases {
		want := some[c.number]
		switch {
		case slices.Contains(everySDK, c.number):
			want = sdks
		case want == "" && c.later == "":
			want = usual
		}
		for _, letter := range want {
			if !strings.ContainsRune(c.clients, letter) {
				t.Errorf("case %d does not run with %s", c.number, heading[string(letter)])
			}
		}
		if c.number != i+1 || (c.run == nil) != (c.later != "") {
			t.Errorf("row %d is case %d %s", i+1, c.number, c.name)
		}
	}
	if len(cases) != 40 {
		t.Errorf("%d cases, want 40", len(cases))
	}
}
