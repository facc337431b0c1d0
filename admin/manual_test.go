package admin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ocrmux/backends"
	"ocrmux/backends/sim"
	"ocrmux/usage"
)

// block is a fenced block of the manual.
var block = regexp.MustCompile("(?s)```(sh|json|text)\n(.*?)```")

// documented is a command of the manual, and the answer that is shown of it.
type documented struct{ command, answer string }

// examples reads the commands of docs/admin.md. The JSON behind a block of them
// is the answer to its last.
func examples(t *testing.T) (found []documented) {
	t.Helper()
	manual, err := os.ReadFile("../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	last := -1 // place of the last block's end
	for _, m := range block.FindAllSubmatchIndex(manual, -1) {
		language, text := string(manual[m[2]:m[3]]), string(manual[m[4]:m[5]])
		switch {
		case language == "sh":
			for line := range strings.Lines(text) {
				found = append(found, documented{command: strings.TrimSpace(line)})
			}
		case language == "json" && strings.TrimSpace(string(manual[last:m[0]])) == "":
			found[len(found)-1].answer = text
		}
		last = m[1]
	}
	return found
}

// curl makes the request that a command line of curl would.
func curl(t *testing.T, command, base string) *http.Request {
	t.Helper()
	words := shellWords(t, command)
	method, url, body := "", "", io.Reader(http.NoBody)
	headers := http.Header{}
	for i := 1; i < len(words); i++ {
		switch word := words[i]; word {
		case "-X", "-d", "-H":
			i++
			switch word {
			case "-X":
				method = words[i]
			case "-d":
				body = strings.NewReader(words[i])
				if method == "" {
					method = http.MethodPost
				}
			case "-H":
				name, value, _ := strings.Cut(words[i], ": ")
				headers.Set(name, value)
			}
		default:
			rest, ok := strings.CutPrefix(word, "http://127.0.0.1:5001/")
			if !ok {
				t.Fatalf("%s: what is %q?", command, word)
			}
			url = base + "/" + rest
		}
	}
	r, err := http.NewRequest(method, url, body)
	if err != nil || words[0] != "curl" || url == "" {
		t.Fatalf("%s: %v", command, err)
	}
	r.Header = headers
	return r
}

// shellWords splits a command as a shell does, as far as the manual goes.
func shellWords(t *testing.T, command string) (words []string) {
	t.Helper()
	for _, part := range regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`).FindAllString(command, -1) {
		switch part[0] {
		case '"':
			part = strings.ReplaceAll(part, "$TOKEN", token)
			fallthrough
		case '\'':
			part = part[1 : len(part)-1]
		}
		words = append(words, part)
	}
	return words
}

func TestManual_ItsExamplesWorkAndAnswerAsShown(t *testing.T) {
	var sims [3]*sim.Server
	var pools [2]*backends.Pool
	w := newWorld(t, withBackends(&sims, &pools))
	w.ledger.Record(usage.Who{Tenant: "acme", Key: "7q3n0v5k", Model: model, Route: "ocr_batch"},
		usage.Counts{Requests: 3, Images: 12, Pixels: 104_400_000, GPU: 41 * time.Second, Refused: usage.Refusals{Images: 1}})
	server := httptest.NewServer(w.handler)
	defer server.Close()
	compared := 0
	for _, example := range examples(t) {
		answer, err := server.Client().Do(curl(t, example.command, server.URL))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode/100 != 2 {
			t.Errorf("%s: %d %s %v", example.command, answer.StatusCode, body, err)
		}
		if example.answer == "" {
			continue
		}
		compared++
		if got, want := members(t, body), members(t, []byte(example.answer)); !slices.Equal(got, want) {
			t.Errorf("%s\nhas the members %q,\nthe manual shows %q", example.command, got, want)
		}
	}
	if compared < 7 {
		t.Errorf("%d answers are shown", compared)
	}
}

// members lists the paths of all members of a JSON text, sorted: lists count by
// their first element. month is made like today and not shown a second time.
func members(t *testing.T, text []byte) []string {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	paths := map[string]bool{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, inner := range v {
				paths[path+"."+name] = true
				if name != "month" {
					walk(path+"."+name, inner)
				}
			}
		case []any:
			if len(v) > 0 {
				walk(path+"[]", v[0])
			}
		default:
			paths[fmt.Sprintf("%s: %T", path, value)] = true
		}
	}
	walk("", value)
	return slices.Sorted(maps.Keys(paths))
}

// A route that the manual does not show is one that nobody finds.
func TestManual_ShowsEveryRouteAndEveryCode(t *testing.T) {
	manual, err := os.ReadFile("../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, withToken)
	shown := map[string]bool{}
	commands := examples(t)
	for path, methods := range lockedPaths(t, w) {
		pattern := regexp.MustCompile("^" + strings.NewReplacer("00000000", "[^/]+", "nobody", "[^/]+").Replace(path) + "$")
		for _, method := range methods {
			for _, example := range commands {
				r := curl(t, example.command, "http://h")
				if r.Method == method && pattern.MatchString(r.URL.Path) {
					shown[method+" "+path] = true
				}
			}
			if !shown[method+" "+path] && strings.HasPrefix(path, "/admin") {
				t.Errorf("%s %s is not in the manual", method, path)
			}
		}
	}
	sources, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?:Code: |notFound\(|conflict\(|Invalid\([^"]*(?:"[a-z]*", )?)"([a-z]+_[a-z_]+)"`)
	for _, source := range sources {
		if strings.HasSuffix(source.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(source.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range code.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(manual), "`"+found[1]+"`") {
				t.Errorf("%s: the manual lacks %s", source.Name(), found[1])
			}
		}
	}
}
