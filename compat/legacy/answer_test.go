package legacy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"ocrmux/compat/legacy"
)

var page = legacy.Page{
	Path:   "uploads/20251110_123456_a.png",
	Prompt: "<image>\nFree OCR.",
	Took:   1234375 * time.Microsecond,
}

const noGPU = `{"available":false,"free_mb":0,"total_mb":0,"usage_percent":0,"used_mb":0}`

func TestAnswer_HasTheKeysOfItsProfile(t *testing.T) {
	tests := []struct {
		profile legacy.Profile
		want    string
	}{
		{legacy.Union, `{"gpu_info_after":` + noGPU + `,"gpu_info_before":` + noGPU + `,"gpu_memory":` + noGPU +
			`,"image_path":"uploads/20251110_123456_a.png","processing_time":1.23,"prompt":"<image>\nFree OCR.","text":"\u767c\u7968 No. 1"}` + "\n"},
		{legacy.App, `{"gpu_info_after":` + noGPU + `,"gpu_info_before":` + noGPU +
			`,"image_path":"uploads/20251110_123456_a.png","processing_time":1.23,"prompt":"<image>\nFree OCR.","text":"\u767c\u7968 No. 1"}` + "\n"},
		{legacy.Standard, `{"gpu_memory":` + noGPU +
			`,"image_path":"uploads/20251110_123456_a.png","processing_time":1.234375,"text":"\u767c\u7968 No. 1"}` + "\n"},
	}
	for _, test := range tests {
		answer, err := test.profile.Answer(page, "發票 No. 1")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(answer.Body()); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.profile, got, test.want)
		}
	}
}

func TestAnswer_WritesStringsAsPythonDoes(t *testing.T) {
	answer, err := legacy.Standard.Answer(page, "<>&/'\x7f\x00\x1f\u2028\uffff😀\"\\\b\f\n\r\té\xff")
	if err != nil {
		t.Fatal(err)
	}
	const want = `"text":"<>&/'\u007f\u0000\u001f\u2028\uffff\ud83d\ude00\"\\\b\f\n\r\t\u00e9\ufffd"}` + "\n"
	if got := string(answer.Body()); !strings.HasSuffix(got, want) {
		t.Errorf("got  %s\nwant … %s", got, want)
	}
}

func TestAnswer_WritesNumbersAsPythonDoes(t *testing.T) {
	after := legacy.GPU{Available: true, FreeMB: 222.19, TotalMB: 24576, UsedMB: 1e16, Usage: 0.00001}
	tests := []struct {
		profile legacy.Profile
		took    time.Duration
		want    string
	}{
		{legacy.App, 0, `"processing_time":0.0,`},
		{legacy.App, 2 * time.Second, `"processing_time":2.0,`},
		{legacy.App, 2675 * time.Millisecond, `"processing_time":2.67,`}, // 2.675 is a little less in binary
		{legacy.App, 125 * time.Millisecond, `"processing_time":0.12,`},  // a tie goes to the even digit
		{legacy.App, 300 * time.Second, `"processing_time":300.0,`},
		{legacy.Standard, 50 * time.Microsecond, `"processing_time":5e-05,`},
		{legacy.Standard, 100 * time.Microsecond, `"processing_time":0.0001,`},
		{legacy.App, 0, `"gpu_info_after":{"available":true,"free_mb":222.19,"total_mb":24576.0,"usage_percent":1e-05,"used_mb":1e+16},"gpu_info_before":` + noGPU},
	}
	for _, test := range tests {
		answer, err := test.profile.Answer(legacy.Page{Took: test.took, After: after}, "text")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(answer.Body()); !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %s in it", got, test.want)
		}
	}
}

// text is the text of an answer, taken from its exact place in the body.
func text(t *testing.T, profile legacy.Profile, page legacy.Page, model string) string {
	t.Helper()
	answer, err := profile.Answer(page, model)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(answer.Body()), `"text":`)
	return strings.TrimSuffix(text, "}\n")
}

func TestAnswer_OnlyAppDropsLines(t *testing.T) {
	const model = "\n=====\nBASE: 1\nTotal 5\n\n \n  PATCHES: 2\n  due BASE: 3 \nend\n\n"
	if got, want := text(t, legacy.App, page, model), `"Total 5\n  due BASE: 3 \nend"`; got != want {
		t.Errorf("app: got %s, want %s", got, want)
	}
	const whole = `"\n=====\nBASE: 1\nTotal 5\n\n \n  PATCHES: 2\n  due BASE: 3 \nend\n\n"`
	for _, profile := range []legacy.Profile{legacy.Union, legacy.Standard} {
		if got := text(t, profile, page, model); got != whole {
			t.Errorf("%s: got %s, want %s", profile, got, whole)
		}
	}
}

func TestAnswer_TakesAnEmptyTextForAnErrorButInStandard(t *testing.T) {
	const want = `{"error":"\u6a21\u578b\u672a\u8fd4\u56de\u4efb\u4f55\u7d50\u679c","gpu_info":` + noGPU +
		`,"image_path":"uploads/20251110_123456_a.png","processing_time":1.23}` + "\n"
	for _, model := range []string{"", "\n \n"} {
		for _, profile := range []legacy.Profile{legacy.Union, legacy.App} {
			_, err := profile.Answer(page, model)
			if status, body := refusal(t, err); status != 500 || body != want {
				t.Errorf("%s: got  %d %s\nwant 500 %s", profile, status, body, want)
			}
		}
	}
	if got := text(t, legacy.Standard, page, ""); got != `""` {
		t.Errorf("app_standard: got %s, want an empty text", got)
	}
}

func TestAnswer_TakesAnEchoOfThePromptForAnError(t *testing.T) {
	const app = `{"debug_info":{"ocr_text_length":10,"prompt_overlap_ratio":1.0},"error":"OCR \u8fa8\u8b58\u5931\u6557\uff1a\u7167\u7247\u53ef\u80fd\u6a21\u7cca\u6216\u5149\u7dda\u4e0d\u8db3\uff0c\u8acb\u91cd\u65b0\u62cd\u651d\u66f4\u6e05\u6670\u7684\u7167\u7247","gpu_info":` + noGPU +
		`,"image_path":"uploads/20251110_123456_a.png","processing_time":1.23}` + "\n"
	const standard = `{"error":"OCR \u7d50\u679c\u7591\u4f3c\u6a21\u578b\u5e7b\u89ba\uff08\u6587\u5b57\u904e\u77ed\u4e14\u8207\u63d0\u793a\u8a5e\u9ad8\u5ea6\u91cd\u758a\uff09\u3002\u8acb\u5617\u8a66\u62cd\u651d\u66f4\u6e05\u6670\u7684\u7167\u7247\u3002","image_path":"uploads/20251110_123456_a.png","processing_time":1.234375,"text":"Free\nOCR. "}` + "\n"
	tests := []struct {
		profile legacy.Profile
		model   string
		want    string
	}{
		{legacy.Union, "Free  OCR.", app},
		{legacy.App, "Free  OCR.", app},
		{legacy.Standard, "Free\nOCR. ", standard},
	}
	for _, test := range tests {
		_, err := test.profile.Answer(page, test.model)
		if status, body := refusal(t, err); status != 500 || body != test.want {
			t.Errorf("%s:\ngot  %d %s\nwant 500 %s", test.profile, status, body, test.want)
		}
	}
}

func TestAnswer_IsNoEchoWhereWordsOrLengthSayOtherwise(t *testing.T) {
	prompt := legacy.Page{Prompt: "one two three four five six seven"}
	tests := []struct {
		model string
		echo  bool
	}{
		{"one two three four five six seven eight nine ten", false}, // exactly 70 %
		{"one two three four five six seven eight nine", true},
		{"one one one one ten", false}, // distinct words: half
		{"One Two", false},
		{"one" + strings.Repeat(" ", 44) + "two", false}, // 50 characters
		{"one" + strings.Repeat(" ", 43) + "two", true},
		{"  one two  " + strings.Repeat(" ", 60), true}, // white space around it does not count
	}
	for _, test := range tests {
		_, err := legacy.Union.Answer(prompt, test.model)
		if got := err != nil; got != test.echo {
			t.Errorf("%q: got echo %v, want %v", test.model, got, test.echo)
		}
	}
}

func TestErrors_HaveTheWordsOfTheirProfile(t *testing.T) {
	const path = "uploads/20251110_123456_a.png"
	tests := []struct {
		name   string
		err    *legacy.Error
		status int
		want   string
	}{
		{"exception, union", legacy.Union.Exception(path, "CUDA <1>"), 500, `{"error":"OCR \u8655\u7406\u767c\u751f\u932f\u8aa4: CUDA <1>","image_path":"` + path + `"}`},
		{"exception, app", legacy.App.Exception(path, "CUDA"), 500, `{"error":"OCR \u8655\u7406\u767c\u751f\u932f\u8aa4: CUDA","image_path":"` + path + `"}`},
		{"exception, standard", legacy.Standard.Exception(path, "CUDA"), 500, `{"error":"OCR \u63a8\u7406\u57f7\u884c\u5931\u6557: CUDA","image_path":"` + path + `"}`},
		{"timeout, union", legacy.Union.Timeout(path, 300*time.Second), 500, `{"error":"OCR \u8655\u7406\u8d85\u6642 (\u8d85\u904e 300 \u79d2)\uff0c\u8acb\u5617\u8a66\u4f7f\u7528\u66f4\u5c0f\u7684\u5716\u7247\u6216\u589e\u52a0\u8d85\u6642\u8a2d\u5b9a","image_path":"` + path + `"}`},
		{"timeout, app", legacy.App.Timeout(path, 90*time.Second), 500, `{"error":"OCR \u8655\u7406\u8d85\u6642 (\u8d85\u904e 90 \u79d2)\uff0c\u8acb\u5617\u8a66\u4f7f\u7528\u66f4\u5c0f\u7684\u5716\u7247\u6216\u589e\u52a0\u8d85\u6642\u8a2d\u5b9a","image_path":"` + path + `"}`},
		{"timeout, standard", legacy.Standard.Timeout(path, 1500*time.Millisecond), 500, `{"error":"OCR \u63a8\u7406\u8d85\u6642 (\u8d85\u904e 1.5 \u79d2)","image_path":"` + path + `"}`},
		{"timeout before an image", legacy.Standard.Timeout("", 300*time.Second), 500, `{"error":"OCR \u63a8\u7406\u8d85\u6642 (\u8d85\u904e 300 \u79d2)"}`},
		{"not an image, union", legacy.Union.NotAnImage(path), 500, `{"error":"OCR \u8655\u7406\u767c\u751f\u932f\u8aa4: cannot identify image file '` + path + `'","image_path":"` + path + `"}`},
		{"not an image, standard", legacy.Standard.NotAnImage(path), 500, `{"error":"\u7121\u6cd5\u8f09\u5165\u5716\u7247: cannot identify image file '` + path + `'","image_path":"` + path + `"}`},
		{"image too large", legacy.ImageTooLarge(), 400, `{"error":"\u5716\u7247\u5c3a\u5bf8\u904e\u5927"}`},
		{"unauthorized", legacy.Unauthorized(), 401, `{"error":"\u672a\u63d0\u4f9b\u6709\u6548\u7684 API \u91d1\u9470"}`},
		{"forbidden", legacy.Forbidden(), 403, `{"error":"\u6b64 API \u91d1\u9470\u7121\u6b0a\u4f7f\u7528\u8a72\u6a21\u578b"}`},
		{"compressed", legacy.Compressed(), 415, `{"error":"\u4e0d\u652f\u63f4\u58d3\u7e2e\u7684\u8acb\u6c42\u5167\u5bb9"}`},
		{"rate limited", legacy.RateLimited(time.Second), 429, `{"error":"\u8acb\u6c42\u904e\u65bc\u983b\u7e41\uff0c\u8acb\u7a0d\u5f8c\u518d\u8a66"}`},
		{"overloaded", legacy.Overloaded(time.Second), 503, `{"error":"\u670d\u52d9\u5fd9\u788c\u4e2d\uff0c\u8acb\u7a0d\u5f8c\u518d\u8a66"}`},
		{"unavailable", legacy.Unavailable(time.Second), 503, `{"error":"OCR \u670d\u52d9\u66ab\u6642\u7121\u6cd5\u4f7f\u7528\uff0c\u8acb\u7a0d\u5f8c\u518d\u8a66"}`},
	}
	for _, test := range tests {
		if got := string(test.err.Body()); test.err.Status != test.status || got != test.want+"\n" {
			t.Errorf("%s:\ngot  %d %s\nwant %d %s", test.name, test.err.Status, got, test.status, test.want)
		}
	}
}

func TestBatch_AnImageFailsAloneButForExceptionsInApp(t *testing.T) {
	prompt := legacy.Page{Path: "uploads/1", Prompt: "p"}
	const (
		goodUnion    = `{"gpu_info_after":` + noGPU + `,"gpu_info_before":` + noGPU + `,"gpu_memory":` + noGPU + `,"image_path":"uploads/1","processing_time":0.0,"prompt":"p","text":"hi"}`
		goodApp      = `{"gpu_info_after":` + noGPU + `,"gpu_info_before":` + noGPU + `,"image_path":"uploads/1","processing_time":0.0,"prompt":"p","text":"hi"}`
		goodStandard = `{"gpu_memory":` + noGPU + `,"image_path":"uploads/1","processing_time":0.0,"text":"hi"}`
		empty        = `{"error":"\u6a21\u578b\u672a\u8fd4\u56de\u4efb\u4f55\u7d50\u679c","gpu_info":` + noGPU + `,"image_path":"uploads/1","processing_time":0.0}`
		emptyText    = `{"gpu_memory":` + noGPU + `,"image_path":"uploads/1","processing_time":0.0,"text":""}`
		broken       = `{"error":"OCR \u8655\u7406\u767c\u751f\u932f\u8aa4: x","image_path":"uploads/2"}`
		brokenS      = `{"error":"OCR \u63a8\u7406\u57f7\u884c\u5931\u6557: x","image_path":"uploads/2"}`
	)
	exception := func(p legacy.Profile) error { return p.Exception("uploads/2", "x") }
	timeout := func(p legacy.Profile) error { return p.Timeout("uploads/2", time.Second) }
	foreign := func(legacy.Profile) error { return errors.New("a secret") }
	none := func(legacy.Profile) error { return nil }
	tests := []struct {
		name    string
		profile legacy.Profile
		second  func(legacy.Profile) error // nil: an empty text
		want    string                     // "": the whole batch fails
	}{
		{"empty text", legacy.Union, none, `{"results":[` + goodUnion + `,` + empty + `],"total":2}`},
		{"empty text", legacy.App, none, `{"results":[` + goodApp + `,` + empty + `],"total":2}`},
		{"empty text", legacy.Standard, none, `{"results":[` + goodStandard + `,` + emptyText + `],"total":2}`},
		{"exception", legacy.Union, exception, `{"results":[` + goodUnion + `,` + broken + `],"total":2}`},
		{"exception", legacy.App, exception, ""},
		{"exception", legacy.Standard, exception, `{"results":[` + goodStandard + `,` + brokenS + `],"total":2}`},
		{"timeout", legacy.App, timeout, ""},
		{"foreign error", legacy.Union, foreign, `{"results":[` + goodUnion + `,` + strings.TrimSuffix(bodyF, "\n") + `],"total":2}`},
		{"foreign error", legacy.App, foreign, ""},
	}
	for _, test := range tests {
		t.Run(test.name+"/"+test.profile.String(), func(t *testing.T) {
			var items [2]legacy.Item
			items[0].Answer, items[0].Err = test.profile.Answer(prompt, "hi")
			items[1].Answer, items[1].Err = test.profile.Answer(prompt, "")
			if err := test.second(test.profile); err != nil {
				items[1] = legacy.Item{Err: err}
			}
			got, err := test.profile.Batch(items[:])
			if test.want == "" {
				if status, body := refusal(t, err); status != 500 || body != bodyF {
					t.Errorf("got %d %s, want 500 %s", status, body, bodyF)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want+"\n" {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestHealth_OnlyUnionAdmitsThatNothingWorks(t *testing.T) {
	tests := []struct {
		profile legacy.Profile
		now     time.Time
		usable  bool
		status  int
		want    string
	}{
		{legacy.Union, now, true, 200, `{"service":"DeepSeek-OCR API","status":"healthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.App, now, true, 200, `{"service":"DeepSeek-OCR API","status":"healthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.Standard, now, true, 200, `{"service":"DeepSeek-OCR API (Standard Transformers)","status":"healthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.Union, now, false, 503, `{"service":"DeepSeek-OCR API","status":"unhealthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.App, now, false, 200, `{"service":"DeepSeek-OCR API","status":"healthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.Standard, now, false, 200, `{"service":"DeepSeek-OCR API (Standard Transformers)","status":"healthy","timestamp":"2025-11-10T12:34:56.789012"}`},
		{legacy.App, now.Truncate(time.Second), true, 200, `{"service":"DeepSeek-OCR API","status":"healthy","timestamp":"2025-11-10T12:34:56"}`},
	}
	for _, test := range tests {
		status, body := test.profile.Health(test.now, test.usable)
		if status != test.status || string(body) != test.want+"\n" {
			t.Errorf("%s: got  %d %s\nwant %d %s", test.profile, status, body, test.status, test.want)
		}
	}
}

func TestParseProfile_ReadsItsOwnNames(t *testing.T) {
	for _, profile := range profiles {
		got, err := legacy.ParseProfile(profile.String())
		if err != nil || got != profile {
			t.Errorf("%s: got %v, %v", profile, got, err)
		}
	}
	if _, err := legacy.ParseProfile("App"); err == nil {
		t.Error("got a profile for App")
	}
}
