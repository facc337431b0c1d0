package legacy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"ocrmux/compat/legacy"
)

const formType = "multipart/form-data; boundary=b"

// show writes a form on one line: field(name)=data for files, name=text for values.
func show(form *legacy.Form) string {
	var all []string
	for _, file := range form.Files {
		all = append(all, fmt.Sprintf("%s(%s)=%s", file.Field, file.Name, file.Data))
	}
	for _, value := range form.Values {
		all = append(all, value.Name+"="+value.Text())
	}
	return strings.Join(all, " ")
}

func TestParseForm_SeesWhatWerkzeugSees(t *testing.T) {
	const lost = ""
	tests := []struct{ name, contentType, body, want string }{
		{
			"file and value", formType,
			"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nhi\r\n--b--\r\n",
			"file(a.png)=PNG prompt=hi",
		},
		{"no form", "", "", lost},
		{"JSON", "application/json", `{"image":"x"}`, lost},
		{"urlencoded", "application/x-www-form-urlencoded", "file=x", lost},
		{"another multipart", "multipart/mixed; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", lost},
		{"type in capitals", "Multipart/Form-Data;BOUNDARY=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", "a=x"},
		{"missing boundary", "multipart/form-data", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", lost},
		{"wrong boundary", "multipart/form-data; boundary=c", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", lost},
		{"boundary beyond ASCII", "multipart/form-data; boundary=\"\xe9\"", "--\xe9\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--\xe9--", lost},
		{"quoted boundary", `multipart/form-data; charset=x; boundary="a b"`, "--a b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--a b--", "a=x"},
		{"boundary twice", "multipart/form-data; boundary=c; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", "a=x"},
		{"boundary with a line break", "multipart/form-data; boundary*=utf-8''b%0Ac", "--b\nc\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b\nc--", lost}, // ours
		{"percent-encoded boundary", "multipart/form-data; boundary*=utf-8''b%20c", "--b c\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b c--", "a=x"},
		{"boundary of 257 bytes", "multipart/form-data; boundary=" + strings.Repeat("b", 257), "--" + strings.Repeat("b", 257) + "--", lost}, // ours
		{"content that resembles the boundary", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--bx--b\r\n--bx\r\n--b--", "a=--bx--b\r\n--bx"},
		{"empty body", formType, "", lost},
		{"nothing but the end", formType, "--b--\r\n", ""},
		{"truncated in the content", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx", lost},
		{"truncated in the headers", formType, "--b\r\nContent-Disposition: form-data; name=a", lost},
		{"truncated in the last boundary", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b-", lost},
		{"second part truncated", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b\r\nContent-Disp", lost},
		{"preamble and epilogue", formType, "hello\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--bye", "a=x"},
		{"first boundary inside a line", formType, "hello--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", "a=x"},
		{"other boundary inside a line", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx--b\r\n--b--", "a=x--b"},
		{"other boundary inside a line, LF", formType, "--b\nContent-Disposition: form-data; name=a\n\nx--b\n--b--", "a=x--b"},
		{"boundary with a tail", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--bc\r\n--b--", "a=x\r\n--bc"},
		{"boundary with blanks", formType, "--b \t\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--  \r\n", "a=x"},
		{"LF", formType, "--b\nContent-Disposition: form-data; name=a\n\nx\n--b--\n", "a=x"},
		{"CR", formType, "--b\rContent-Disposition: form-data; name=a\r\rx\r--b--\r", "a=x"},
		{"no content", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b--\r\n", "a="},
		{"continued header", formType, "--b\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nx\r\n--b--", "a=x"},
		{"header not UTF-8", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=\"\xb5o.png\"\r\n\r\nx\r\n--b--", lost},
		{"no Content-Disposition", formType, "--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--", lost},
		{"Content-Disposition twice", formType, "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=c\r\n\r\nx\r\n--b--", "a=x"},
		{"empty file name", formType, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\nx\r\n--b--", "file()=x"},
		{"bare file name", formType, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\r\n\r\nx\r\n--b--", "file=x"},
		{"unterminated file name", formType, "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\r\n\r\nx\r\n--b--", "file=x"},
		{"name twice", formType, "--b\r\nContent-Disposition: form-data; name=a; name=c\r\n\r\nx\r\n--b--", "c=x"},
		{"file name twice", formType, "--b\r\nContent-Disposition: form-data; name=a; filename=1; filename=2\r\n\r\nx\r\n--b--", "a(2)=x"},
		{"filename* last", formType, "--b\r\nContent-Disposition: form-data; name=a; filename=1; filename*=UTF-8''%E7%99%BCa.png\r\n\r\nx\r\n--b--", "a(發a.png)=x"},
		{"filename* first", formType, "--b\r\nContent-Disposition: form-data; name=a; filename*=UTF-8''2; filename=1\r\n\r\nx\r\n--b--", "a(1)=x"},
		{"filename* of Latin-1", formType, "--b\r\nContent-Disposition: form-data; name=a; filename*=iso-8859-1''%e9\r\n\r\nx\r\n--b--", "a(é)=x"},
		{"filename* of another charset", formType, "--b\r\nContent-Disposition: form-data; name=a; filename*=big5''%e9\r\n\r\nx\r\n--b--", "a(%e9)=x"},
		{"filename in pieces", formType, "--b\r\nContent-Disposition: form-data; name=a; filename*0*=UTF-8''%E7%99%BC; filename*1=\"a.png\"\r\n\r\nx\r\n--b--", "a(發a.png)=x"},
		{"directories stay", formType, "--b\r\nContent-Disposition: form-data; name=a; filename=\"../C:\\\\x/a.png\"\r\n\r\nx\r\n--b--", "a(../C:\\x/a.png)=x"},
		{"escaped quotes", formType, "--b\r\nContent-Disposition: form-data; name=a; filename=\"%22\\\"\\\\.png\"\r\n\r\nx\r\n--b--", "a(\"\"\\.png)=x"},
		{"FF FE is two wrong parts", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\xfe\r\n--b--", "a=\ufffd\ufffd"},
		{"a cut character is one wrong part", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xf0\x9f\x98x\xe7\x99\r\n--b--", "a=\ufffdx\ufffd"},
		{"a surrogate is three wrong parts", formType, "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xed\xa0\x80\r\n--b--", "a=\ufffd\ufffd\ufffd"},
		{"value in Latin-1", formType, "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\r\n\xe9\r\n--b--", "a=é"},
		{"value in ASCII", formType, "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=ascii\r\n\r\n\xc3\xa9\r\n--b--", "a=\ufffd\ufffd"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			form, err := legacy.ParseForm(test.contentType, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(form); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// The framing that Werkzeug keeps in memory is counted in whole pieces of
// 64 KiB, so a preamble of 490,000 bytes fails or not by what follows it.
func TestParseForm_RefusesWhatFlaskRefuses(t *testing.T) {
	const (
		file  = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n"
		value = "--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n"
	)
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name, contentType, body string
		refused                 bool
	}{
		{"prompt of 500,000 bytes", formType, value + x(500_000) + "\r\n--b--", false},
		{"prompt of 500,001 bytes", formType, value + x(500_001) + "\r\n--b--", true},
		{"two prompts of 400,000 bytes", formType, value + x(400_000) + "\r\n" + value + x(400_000) + "\r\n--b--", false},
		{"truncated prompt of 600,000 bytes", formType, value + x(600_000), true},
		{"file of 600,000 bytes", formType, file + x(600_000) + "\r\n--b--", false},
		{"1,000 parts", formType, strings.Repeat(value+"\r\n", 1000) + "--b--", false},
		{"1,001 parts", formType, strings.Repeat(value+"\r\n", 1001) + "--b--", true},
		{"1,001 files", formType, strings.Repeat(file+"\r\n", 1001) + "--b--", true},
		{"wrong boundary, 500,000 bytes", "multipart/form-data; boundary=c", x(500_000), false},
		{"wrong boundary, 500,001 bytes", "multipart/form-data; boundary=c", x(500_001), true},
		{"preamble of 490,000 bytes, small file", formType, x(490_000) + "\r\n" + file + "x\r\n--b--", false},
		{"preamble of 490,000 bytes, large file", formType, x(490_000) + "\r\n" + file + x(100_000) + "\r\n--b--", true},
		{"preamble of 600,000 bytes", formType, x(600_000) + "\r\n" + file + "x\r\n--b--", true},
		{"epilogue of 600,000 bytes", formType, file + "x\r\n--b--" + x(600_000), true},
		{"part header of 600,000 bytes", formType, "--b\r\nX: " + x(600_000) + "\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", true},
		{"truncated part header of 600,000 bytes", formType, "--b\r\nX: " + x(600_000), true},
		{"part header of 400,000 bytes", formType, "--b\r\nX: " + x(400_000) + "\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", false},
		{"two part headers of 300,000 bytes", formType, strings.Repeat("--b\r\nX: "+x(300_000)+"\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n", 2) + "--b--", true}, // ours; see multipart.headers
		{"urlencoded, 500,000 bytes", "application/x-www-form-urlencoded", x(500_000), false},
		{"urlencoded, 500,001 bytes", "application/x-www-form-urlencoded", x(500_001), true},
		{"JSON of 600,000 bytes", "application/json", x(600_000), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := legacy.ParseForm(test.contentType, []byte(test.body))
			if !test.refused {
				if err != nil {
					t.Fatalf("got %v, want no error", err)
				}
				return
			}
			var refused *legacy.Error
			if !errors.As(err, &refused) || refused.Status != 413 {
				t.Fatalf("got %v, want status 413", err)
			}
			const want = `{"error":"\u4e0a\u50b3\u7684\u6a94\u6848\u904e\u5927\uff0c\u6700\u5927\u5141\u8a31 16MB"}` + "\n"
			if got := string(refused.Body()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParseForm_CopiesNoFile(t *testing.T) {
	body := []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n" +
		strings.Repeat("x", 1<<20) + "\r\n--b--")
	form, err := legacy.ParseForm(formType, body)
	if err != nil {
		t.Fatal(err)
	}
	file, ok := form.File("file")
	if !ok || len(file.Data) != 1<<20 {
		t.Fatalf("got %d bytes, want 1 MiB", len(file.Data))
	}
	if !within(file.Data, body) {
		t.Error("the file's data is not a slice of the body")
	}
}

// within reports whether part is a slice of whole's bytes in range.
func within(part, whole []byte) bool {
	if len(part) == 0 {
		return true
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	first := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return start >= first && start+uintptr(len(part)) <= first+uintptr(len(whole))
}

func FuzzParseForm(f *testing.F) {
	f.Add(formType, []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\nx\r\n--b--\r\n"))
	f.Add(formType, []byte("--b\nContent-Disposition: form-data;\n name=a; filename*=UTF-8''%E7%99\n\n\n--b--"))
	f.Add(formType, []byte("--b\r\rContent-Disposition: a; name*0*=utf-8''a%; name*1=\"\\\"\r\r\n\n--b \r--b--"))
	f.Add(`multipart/form-data; boundary="-"`, []byte("---\r\n---\r\n-----"))
	f.Add("multipart/form-data; boundary*=iso-8859-1'en'b%22; boundary", []byte("--b\"--"))
	f.Add("application/x-www-form-urlencoded", []byte("file=x"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		form, err := legacy.ParseForm(contentType, body)
		if err != nil {
			return
		}
		if n := len(form.Files) + len(form.Values); n > 1000 {
			t.Fatalf("%d parts", n)
		}
		for _, file := range form.Files {
			if !within(file.Data, body) {
				t.Fatalf("file %q lies outside the body", file.Name)
			}
			legacy.SecureFilename(file.Name)
		}
		for _, value := range form.Values {
			if !within(value.Data, body) {
				t.Fatalf("value %q lies outside the body", value.Name)
			}
			value.Text()
		}
	})
}
