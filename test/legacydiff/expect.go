package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// profile is one of the old service's two programs, or the router's union.
type profile string

const (
	union    profile = "union"
	app      profile = "app"
	standard profile = "app_standard"
)

// expect is what the contract says of a request, after masking.
type expect func(profile) answer

const (
	typeJSON = "Content-Type: application/json"
	typeHTML = "Content-Type: text/html; charset=utf-8"

	defaultPrompt = `<image>\nFree OCR.` // as it stands in JSON

	msgA = "請求中沒有檔案部分"
	msgB = "未選擇檔案"
	msgC = "不支援的檔案類型。允許的類型: bmp, gif, jpeg, jpg, png, webp" // sorted by the mask
	msgD = "沒有有效的圖片檔案"
	msgE = "上傳的檔案過大，最大允許 16MB"
	msgF = "內部伺服器錯誤: 500 Internal Server Error: The server encountered an internal error and was unable to complete your request. Either the server is overloaded or there is an error in the application."

	page404 = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.</p>\n"
	page405 = "<!doctype html>\n<html lang=en>\n<title>405 Method Not Allowed</title>\n<h1>Method Not Allowed</h1>\n<p>The method is not allowed for the requested URL.</p>\n"
)

func same(a answer) expect { return func(profile) answer { return a } }

var (
	indexPage = same(answer{200, []string{typeHTML}, "PAGE"})
	empty200  = same(answer{200, []string{typeHTML}, ""})
	notFound  = same(answer{404, []string{typeHTML}, page404})
)

func notAllowed(allow string) expect {
	return same(answer{405, []string{"Allow: " + allow, typeHTML}, page405})
}

func allows(allow string) expect {
	return same(answer{200, []string{"Allow: " + allow, typeHTML}, ""})
}

func moved(path string) expect { return movedTo("http://HOST"+path, "http://HOST"+path) }

// movedTo is a redirect whose page shows the link as it came.
func movedTo(location, link string) expect {
	link = strings.ReplaceAll(link, "&", "&amp;")
	return same(answer{308, []string{typeHTML, "Location: " + location}, "<!doctype html>\n<html lang=en>\n<title>Redirecting...</title>\n<h1>Redirecting...</h1>\n" +
		`<p>You should be redirected automatically to the target URL: <a href="` + link + `">` + link + "</a>. If not, click the link.\n"})
}

func healthy(p profile) answer {
	service := "DeepSeek-OCR API"
	if p == standard {
		service += " (Standard Transformers)"
	}
	return body(200, `{"service":"`+service+`","status":"healthy","timestamp":"TIME"}`)
}

// body is a JSON answer, written here with its letters as they are.
func body(status int, text string) answer {
	return answer{status, []string{typeJSON}, ascii(text) + "\n"}
}

func refuses(status int, message string) expect {
	return same(body(status, `{"error":"`+message+`"}`))
}

// byProfile is what app.py said, whom the union follows, and what
// app_standard.py said.
func byProfile(most, other answer) expect {
	return func(p profile) answer {
		if p == standard {
			return other
		}
		return most
	}
}

// success is the answer to one image. Prompt and text are given as they stand
// in JSON.
func success(p profile, name, prompt, text string) string {
	path := `"image_path":"uploads/TIME_` + name + `"`
	text = `"text":"` + strings.ReplaceAll(text, "\n", `\n`) + `"`
	switch p {
	case app:
		return `{"gpu_info_after":GPU,"gpu_info_before":GPU,` + path + `,"processing_time":ROUNDED,"prompt":"` + prompt + `",` + text + `}`
	case standard:
		return `{"gpu_memory":GPU,` + path + `,"processing_time":UNROUNDED,` + text + `}`
	}
	return `{"gpu_info_after":GPU,"gpu_info_before":GPU,"gpu_memory":GPU,` + path + `,"processing_time":ROUNDED,"prompt":"` + prompt + `",` + text + `}`
}

func reads(name, prompt, text string) expect {
	return func(p profile) answer { return body(200, success(p, name, prompt, text)) }
}

// item is an image of a batch with the default prompt.
func item(name, text string) func(profile) string {
	return func(p profile) string { return success(p, name, defaultPrompt, text) }
}

func failed(words, name string) func(profile) string {
	return func(profile) string {
		return `{"error":"` + words + `: REASON","image_path":"uploads/TIME_` + name + `"}`
	}
}

func readsAll(items ...func(profile) string) expect {
	return func(p profile) answer {
		var all []string
		for _, item := range items {
			all = append(all, item(p))
		}
		return body(200, fmt.Sprintf(`{"results":[%s],"total":%d}`, strings.Join(all, ","), len(all)))
	}
}

// ascii writes what is not ASCII as Python's json module does.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

// inJSON is a text as it stands between the quotes of a JSON string.
func inJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string is always encoded
	}
	return b.String()[1 : b.Len()-2]
}
