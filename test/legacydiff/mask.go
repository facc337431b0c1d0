package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// exception is one thing that is not compared, or not sent, and why.
type exception struct {
	what, why string
	// mask takes it out of an answer; nil for what is not sent, or not looked at.
	mask func(answer) answer
}

// exceptions is all that the comparison does not cover; -explain prints it.
var exceptions = []exception{
	{
		"the time of day in image_path and timestamp", "it is never the same; its form is compared",
		replace(`(uploads/)\d{8}_\d{6}_`, `${1}TIME_`, `("timestamp":)"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?"`, `${1}"TIME"`),
	},
	{
		"processing_time", "it is never the same; whether it is rounded to two decimals is compared",
		replace(`("processing_time":)\d+\.\d{1,2}([,}])`, `${1}ROUNDED${2}`, `("processing_time":)(?:\d+\.\d{3,}|\d+(?:\.\d+)?e-\d+)([,}])`, `${1}UNROUNDED${2}`),
	},
	{
		"the figures about a GPU", "the router knows no GPU and invents nothing; the keys are compared",
		replace(`\{"available":(?:true|false),"free_mb":[-+.e\d]+,"total_mb":[-+.e\d]+,"usage_percent":[-+.e\d]+,"used_mb":[-+.e\d]+\}`, "GPU"),
	},
	{
		"the order of the image types in the message about a file's type", "it changed with every start of the old service; the set is compared",
		sortTypes,
	},
	{
		"the body of GET /", "the router has a page of its own; status and content type are compared",
		maskPage,
	},
	{
		"the reason after the words about an exception, or about an image that cannot be opened", "it was Python's own text; the words before it are compared",
		replace(`((?:`+quoted("OCR 處理發生錯誤")+`|`+quoted("OCR 推理執行失敗")+`|`+quoted("無法載入圖片")+`): )(?:[^"\\]|\\.)*`, `${1}REASON`),
	},
	{"the wording of an image's text, with -ignore-text", "two engines may write one page differently; whether there is a text is compared", nil},
	{"length, date, server, connection and framing of an answer, x-request-id, x-ocrmux-*, the policies of GET /", "the server's own, or new, and of no meaning to a caller of the old service", nil},
	{"refusals for want of GPU memory", "the router has no GPU of its own", nil},
	{"an answer after more than the old service's time limit", "it takes five minutes each, and the old service answered only when its model had finished", nil},
	{"a body of exactly 16 MiB", "the old service took it under Werkzeug and refused it under gunicorn; larger and smaller bodies are compared", nil},
	{"framing faults: bodies of GET and HEAD, lower-case methods, lines that end in LF, two lengths, absolute targets, a raw # or non-ASCII byte in one, requests cut off", "the gateway answers 400 to what two servers could read differently", nil},
	{"compressed bodies, bad keys, Authorization", "the gateway refuses them; the old service looked at neither", nil},
	{"redirects of a host with characters that DNS does not allow", "Werkzeug's led nowhere, the router's to the host that was asked", nil},
	{"/livez, /readyz and /v1/...", "they are new", nil},
	{"a JSON body whose image is a string; the fields format and model", "they are new", nil},
	{"heads of over 16 KiB, and clients that send or read slowly", "the gateway bounds both", nil},
	{"damaged images, and images of other types (TIFF and what else Pillow knows) under an allowed name", "the gateway knows an image by its header and only the types that the old service named; what is left of a damaged one is the model's to say", nil},
	{"images of over 50 megapixels or 16,384 pixels a side", "the gateway refuses them", nil},
	{"forms within 128 KiB of a limit on framing, and forms whose parts' headers have over 500,000 bytes together", "Werkzeug counts what it happens to have read; the gateway counts all headers of a form", nil},
	{"boundaries above 256 bytes or with control characters", "the gateway refuses them: a hostile one makes the search slow", nil},
	{"an image whose last boundary spans two of Werkzeug's 64 KiB reads after a stray CR", "Werkzeug then leaves the CR in the image", nil},
	{"app_standard: white space in texts of over 100 characters, and its comparison of a text with the prompt by position", "that took true texts for echoes, and flattened tables; it is deliberately not kept", nil},
	{"texts that only a model which obeys can write: none, the prompt itself, an exception", "sent in this repository's own test alone, where the model is a stub", nil},
}

// mask takes out of an answer what is not compared.
func (o options) mask(a answer) answer {
	for _, e := range exceptions {
		if e.mask != nil {
			a = e.mask(a)
		}
	}
	if o.ignoreText {
		a = anyText(a)
	}
	return a
}

var anyText = replace(`("text":)"(?:[^"\\]|\\.)+"`, `${1}"TEXT"`)

// explain prints all that is not compared.
func explain(w io.Writer) {
	for _, e := range exceptions {
		fmt.Fprintf(w, "- %s\n    %s\n", e.what, e.why)
	}
}

// replace masks a body by pairs of a pattern and what stands for it.
func replace(pairs ...string) func(answer) answer {
	var patterns []*regexp.Regexp
	for i := 0; i < len(pairs); i += 2 {
		patterns = append(patterns, regexp.MustCompile(pairs[i]))
	}
	return func(a answer) answer {
		for i, p := range patterns {
			a.body = p.ReplaceAllString(a.body, pairs[2*i+1])
		}
		return a
	}
}

var typesMessage = regexp.MustCompile(quoted("允許的類型: ") + `([a-z, ]+)`)

// quoted is a pattern for words as they stand in JSON.
func quoted(words string) string { return regexp.QuoteMeta(ascii(words)) }

func sortTypes(a answer) answer {
	if m := typesMessage.FindStringSubmatchIndex(a.body); m != nil {
		types := strings.Split(a.body[m[2]:m[3]], ", ")
		slices.Sort(types)
		a.body = a.body[:m[2]] + strings.Join(types, ", ") + a.body[m[3]:]
	}
	return a
}

func maskPage(a answer) answer {
	if a.status == 200 && a.body != "" && slices.Contains(a.header, typeHTML) {
		a.body = "PAGE"
	}
	return a
}
