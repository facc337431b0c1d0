package compat_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"ocrmux/compat"
)

// randomJSON writes values as clients do and as they should not: white space,
// escapes, numbers that no float holds.
type randomJSON struct {
	*rand.Rand
	strings.Builder
}

func (r *randomJSON) pick(choices ...string) string { return choices[r.IntN(len(choices))] }

func (r *randomJSON) space() { r.WriteString(r.pick("", "", "", " ", "\n", "\t", " \r\n ")) }

func (r *randomJSON) value(depth int) {
	switch kind := r.IntN(8); {
	case kind == 0 && depth > 0:
		r.WriteString("{")
		r.space()
		for i := range r.IntN(20) {
			if i > 0 {
				r.WriteString(",")
			}
			r.space()
			fmt.Fprintf(r, `"%s%d"`, r.pick("k", `\u006b\n`, "鍵", `\"`), i)
			r.space()
			r.WriteString(":")
			r.space()
			r.value(depth - 1)
			r.space()
		}
		r.WriteString("}")
	case kind == 1 && depth > 0:
		r.WriteString("[")
		r.space()
		for i := range r.IntN(4) {
			if i > 0 {
				r.WriteString(",")
			}
			r.space()
			r.value(depth - 1)
			r.space()
		}
		r.WriteString("]")
	case kind < 5:
		r.WriteString(r.pick("null", "true", "false", "0", "-0", "1E400", "0.10", "123456789012345678901234567890", "-1.5e-7"))
	default:
		r.WriteString(`"` + strings.Repeat(r.pick("a", `\u0041`, `\ud83d\ude00`, "é", `\/`, `\"`, "}", "]", ",", ":"), r.IntN(50)) + `"`)
	}
}

// member is what a body is made of; the property is about these bytes.
type member struct{ name, value string }

// body writes a random body and lists its members.
func (r *randomJSON) body() (body string, members []member) {
	fixed := []member{{"model", `"m"`}, {"messages", `[{"role":"user","content":"x"}]`}}
	for _, m := range []member{{"temperature", "0.70"}, {"stream", "true"}, {"n", "2"}, {"skip_special_tokens", "null"}} {
		if r.IntN(2) == 0 {
			fixed = append(fixed, m)
		}
	}
	for i := range r.IntN(25) {
		r.Reset()
		r.value(3)
		fixed = append(fixed, member{fmt.Sprintf("x%d", i), r.String()})
	}
	r.Shuffle(len(fixed), func(i, j int) { fixed[i], fixed[j] = fixed[j], fixed[i] })
	r.Reset()
	r.space()
	r.WriteString("{")
	for i, m := range fixed {
		if i > 0 {
			r.WriteString(",")
		}
		r.space()
		name := m.name
		if r.IntN(4) == 0 {
			name = fmt.Sprintf(`\u%04x`, name[0]) + name[1:]
		}
		r.WriteString(`"` + name + `"`)
		r.space()
		r.WriteString(":")
		r.space()
		r.WriteString(m.value)
		r.space()
	}
	r.WriteString("}")
	r.space()
	return r.String(), fixed
}

// topLevel lists the members of a body with another reader than ours.
func topLevel(t *testing.T, body []byte) (members []member) {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := d.ReadToken(); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		m := member{name: name.String()}
		value, err := d.ReadValue()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		m.value = string(value)
		members = append(members, m)
	}
	return members
}

func TestRewrite_EveryOtherMemberKeepsItsBytesAndItsPlace(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &randomJSON{Rand: rand.New(rand.NewPCG(seed, 0))}
	for range 2000 {
		text, members := r.body()
		var set, absent []compat.Member
		want := append([]member(nil), members...)
		has := func(name string) int {
			for i := range members {
				if members[i].name == name {
					return i
				}
			}
			return -1
		}
		for _, m := range []member{{"model", `"served"`}, {"stream", "false"}, {"stream_options", `{"include_usage":true}`}, {"x3", `[ 1 ]`}} {
			if r.IntN(2) == 0 {
				continue
			}
			set = append(set, compat.Member{Name: m.name, Value: []byte(m.value)})
			if i := has(m.name); i >= 0 {
				want[i].value = m.value
			} else {
				want = append(want, m)
			}
		}
		for _, m := range []member{{"temperature", "0"}, {"skip_special_tokens", "false"}, {"vllm_xargs", `{"ngram_size":30}`}} {
			if r.IntN(2) == 0 {
				continue
			}
			absent = append(absent, compat.Member{Name: m.name, Value: []byte(m.value)})
			if has(m.name) < 0 {
				want = append(want, m)
			}
		}
		request, err := compat.Parse(compat.Chat, []byte(text), rules)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := read(t, request.Rewrite(set, absent))
		if fmt.Sprintf("%q", topLevel(t, []byte(got))) != fmt.Sprintf("%q", want) {
			t.Fatalf("%s\nbecame %s\nwant %q", text, got, want)
		}
		if len(set)+len(absent) == 0 && got != text {
			t.Fatalf("%s\nbecame %s", text, got)
		}
	}
}

func TestBody_ReadsTheSameInEveryWay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, 20_000)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	for range 60 {
		var b compat.Body
		var want []byte
		for range random.IntN(6) {
			p := raw[:random.IntN(1+min(len(raw), 1<<random.IntN(14)))]
			if random.IntN(2) == 0 {
				b.Append(p)
				want = append(want, p...)
			} else {
				b.AppendBase64(p)
				want = append(want, encode(p)...)
			}
		}
		if b.Size() != int64(len(want)) {
			t.Fatalf("size is %d, want %d", b.Size(), len(want))
		}
		var whole bytes.Buffer
		n, err := b.Open().(io.WriterTo).WriteTo(&whole)
		if err != nil || n != b.Size() || !bytes.Equal(whole.Bytes(), want) {
			t.Fatalf("WriteTo: %d bytes, %v", n, err)
		}
		for _, step := range []int{1, 2, 3, 5, 7, 4096} {
			r := b.Open()
			got := make([]byte, 0, len(want))
			for {
				p := make([]byte, step)
				n, err := r.Read(p)
				got = append(got, p[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil || n == 0 {
					t.Fatalf("Read: %d, %v", n, err)
				}
				if len(got) == 10 { // the rest in the other way
					var rest bytes.Buffer
					if _, err := r.(io.WriterTo).WriteTo(&rest); err != nil {
						t.Fatal(err)
					}
					got = append(got, rest.Bytes()...)
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("read in steps of %d: %d bytes, want %d", step, len(got), len(want))
			}
		}
	}
}
