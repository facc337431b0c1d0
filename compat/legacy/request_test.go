package legacy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ocrmux/compat/legacy"
)

var now = time.Date(2025, 11, 10, 12, 34, 56, 789_012_345, time.UTC)

var profiles = []legacy.Profile{legacy.Union, legacy.App, legacy.Standard}

func parse(t *testing.T, contentType, body string) *legacy.Form {
	t.Helper()
	form, err := legacy.ParseForm(contentType, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// refusal is an *Error as a client sees it.
func refusal(t *testing.T, err error) (status int, body string) {
	t.Helper()
	var refused *legacy.Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return refused.Status, string(refused.Body())
}

const (
	bodyA = `{"error":"\u8acb\u6c42\u4e2d\u6c92\u6709\u6a94\u6848\u90e8\u5206"}` + "\n"
	bodyB = `{"error":"\u672a\u9078\u64c7\u6a94\u6848"}` + "\n"
	bodyC = `{"error":"\u4e0d\u652f\u63f4\u7684\u6a94\u6848\u985e\u578b\u3002\u5141\u8a31\u7684\u985e\u578b: png, jpg, jpeg, gif, bmp, webp"}` + "\n"
	bodyD = `{"error":"\u6c92\u6709\u6709\u6548\u7684\u5716\u7247\u6a94\u6848"}` + "\n"
	bodyF = `{"error":"\u5167\u90e8\u4f3a\u670d\u5668\u932f\u8aa4: 500 Internal Server Error: The server encountered an internal error and was unable to complete your request. Either the server is overloaded or there is an error in the application."}` + "\n"
)

func TestParseOCR_RefusesInTheOldWords(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"no body", "", "", 400, bodyA},
		{"JSON body", "application/json", `{"file":"x"}`, 400, bodyA},
		{"urlencoded", "application/x-www-form-urlencoded", "file=x", 400, bodyA},
		{"missing boundary", "multipart/form-data", "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"wrong boundary", "multipart/form-data; boundary=c", "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"truncated", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx", 400, bodyA},
		{"file as text", formType, "--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--b--", 400, bodyA},
		{"bare filename=", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=\r\n\r\nx\r\n--b--", 400, bodyA},
		{"field files", formType, "--b\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"field File", formType, "--b\r\nContent-Disposition: form-data; name=File; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"empty name", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=\"\"\r\n\r\nx\r\n--b--", 400, bodyB},
		{"empty name, then good", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=\"\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyB},
		{"a.tiff", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=a.tiff\r\n\r\nx\r\n--b--", 400, bodyC},
		{"image", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=image\r\n\r\nx\r\n--b--", 400, bodyC},
		{"png", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=png\r\n\r\nx\r\n--b--", 400, bodyC},
		{"a.png.", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=a.png.\r\n\r\nx\r\n--b--", 400, bodyC},
		{"a.png and a blank", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=\"a.png \"\r\n\r\nx\r\n--b--", 400, bodyC},
		{"300-character name", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=" + strings.Repeat("a", 296) + ".png\r\n\r\nx\r\n--b--", 500, bodyF},
		{"240-character name", formType, "--b\r\nContent-Disposition: form-data; name=file; filename=" + strings.Repeat("a", 236) + ".png\r\n\r\nx\r\n--b--", 500, bodyF},
	}
	for _, test := range tests {
		for _, profile := range profiles {
			t.Run(test.name+"/"+profile.String(), func(t *testing.T) {
				_, err := profile.ParseOCR(parse(t, test.contentType, test.body), now)
				status, body := refusal(t, err)
				if status != test.status || body != test.want {
					t.Errorf("got  %d %s\nwant %d %s", status, body, test.status, test.want)
				}
			})
		}
	}
}

func TestParseOCR_NamesTheImageAsItWasSaved(t *testing.T) {
	tests := []struct{ disposition, want string }{
		{`name="file"; filename="a.PNG"`, "uploads/20251110_123456_a.PNG"},
		{`name="file"; filename=".png"`, "uploads/20251110_123456_png"},
		{`name="file"; filename="發票.png"`, "uploads/20251110_123456_png"},
		{`name="file"; filename="發票 2024.PNG"`, "uploads/20251110_123456_2024.PNG"},
		{`name="file"; filename="../../etc/passwd.png"`, "uploads/20251110_123456_etc_passwd.png"},
		{`name="file"; filename="C:\Users\x\a b.jpg"`, "uploads/20251110_123456_CUsersxa_b.jpg"},
		{`name="file"; filename="My résumé №1.jpeg"`, "uploads/20251110_123456_My_resume_No1.jpeg"},
		{`name="file"; filename*=UTF-8''%E7%99%BCa.png`, "uploads/20251110_123456_a.png"},
		{`name="file"; filename="` + strings.Repeat("a", 235) + `.png"`, "uploads/20251110_123456_" + strings.Repeat("a", 235) + ".png"},
	}
	for _, test := range tests {
		form := parse(t, formType, "--b\r\nContent-Disposition: form-data; "+test.disposition+"\r\n\r\nPNG\r\n--b--")
		request, err := legacy.Union.ParseOCR(form, now)
		if err != nil {
			t.Errorf("%s: %v", test.disposition, err)
			continue
		}
		if request.Image.Path != test.want || string(request.Image.Data) != "PNG" {
			t.Errorf("%s: got %s (%q), want %s", test.disposition, request.Image.Path, request.Image.Data, test.want)
		}
	}
}

func TestParseOCR_TakesTheFirstOfTwoFiles(t *testing.T) {
	form := parse(t, formType, "--b\r\nContent-Disposition: form-data; name=file; filename=1.png\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=file; filename=2.png\r\n\r\ntwo\r\n--b--")
	request, err := legacy.Union.ParseOCR(form, now)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(request.Image.Data); got != "one" {
		t.Errorf("got %q, want the first", got)
	}
}

func TestParseOCR_TakesThePrompt(t *testing.T) {
	const file = "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n"
	tests := []struct{ name, body, want, standard string }{
		{"absent", file + "--b--", "<image>\nFree OCR.", "<image>\nFree OCR."},
		{"empty", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\n\r\n--b--", "<image>\nFree OCR.", "<image>\nFree OCR."},
		{"given", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\nRead it.\r\n--b--", "Read it.", "<image>\nRead it."},
		{"with a placeholder", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\nRead <image>.\r\n--b--", "Read <image>.", "Read <image>."},
		{"white space is a prompt", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\n \r\n--b--", " ", "<image>\n "},
		{"twice", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\ntwo\r\n--b--", "one", "<image>\none"},
		{"in a file", file + "--b\r\nContent-Disposition: form-data; name=prompt; filename=p.txt\r\n\r\none\r\n--b--", "<image>\nFree OCR.", "<image>\nFree OCR."},
		{"not UTF-8", file + "--b\r\nContent-Disposition: form-data; name=prompt\r\n\r\n\xff\xfe\r\n--b--", "\ufffd\ufffd", "<image>\n\ufffd\ufffd"},
	}
	for _, test := range tests {
		for _, profile := range profiles {
			want := test.want
			if profile == legacy.Standard {
				want = test.standard
			}
			request, err := profile.ParseOCR(parse(t, formType, test.body), now)
			if err != nil {
				t.Fatal(err)
			}
			if request.Prompt != want {
				t.Errorf("%s, %s: got %q, want %q", test.name, profile, request.Prompt, want)
			}
		}
	}
}

func TestParseBatch_PassesOverWhatIsNoImage(t *testing.T) {
	form := parse(t, formType, "--b\r\nContent-Disposition: form-data; name=files; filename=a.pdf\r\n\r\n0\r\n"+
		"--b\r\nContent-Disposition: form-data; name=files; filename=b.png\r\n\r\n1\r\n"+
		"--b\r\nContent-Disposition: form-data; name=files; filename=\"\"\r\n\r\n2\r\n"+
		"--b\r\nContent-Disposition: form-data; name=files; filename=\"中.jpg\"\r\n\r\n3\r\n--b--")
	request, err := legacy.App.ParseBatch(form, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"uploads/20251110_123456_1_b.png 1", "uploads/20251110_123456_3_jpg 3"}
	if len(request.Images) != len(want) {
		t.Fatalf("got %d images, want %d", len(request.Images), len(want))
	}
	for i, image := range request.Images {
		if got := image.Path + " " + string(image.Data); got != want[i] {
			t.Errorf("got %s, want %s", got, want[i])
		}
	}
	if request.Prompt != "<image>\nFree OCR." {
		t.Errorf("got prompt %q", request.Prompt)
	}
}

func TestParseBatch_RefusesInTheOldWords(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		want       string
	}{
		{"field file", "--b\r\nContent-Disposition: form-data; name=file; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"field files[]", "--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=a.png\r\n\r\nx\r\n--b--", 400, bodyA},
		{"all bad or nameless", "--b\r\nContent-Disposition: form-data; name=files; filename=a.pdf\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=files; filename=\"\"\r\n\r\nx\r\n--b--", 400, bodyD},
		{"238-character name", "--b\r\nContent-Disposition: form-data; name=files; filename=" + strings.Repeat("a", 234) + ".png\r\n\r\nx\r\n--b--", 500, bodyF},
		{"237-character name", "--b\r\nContent-Disposition: form-data; name=files; filename=" + strings.Repeat("a", 233) + ".png\r\n\r\nx\r\n--b--", 0, ""},
	}
	for _, test := range tests {
		for _, profile := range profiles {
			t.Run(test.name+"/"+profile.String(), func(t *testing.T) {
				_, err := profile.ParseBatch(parse(t, formType, test.body), now)
				if test.status == 0 {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				status, body := refusal(t, err)
				if status != test.status || body != test.want {
					t.Errorf("got  %d %s\nwant %d %s", status, body, test.status, test.want)
				}
			})
		}
	}
}

func TestModelPrompt_HoldsNoPlaceholder(t *testing.T) {
	tests := []struct{ prompt, want string }{
		{"<image>\nFree OCR.", "Free OCR."},
		{"<image>\r\nFree OCR.", "Free OCR."},
		{"Free OCR.", "Free OCR."},
		{"a\n<image>\n\nb<image>c", "a\n\nbc"},
		{"<image> x", " x"},
		{"<ima<image>\nge>x", "x"},
		{"<Image>\nx", "<Image>\nx"},
		{"<image>", ""},
		{"", ""},
	}
	for _, test := range tests {
		if got := legacy.ModelPrompt(test.prompt); got != test.want {
			t.Errorf("%q: got %q, want %q", test.prompt, got, test.want)
		}
	}
}
