package compat

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonSeeds are texts at the borders of what JSON is.
func jsonSeeds() []string {
	seeds := []string{
		``, ` `, `{}`, ` {} `, `{}{}`, `[]`, `null`, `nul`, `nulll`, `true`, `tru`, `false`, `0`, `-`, `-0`, `-0.0e-0`, `01`, `1.`, `.5`, `1e`, `1e+`, `1E400`, `+1`, `0x1`, `NaN`, `Infinity`,
		`{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":1,"b":2}`, `[1,]`, `[,]`, `[1 2]`, `[1`, `{"a":1`, `{"a":`, `{"a"`, `{"`, `"`, `"\`, `"\u`, `"\u12`, `"\u123`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `[{"a":1},{"a":1}]`, `{"a":{"a":{"a":1}}}`, `{"":1,"":2}`, `{"\ud83d\ude00":1,"😀":2}`,
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud83d\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ud83d\u0041"`, `"\uD83D\uDE00"`, `"\u00e9"`, `"\uFFFD"`, `"\/"`, `"\x"`, `"\U0041"`,
		"\"\x1f\"", "\"\x7f\"", "\"\x00\"", "\"\xff\"", "\"\xc3\"", "\"\xc3\xa9\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc0\x80\"", "\"a\n\"", "\xef\xbb\xbf{}", "{}\x00", "\x00", "{}\f", "\v{}", "\u00a0{}", "{\u2028}",
		`{"a":"` + strings.Repeat("x", 31) + `"}`, `{"a":"` + strings.Repeat("x", 40) + "\t" + `"}`, strings.Repeat("[", 50) + strings.Repeat("]", 50), tokenSeed, "/**/{}", "{} // x",
	}
	for _, n := range []int{15, 16, 17, 40, 200} {
		var fresh, twice []string
		for i := range n {
			fresh = append(fresh, fmt.Sprintf(`"k%d":{"k0":%d}`, i, i))
		}
		twice = append(append(twice, fresh...), fmt.Sprintf(`"\u006b%d":0`, n/2))
		seeds = append(seeds, "{"+strings.Join(fresh, ",")+"}", "{"+strings.Join(twice, ",")+"}")
	}
	return seeds
}

const tokenSeed = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}]}`

func scans(data []byte) error {
	s := scanner{data: data}
	return s.document(s.skip)
}

func FuzzScanAgreesWithJSONText(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := scans(data)
		if want := jsontext.Value(data).IsValid(); (err == nil) != want {
			t.Errorf("%q: got %v, jsontext says %v", data, err, want)
		}
	})
}

func TestScan_AgreesWithJSONTextOnDepth(t *testing.T) {
	for _, depth := range []int{9999, 10000, 10001, 100000} {
		for _, text := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"":`, depth) + "1" + strings.Repeat("}", depth),
			"[" + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + ",[]]",
		} {
			err := scans([]byte(text))
			if want := jsontext.Value(text).IsValid(); (err == nil) != want {
				t.Errorf("depth %d, %.10s: got %v, jsontext says %v", depth, text, err, want)
			}
		}
	}
}

// A document that is cut, or has a byte changed, is judged as jsontext judges it.
func TestScan_AgreesWithJSONTextOnBrokenDocuments(t *testing.T) {
	whole := []byte(`{"a":[1,-2.5e+3,true,false,null,{}],"b\n":{"c":"\u00e9\ud83d\ude00é","d":"0123456789012345678901234567890123456789"}, "e" : [ ] }`)
	for i := range whole {
		if got, want := scans(whole[:i]) == nil, jsontext.Value(whole[:i]).IsValid(); got != want {
			t.Errorf("cut at %d: got %v, want %v", i, got, want)
		}
		for c := range 256 {
			changed := bytes.Clone(whole)
			changed[i] = byte(c)
			if got, want := scans(changed) == nil, jsontext.Value(changed).IsValid(); got != want {
				t.Errorf("%q: got %v, want %v", changed, got, want)
			}
		}
	}
}

func FuzzAppendText(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		AppendText(nil, data)
		quoted := AppendQuoted(nil, string(data))
		want, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			t.Fatalf("%q is quoted as %q: %v", data, quoted, err)
		}
		if got := AppendText(nil, quoted[1:len(quoted)-1]); !bytes.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", quoted, got, want)
		}
		if raw := append(append([]byte{'"'}, data...), '"'); scans(raw) == nil {
			want, err := jsontext.AppendUnquote(nil, raw)
			if got := AppendText(nil, data); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q: got %q, want %q, %v", data, got, want, err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add(uint8(0), []byte(seed))
	}
	var img bytes.Buffer
	if err := png.Encode(&img, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		f.Fatal(err)
	}
	pixel := "data:image/png;base64," + base64.StdEncoding.EncodeToString(img.Bytes())
	for d, body := range []string{
		`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + pixel + `"}},{"type":"text","text":"x"}]}],"stream":true,"stream_options":{"include_usage":true},"n":2}`,
		`{"model":"m","prompt":[[1,2],[3]],"max_tokens":5}`,
		`{"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"` + pixel + `"}]}]}`,
	} {
		if _, err := Parse(Dialect(d), []byte(body), Rules{MaxImages: 2, MaxN: 8}); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(d), []byte(body))
	}
	f.Fuzz(func(t *testing.T, d uint8, body []byte) {
		r, err := Parse(Dialect(d%3), body, Rules{MaxImages: 2, MaxN: 8})
		if _, named := Parse(Dialect(d%3), body, Rules{MaxImages: 2, MaxN: 8, Sum: sumOf}); !reflect.DeepEqual(named, err) {
			t.Fatalf("%q: got %v where images are named, %v where they are not", body, named, err)
		}
		if valid := jsontext.Value(body).IsValid(); err == nil && !valid {
			t.Fatalf("%q passed", body)
		}
		if err != nil {
			if !jsontext.Value(err.(*Error).AppendJSON(nil)).IsValid() {
				t.Fatalf("%q is no JSON", err.(*Error).AppendJSON(nil))
			}
			return
		}
		changed := r.Rewrite([]Member{{"model", []byte(`"x"`)}, r.UsageOption()}, []Member{{"temperature", []byte("0")}}).bytes()
		again, err := Parse(r.Dialect, changed, Rules{MaxImages: 2, MaxN: 8})
		if err != nil && !strings.Contains(err.Error(), "only allowed when 'stream'") {
			t.Fatalf("%q became %q: %v", body, changed, err)
		}
		if err == nil && (again.Model != "x" || !again.IncludeUsage || len(again.Images) != len(r.Images)) {
			t.Fatalf("%q became %q", body, changed)
		}
	})
}

// sumOf takes whatever a decoder takes, line breaks too.
func sumOf(text []byte) (sum [32]byte, err error) {
	_, err = base64.StdEncoding.AppendDecode(nil, text)
	return sum, err
}

func FuzzChunk(f *testing.F) {
	for _, seed := range jsonSeeds() {
		f.Add(uint8(0), []byte(seed))
	}
	for _, seed := range []string{
		tokenSeed, `[DONE]`, `{"error":{"message":"m","code":400}}`, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`,
		`{"type":"response.completed","response":{"usage":{"input_tokens":1}}}`, `{"detail":[{"loc":["body",0],"msg":"m"}],"error":"x"}`,
	} {
		for d := range uint8(3) {
			f.Add(d, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, d uint8, data []byte) {
		var c Chunk
		err := ParseChunk(Dialect(d%3), data, &c)
		if err != nil {
			return
		}
		lenient := jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if !lenient && !c.Done {
			t.Fatalf("%q passed", data)
		}
		for _, choice := range c.Choices {
			AppendText(nil, choice.Text)
		}
		for _, whole := range []bool{false, true} {
			e := Ending{Dialect: Dialect(d % 3), Whole: whole}
			e.Add(&c)
			if e.Complete() && c.Error != nil {
				t.Fatalf("%q is an error and complete", data)
			}
		}
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("data: {\"a\":1}\n\ndata: [DONE]\n\n"), uint8(1))
	f.Add([]byte(": ping\r\n\r\nevent: x\r\ndata: 1\r\ndata:2\r\n\r\n\n\ndata\n\n"), uint8(3))
	f.Add([]byte("data: 頁\n\nid: 1\nretry: 5\n\ndata: cut"), uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		want := split(t, stream, len(stream)+1)
		if got := split(t, stream, int(step)+1); got != want {
			t.Errorf("%q cut every %d bytes:\n got %s\nwant %s", stream, step+1, got, want)
		}
	})
}

// split feeds the stream in steps and lists its events.
func split(t *testing.T, stream []byte, step int) string {
	var s Splitter
	var b strings.Builder
	for len(stream) > 0 {
		n := min(step, len(stream))
		if err := s.Feed(stream[:n]); err != nil {
			t.Fatal(err)
		}
		stream = stream[n:]
		for raw, data, ok := s.Next(); ok; raw, data, ok = s.Next() {
			fmt.Fprintf(&b, "%q -> %q %v\n", raw, data, data == nil)
		}
	}
	fmt.Fprintf(&b, "pending %d", s.Pending())
	return b.String()
}
