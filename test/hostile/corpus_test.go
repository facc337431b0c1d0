// Package hostile shows that nothing that strangers send harms the router: its
// memory, its backends, its other clients, or the next request of a connection.
//
// The requests stand in corpus/*.http. An entry begins with its name after
// "###", says in lines that begin with "# " what must come of it, and goes on
// with the request: a line of the file is a line of the request and ends with
// CRLF, unless its last character is a backslash, which joins it to the next.
// \r \n \t \0 \\ and \xHH stand for the bytes that they name, and «...» for a call
// of one of the functions below (in the manner of text/template). All before the
// first empty line is the head; «length» in it is the body's length.
//
//	# expect: 400 close   that status, and nothing after it but the connection's end
//	# expect: 400 keep    that status; the connection's next request gets its own answer
//	# expect: close       the connection's end without an answer
//	# expect: 400 or close
//	# client: leaves      sends no more after the request, and says so (FIN)
//	# vary: pad case order split, or some of them, or none
//
// Variants are derived from an entry without changing what must come of it:
// pad adds harmless headers, case writes headers' names in other letters, order
// shuffles the lines of the head, split cuts the request into several writes.
// Besides, «number» and «word» answer differently in each.
package hostile_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
)

// entry is one request of the corpus.
type entry struct {
	name   string
	status int  // 0: no answer
	closed bool // the connection ends
	either bool // the status or the end without an answer
	leaves bool // the client half-closes after sending
	vary   []string
	head   string
	body   string
	ended  bool // the head has its empty line
	large  bool // over 1 MiB
}

// attack is an entry's request, or a variant of it, as it is sent.
type attack struct {
	*entry
	variant int
	bytes   []byte
	cuts    []int // where the writes end
}

func (a *attack) String() string { return fmt.Sprintf("%s (variant %d)", a.name, a.variant) }

// readCorpus reads all entries, in the order of the files' names.
func readCorpus(t testing.TB) []*entry {
	t.Helper()
	files, err := filepath.Glob("corpus/*.http")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	var entries []*entry
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split("\n"+strings.TrimSuffix(string(text), "\n"), "\n### ") {
			if i == 0 {
				continue // the file's own heading
			}
			e, err := parseEntry(part)
			if err != nil {
				t.Fatalf("%s: %q: %v", file, e.name, err)
			}
			if names[e.name] {
				t.Fatalf("%s: %q stands twice", file, e.name)
			}
			names[e.name] = true
			entries = append(entries, e)
		}
	}
	return entries
}

var expectation = regexp.MustCompile(`^(?:close|(\d{3}) (keep|close|or close))$`)

func parseEntry(text string) (*entry, error) {
	name, text, _ := strings.Cut(text, "\n")
	e := &entry{name: name, vary: []string{"pad", "case", "order", "split"}}
	expected := false
	for strings.HasPrefix(text, "# ") {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		key, value, _ := strings.Cut(line[2:], ": ")
		switch key {
		case "expect":
			m := expectation.FindStringSubmatch(value)
			if m == nil {
				return e, fmt.Errorf("cannot expect %q", value)
			}
			expected = true
			e.status, _ = strconv.Atoi(m[1])
			e.closed, e.either = m[2] != "keep", m[2] == "or close"
		case "vary":
			e.vary = strings.Fields(value)
		case "client":
			e.leaves = value == "leaves"
		}
	}
	if !expected {
		return e, fmt.Errorf("expects nothing")
	}
	var source strings.Builder
	for line := range strings.Lines(text + "\n") { // the last line's own was cut off
		line = strings.TrimSuffix(line, "\n")
		joined := strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`)
		if joined {
			line = line[:len(line)-1]
		}
		source.WriteString(unescape(line, joined))
	}
	e.head, e.body, e.ended = strings.Cut(source.String(), "\r\n\r\n")
	if strings.HasPrefix(e.head, "\r\n") && !e.ended {
		return e, fmt.Errorf("begins with an empty line")
	}
	return e, nil
}

var escape = regexp.MustCompile(`«[^»]*»|\\(?:x[0-9a-fA-F]{2}|.)`)

// unescape gives a line its bytes, outside of «...».
func unescape(line string, joined bool) string {
	line = escape.ReplaceAllStringFunc(line, func(s string) string {
		if s[0] != '\\' {
			return s
		}
		switch s[1] {
		case 'r':
			return "\r"
		case 'n':
			return "\n"
		case 't':
			return "\t"
		case '0':
			return "\x00"
		case 'x':
			b, _ := strconv.ParseUint(s[2:], 16, 8)
			return string([]byte{byte(b)})
		}
		return s[1:]
	})
	if joined {
		return line
	}
	return line + "\r\n"
}

// render makes the bytes of a variant; 0 is the entry as it stands.
func (e *entry) render(t testing.TB, key string, variant int) *attack {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, uint64(variant)<<32|uint64(len(e.name))<<16|uint64(e.name[0])))
	f := functions(random, key)
	body := execute(t, e, e.body, f)
	f["length"] = func() int { return len(body) }
	head := execute(t, e, e.head, f)
	a := &attack{entry: e, variant: variant}
	if variant > 0 {
		head = e.varied(random, head)
	}
	if e.ended {
		head += "\r\n\r\n"
	}
	a.bytes = append([]byte(head), body...)
	if variant > 0 && slices.Contains(e.vary, "split") {
		for range random.IntN(6) {
			a.cuts = append(a.cuts, random.IntN(len(a.bytes)))
		}
		slices.Sort(a.cuts)
	}
	a.cuts = append(a.cuts, len(a.bytes))
	return a
}

func execute(t testing.TB, e *entry, source string, f template.FuncMap) string {
	t.Helper()
	tmpl, err := template.New(e.name).Delims("«", "»").Funcs(f).Parse(source)
	if err != nil {
		t.Fatalf("%q: %v", e.name, err)
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, nil); err != nil {
		t.Fatalf("%q: %v", e.name, err)
	}
	return out.String()
}

// varied changes the head in ways that do not matter.
func (e *entry) varied(random *rand.Rand, head string) string {
	lines := strings.Split(head, "\r\n")
	first, lines := lines[0], lines[1:]
	for _, how := range e.vary {
		switch how {
		case "pad":
			for range 1 + random.IntN(8) {
				header := fmt.Sprintf("X-%s: %s", word(random, 3, 12), word(random, 0, 200))
				lines = slices.Insert(lines, random.IntN(len(lines)+1), header)
			}
		case "case":
			for i, line := range lines {
				if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
					lines[i] = anyCase(random, name) + ":" + value
				}
			}
		case "order":
			random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		}
	}
	return strings.Join(append([]string{first}, lines...), "\r\n")
}

func anyCase(random *rand.Rand, s string) string {
	b := []byte(s)
	for i, c := range b {
		if (c|0x20) >= 'a' && (c|0x20) <= 'z' && random.IntN(2) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

func word(random *rand.Rand, low, high int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, low+random.IntN(high-low+1))
	for i := range b {
		b[i] = letters[random.IntN(len(letters))]
	}
	return string(b)
}

// functions are what «...» may call.
func functions(random *rand.Rand, key string) template.FuncMap {
	return template.FuncMap{
		"key":    func() string { return key },
		"length": func() int { panic("the body has no length of itself") },
		"repeat": func(n int, s string) string { return strings.Repeat(s, n) },
		"number": func(low, high int) int { return low + random.IntN(high-low+1) },
		"upper":  strings.ToUpper,
		"word":   func() string { return word(random, 4, 40) },
		"base64": base64Of,
		"chunks": func(s string) string { return chunks(random, s) },
		"hex":    func(n int) string { return strconv.FormatInt(int64(n), 16) },
		"png":    pngOf,
		"gif":    gifOf,
		"jpeg":   jpegOf,
		"bmp":    bmpOf,
		"webp":   webpOf,
		"bomb":   pngBomb,
		"form":   form,
		"parts":  parts,
		"nested": func(n int, open, end string) string { return strings.Repeat(open, n) + strings.Repeat(end, n) },
		"chat":   chat,
	}
}

// chunks is s in the chunked coding.
func chunks(random *rand.Rand, s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(len(s), 1+random.IntN(max(16, len(s)/4)))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, s[:n])
		s = s[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// form is a multipart body with one file under a field, between boundaries "edge".
func form(field, name, data string) string {
	return fmt.Sprintf("--edge\r\nContent-Disposition: form-data; name=%q; filename=%q\r\nContent-Type: image/png\r\n\r\n%s\r\n--edge--\r\n", field, name, data)
}

// parts is a multipart body of n small fields.
func parts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "--edge\r\nContent-Disposition: form-data; name=\"f%d\"\r\n\r\nx\r\n", i)
	}
	return b.String() + "--edge--\r\n"
}

// chat is a chat request whose one part is an image with this URL.
func chat(url string) string {
	return fmt.Sprintf(`{"model":"deepseek-ocr","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"%s"}}]}]}`, url)
}

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
