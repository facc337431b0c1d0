package legacy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat/legacy"
)

// bitmap is an image as far as its header goes, of any size.
func bitmap(size int) []byte {
	b := make([]byte, max(size, 26))
	copy(b, "BM")
	b[14], b[18], b[22] = 40, 7, 9
	for i := 26; i < len(b); i++ {
		b[i] = byte(i * 31)
	}
	return b
}

func TestParseUpload_TakesJSON(t *testing.T) {
	for _, size := range []int{26, 27, 28, 1023, 1024, 1025, 300_000} {
		image := bitmap(size)
		b64 := base64.StdEncoding.EncodeToString(image)
		for name, written := range map[string]string{
			"base64":        b64,
			"data URL":      "data:image/png;base64," + b64,
			"of PHP":        strings.ReplaceAll("data:image/bmp;base64,"+b64, "/", `\/`),
			"with newlines": strings.Join(chunks(b64, 76), `\n`),
		} {
			body := fmt.Sprintf(`{"model":"m","image":"%s", "prompt":"a\n\u4e2d","format":null,"other":[1]}`, written)
			form, err := legacy.Union.ParseUpload("application/json; charset=utf-8", []byte(body), "file")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			file, ok := form.File("file")
			if !ok || file.Name != "image.bmp" || !bytes.Equal(file.Data, image) {
				t.Errorf("%s of %d bytes: %t %q, %d bytes", name, size, ok, file.Name, len(file.Data))
			}
			if p, m, f := form.Value("prompt"), form.Value("model"), form.Value("format"); p != "a\n中" || m != "m" || f != "" {
				t.Errorf("%s: prompt %q, model %q, format %q", name, p, m, f)
			}
		}
	}
}

func chunks(s string, n int) (parts []string) {
	for ; len(s) > n; s = s[n:] {
		parts = append(parts, s[:n])
	}
	return append(parts, s)
}

func TestParseUpload_HoldsTheImageOnce(t *testing.T) {
	body := fmt.Appendf(nil, `{"image":%q}`, base64.StdEncoding.EncodeToString(bitmap(3000)))
	form, err := legacy.Union.ParseUpload("application/json", body, "file")
	if err != nil || !within(form.Files[0].Data, body) {
		t.Errorf("the image lies outside of the body (%v)", err)
	}
}

func TestParseUpload_IsAnEmptyFormWhereJSONHasNoImage(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bitmap(26))
	for _, body := range []string{
		"", "null", "[]", `"` + good + `"`, `{}`, `{"file":"` + good + `"}`, `{"image":null}`, `{"image":["` + good + `"]}`, `{"Image":"` + good + `"}`,
		`{"image":"` + good + `","image":"` + good + `"}`, `{"image":"` + good + `"`, `{"image":"` + good + `"} x`, `{"prompt":1}`,
	} {
		if form, err := legacy.Union.ParseUpload("application/json", []byte(body), "file"); err != nil || len(form.Files)+len(form.Values) > 0 {
			t.Errorf("%s: %v %v", body, form, err)
		}
	}
	for _, profile := range []legacy.Profile{legacy.App, legacy.Standard} {
		body := `{"image":"` + good + `"}`
		if form, err := profile.ParseUpload("application/json", []byte(body), "file"); err != nil || len(form.Files) > 0 {
			t.Errorf("%s: %v %v", profile, form, err)
		}
	}
}

func TestParseUpload_SaysWhatIsWrongWithTheJSON(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bitmap(26))
	for body, want := range map[string]string{
		`{"image":""}`:                               "image",
		`{"image":"data:,"}`:                         "image",
		`{"image":"https://example.com/a.png"}`:      "image",
		`{"image":"data:image/png,` + good + `"}`:    "image",
		`{"image":"` + good[:len(good)-1] + `"}`:     "image",
		`{"image":"` + good[:len(good)-2] + `"}`:     "image",
		`{"image":"` + good + `="}`:                  "image",
		`{"image":"` + good + good + `"}`:            "image",
		`{"image":"a*bc"}`:                           "image",
		`{"image":"` + good + `","prompt":7}`:        "prompt",
		`{"image":"` + good + `","format":{}}`:       "format",
		`{"image":"` + good + `","model":["a","b"]}`: "model",
	} {
		_, err := legacy.Union.ParseUpload("application/json", []byte(body), "file")
		var refused *legacy.Error
		if !errors.As(err, &refused) || refused.Status != 400 || !strings.HasPrefix(refused.Message, want+" ") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzParseUpload holds the reading of JSON against encoding/json.
func FuzzParseUpload(f *testing.F) {
	f.Add(`{"image":"Qk0=","prompt":"a\/b"}`)
	f.Add(`{"image":"data:image/png;base64,Qk0A\nQk0A","format":"json"}`)
	f.Add(`{"image":"\u0051k0="}`)
	f.Fuzz(func(t *testing.T, body string) {
		form, err := legacy.Union.ParseUpload("application/json", []byte(body), "file")
		if err != nil || len(form.Files) == 0 {
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(body), &want); err != nil {
			t.Fatal(err)
		}
		text := want["image"].(string)
		if strings.HasPrefix(text, "data:") {
			_, text, _ = strings.Cut(text, ",")
		}
		image, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Equal(image, form.Files[0].Data) {
			t.Fatalf("%q is %q: %v", text, form.Files[0].Data, err)
		}
		for _, name := range []string{"prompt", "format", "model"} {
			if value, _ := want[name].(string); form.Value(name) != value {
				t.Fatalf("%s is %q, want %q", name, form.Value(name), value)
			}
		}
	})
}
