package main

import (
	"fmt"
	"strings"
)

// row is a request of the contract and what the contract says of it.
type row struct {
	name string
	request
	want expect
	// stub: only a model that obeys pictures can answer it.
	stub bool
	// either: two versions of the old service disagreed; not compared.
	either bool
}

const mib = 1 << 20

// corpus is every row of the contract's table, and what else was observed,
// that a request can show.
func corpus() []row {
	var rows []row
	for _, part := range [][]row{routes, uploads(), prompts(), sizes(), framing(), texts(), batches()} {
		rows = append(rows, part...)
	}
	return rows
}

var routes = []row{
	{name: "GET /", request: plain("GET", "/"), want: indexPage},
	{name: "HEAD /", request: plain("HEAD", "/"), want: empty200},
	{name: "POST /", request: plain("POST", "/"), want: notAllowed("GET, HEAD, OPTIONS")},
	{name: "OPTIONS /ocr", request: plain("OPTIONS", "/ocr"), want: allows("OPTIONS, POST")},
	{name: "OPTIONS /health", request: plain("OPTIONS", "/health"), want: allows("GET, HEAD, OPTIONS")},
	{name: "GET /health", request: plain("GET", "/health"), want: healthy},
	{name: "HEAD /health", request: plain("HEAD", "/health"), want: same(answer{200, []string{typeJSON}, ""})},
	{name: "POST /health, 17 MiB", request: request{method: "POST", target: "/health", body: sized(17 * mib)}, want: notAllowed("GET, HEAD, OPTIONS")},
	{name: "GET /health/", request: plain("GET", "/health/"), want: notFound},
	{name: "GET /ocr", request: plain("GET", "/ocr"), want: notAllowed("OPTIONS, POST")},
	{name: "HEAD /ocr", request: plain("HEAD", "/ocr"), want: same(answer{405, []string{"Allow: OPTIONS, POST", typeHTML}, ""})},
	{name: "PUT /ocr", request: plain("PUT", "/ocr"), want: notAllowed("OPTIONS, POST")},
	{name: "GET /ocr/batch", request: plain("GET", "/ocr/batch"), want: notAllowed("OPTIONS, POST")},
	{name: "POST /ocr/", request: newForm(file("file", "a.png", page)).post("/ocr/"), want: notFound},
	{name: "GET /OCR", request: plain("GET", "/OCR"), want: notFound},
	{name: "//ocr", request: newForm(file("file", "a.png", page)).post("//ocr"), want: reads("a.png", defaultPrompt, pageText)},
	{name: "/ocr//batch", request: newForm(file("files", "a.png", page)).post("/ocr//batch"), want: moved("/ocr/batch")},
	{name: "/ocr//batch with a query", request: newForm(file("files", "a.png", page)).post("/ocr//batch?a=%3C&b=c"), want: moved("/ocr/batch?a=%3C&b=c")},
	{
		name: "/ocr//batch with brackets in the query", request: newForm(file("files", "a.png", page)).post("/ocr//batch?a=[1]{2}|\\^`!~"),
		want: movedTo("http://HOST/ocr/batch?a=%5B1%5D%7B2%7D%7C%5C%5E%60!~", "http://HOST/ocr/batch?a=[1]{2}|\\^`!~"),
	},
	{name: "/ocr//batch of another host", request: request{host: "Old.Example:80", method: "POST", target: "/ocr//batch"}, want: movedTo("http://old.example/ocr/batch", "http://old.example/ocr/batch")},
	{name: "/ocr%2Fbatch", request: newForm(file("files", "a.png", page)).post("/ocr%2Fbatch"), want: readsAll(item("0_a.png", pageText))},
	{name: "/./health", request: plain("GET", "/./health"), want: notFound},
	{name: "POST /static/x", request: plain("POST", "/static/x"), want: notAllowed("GET, HEAD, OPTIONS")},
	{name: "GET /static/x", request: plain("GET", "/static/x"), want: notFound},
	{name: "Range", request: plain("GET", "/health").with("Range: bytes=0-3"), want: healthy},
	{name: "conditional", request: plain("GET", "/health").with("If-None-Match: *", "If-Modified-Since: Mon, 10 Nov 2025 00:00:00 GMT"), want: healthy},
	{name: "conditional page", request: plain("GET", "/").with("If-None-Match: *", "Range: bytes=0-3"), want: indexPage},
	{name: "Origin", request: ocr(file("file", "a.png", page)).with("Origin: http://elsewhere.example"), want: reads("a.png", defaultPrompt, pageText)},
}

func uploads() []row {
	raw := func(disposition string) request {
		return ocr(part{[]string{"Content-Disposition: form-data; " + disposition}, page})
	}
	rows := []row{
		{name: "/ocr no body", request: plain("POST", "/ocr"), want: refuses(400, msgA)},
		{name: "JSON body", request: typed("application/json", text(`{"file":"a.png"}`)), want: refuses(400, msgA)},
		{name: "urlencoded file=x", request: typed("application/x-www-form-urlencoded", text("file=x")), want: refuses(400, msgA)},
		{name: "missing boundary", request: typed("multipart/form-data", newForm(file("file", "a.png", page)).body), want: refuses(400, msgA)},
		{name: "wrong boundary", request: typed("multipart/form-data; boundary=other", newForm(file("file", "a.png", page)).body), want: refuses(400, msgA)},
		{name: "file as text", request: ocr(value("file", "x")), want: refuses(400, msgA)},
		{name: "field files", request: ocr(file("files", "a.png", page)), want: refuses(400, msgA)},
		{name: "field File", request: ocr(file("File", "a.png", page)), want: refuses(400, msgA)},
		{name: `filename=""`, request: ocr(file("file", "", page)), want: refuses(400, msgB)},
		{name: "empty name, then good", request: ocr(file("file", "", page), file("file", "a.png", page)), want: refuses(400, msgB)},
		{name: "bare filename=", request: raw("name=file; filename="), want: refuses(400, msgA)},
		{name: "a.PNG", request: ocr(file("file", "a.PNG", page)), want: reads("a.PNG", defaultPrompt, pageText)},
		{name: ".png", request: ocr(file("file", ".png", page)), want: reads("png", defaultPrompt, pageText)},
		{name: "發票.png", request: ocr(file("file", "發票.png", page)), want: reads("png", defaultPrompt, pageText)},
		{name: "發票 2024.PNG", request: ocr(file("file", "發票 2024.PNG", page)), want: reads("2024.PNG", defaultPrompt, pageText)},
		{name: "../../etc/passwd.png", request: ocr(file("file", "../../etc/passwd.png", page)), want: reads("etc_passwd.png", defaultPrompt, pageText)},
		{name: `C:\Users\x\a b.jpg`, request: ocr(file("file", `C:\Users\x\a b.jpg`, page)), want: reads("CUsersxa_b.jpg", defaultPrompt, pageText)},
		{name: "My résumé №1.jpeg", request: ocr(file("file", "My résumé №1.jpeg", page)), want: reads("My_resume_No1.jpeg", defaultPrompt, pageText)},
		{name: "white space of all kinds", request: ocr(file("file", "a\u3000b\tc\x1cd \u00a0e.png", page)), want: reads("a_b_c_d_e.png", defaultPrompt, pageText)},
		{name: "filename*", request: raw("name=file; filename*=UTF-8''%E7%99%BCa.png"), want: reads("a.png", defaultPrompt, pageText)},
		{name: "filename in pieces", request: raw("name=file; filename*0*=UTF-8''%61; filename*1*=%62.png"), want: reads("ab.png", defaultPrompt, pageText)},
		{name: "the last filename wins", request: raw(`name=file; filename="a.tiff"; filename="b.png"`), want: reads("b.png", defaultPrompt, pageText)},
		{name: "filename after filename*", request: raw(`name=file; filename*=UTF-8''a.tiff; filename="b.png"`), want: reads("b.png", defaultPrompt, pageText)},
		{name: "filename* after filename", request: raw(`name=file; filename="a.png"; filename*=UTF-8''b.tiff`), want: refuses(400, msgC)},
		{name: "the last name wins", request: raw(`name=other; name=file; filename="b.png"`), want: reads("b.png", defaultPrompt, pageText)},
		{name: "300-character name", request: ocr(file("file", strings.Repeat("a", 296)+".png", page)), want: refuses(500, msgF)},
		{name: "239-character name", request: ocr(file("file", strings.Repeat("a", 235)+".png", page)), want: reads(strings.Repeat("a", 235)+".png", defaultPrompt, pageText)},
		{name: "240-character name", request: ocr(file("file", strings.Repeat("a", 236)+".png", page)), want: refuses(500, msgF)},
		{name: "two file", request: ocr(file("file", "a.png", page), file("file", "b.png", notImage)), want: reads("a.png", defaultPrompt, pageText)},
	}
	for _, name := range []string{"a.tiff", "image", "png", "a.png.", "a.png "} {
		rows = append(rows, row{name: "name " + name, request: ocr(file("file", name, page)), want: refuses(400, msgC)})
	}
	return rows
}

func prompts() []row {
	image := file("file", "a.png", page)
	shows := func(prompt string) expect { return reads("a.png", prompt, pageText) }
	inQuery := newForm(image).post("/ocr?prompt=ignored")
	return []row{
		{name: "prompt given", request: ocr(image, value("prompt", "請讀出 <b>全文</b> / \"&\"。")), want: shows(`請讀出 <b>全文</b> / \"&\"。`)},
		{name: "prompt empty", request: ocr(image, value("prompt", "")), want: shows(defaultPrompt)},
		{name: "prompt twice", request: ocr(value("prompt", "one"), value("prompt", "two"), image), want: shows("one")},
		{name: "prompt empty, then another", request: ocr(value("prompt", ""), value("prompt", "two"), image), want: shows(defaultPrompt)},
		{name: "prompt in the query", request: inQuery, want: shows(defaultPrompt)},
		{name: "prompt in a file part", request: ocr(file("prompt", "p.txt", []byte("ignored")), image), want: shows(defaultPrompt)},
		{name: "prompt with a placeholder", request: ocr(value("prompt", "a <image> b"), image), want: shows("a <image> b")},
		{name: "prompt with two placeholders", request: ocr(value("prompt", "<image>\r\n<image>\nb"), image), want: shows(`<image>\r\n<image>\nb`)},
		{name: "prompt FF FE", request: ocr(value("prompt", "\xff\xfe"), image), want: shows("\ufffd\ufffd")},
		{
			name: "prompt with ill-formed sequences", request: ocr(value("prompt", "\xe7\x99a\xf0\x9f\x98 \xc0\xaf \xed\xa0\x80 \xf4\x90"), image),
			want: shows("\ufffda\ufffd \ufffd\ufffd \ufffd\ufffd\ufffd \ufffd\ufffd"),
		},
		{
			name: "prompt in Latin-1", request: ocr(part{[]string{"Content-Disposition: form-data; name=prompt", "Content-Type: text/plain; charset=iso-8859-1"}, []byte("r\xe9sum\xe9")}, image),
			want: shows("résumé"),
		},
	}
}

func sizes() []row {
	image := file("file", "a.png", page)
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int) []part {
		parts := []part{image}
		for len(parts) < n {
			parts = append(parts, value("other", "x"))
		}
		return parts
	}
	filled := func(n int) request { return newForm(image).filled(n).post("/ocr") }
	chunkedJSON := typed("application/json", sized(17*mib))
	chunkedJSON.chunks = []int{64 << 10}
	chunkedForm := filled(17 * mib)
	chunkedForm.chunks = []int{64 << 10}
	preamble, epilogue, headers := newForm(image), newForm(image), newForm(image)
	preamble.preamble = long(600_000) + "\r\n"
	epilogue.closing += long(600_000)
	headers.parts = append(headers.parts, part{[]string{`Content-Disposition: form-data; name="x"`, "X-Long: " + long(600_000)}, nil})
	wrong := newForm(file("file", "a.png", []byte(long(600_000))))
	wrong.contentType += "wrong"
	return []row{
		{name: "prompt of 500,000 bytes", request: ocr(image, value("prompt", long(500_000))), want: reads("a.png", long(500_000), pageText), stub: true},
		{name: "prompt of 500,001 bytes", request: ocr(image, value("prompt", long(500_001))), want: refuses(413, msgE)},
		{name: "another field of 500,001 bytes", request: ocr(image, value("other", long(500_001))), want: refuses(413, msgE)},
		{name: "two fields of 400,000 bytes", request: ocr(image, value("other", long(400_000)), value("another", long(400_000))), want: reads("a.png", defaultPrompt, pageText)},
		{name: "1,000 parts", request: ocr(many(1000)...), want: reads("a.png", defaultPrompt, pageText)},
		{name: "1,001 parts", request: ocr(many(1001)...), want: refuses(413, msgE)},
		{name: "body of 15 MiB", request: filled(15 * mib), want: reads("a.png", defaultPrompt, pageText)},
		{name: "body of 16 MiB", request: filled(16 * mib), want: reads("a.png", defaultPrompt, pageText), either: true},
		{name: "body of 16 MiB and a byte", request: filled(16*mib + 1), want: refuses(413, msgE)},
		{name: "chunked, 17 MiB", request: chunkedForm, want: refuses(413, msgE)},
		{name: "chunked JSON, 17 MiB", request: chunkedJSON, want: refuses(400, msgA)},
		{name: "wrong boundary, 600 kB", request: wrong.post("/ocr"), want: refuses(413, msgE)},
		{name: "preamble of 600 kB", request: preamble.post("/ocr"), want: refuses(413, msgE)},
		{name: "epilogue of 600 kB", request: epilogue.post("/ocr"), want: refuses(413, msgE)},
		{name: "part headers of 600 kB", request: headers.post("/ocr"), want: refuses(413, msgE)},
		{name: "urlencoded, 500,000 bytes", request: typed("application/x-www-form-urlencoded", sized(500_000)), want: refuses(400, msgA)},
		{name: "urlencoded, 500,001 bytes", request: typed("application/x-www-form-urlencoded", sized(500_001)), want: refuses(413, msgE)},
	}
}

func framing() []row {
	image := file("file", "a.png", page)
	inChunks := ocr(image)
	inChunks.chunks = []int{1, 7, 100, 3}
	truncated := newForm(image)
	truncated.keep = len(truncated.body()) - 30
	inHeader := newForm(image)
	inHeader.keep = 60
	old := ocr(image)
	old.proto = "HTTP/1.0"
	bareLF := newForm(image)
	bareLF.newline, bareLF.closing = "\n", "--"
	surrounded := newForm(image)
	surrounded.preamble, surrounded.closing = "a preamble\r\n", "--\r\nan epilogue"
	blanks := newForm(image, value("prompt", "p"))
	blanks.closing = " --\r\n"
	inQuotes := newForm(image)
	inQuotes.contentType = `Multipart/Form-Data; charset=utf-8; BOUNDARY="` + defaultBoundary + `"`
	good := reads("a.png", defaultPrompt, pageText)
	return []row{
		{name: "chunked", request: inChunks, want: good},
		{name: "HTTP/1.0", request: old, want: good},
		{name: "truncated in a file", request: truncated.post("/ocr"), want: refuses(400, msgA)},
		{name: "truncated in a header", request: inHeader.post("/ocr"), want: refuses(400, msgA)},
		{name: "lines that end in LF", request: bareLF.post("/ocr"), want: good},
		{name: "preamble and epilogue", request: surrounded.post("/ocr"), want: good},
		{name: "a last boundary with a blank before its hyphens", request: blanks.post("/ocr"), want: refuses(400, msgA)},
		{name: "boundary in quotes", request: inQuotes.post("/ocr"), want: good},
		{name: "part header folded at a CR", request: ocr(part{[]string{"Content-Disposition: form-data; name=file;\r filename=a.png"}, page}), want: good},
		{name: "part header that is not UTF-8", request: ocr(image, value("\xff", "x")), want: refuses(400, msgA)},
		{name: "part without Content-Disposition", request: ocr(image, part{[]string{"Content-Type: text/plain"}, []byte("x")}), want: refuses(400, msgA)},
	}
}

func texts() []row {
	rows := []row{
		{name: "not an image", request: ocr(file("file", "a.png", notImage)), want: byProfile(
			body(500, `{"error":"OCR 處理發生錯誤: REASON","image_path":"uploads/TIME_a.png"}`),
			body(500, `{"error":"無法載入圖片: REASON","image_path":"uploads/TIME_a.png"}`))},
		{name: "a JPEG", request: ocr(file("file", "a.jpg", asJPEG)), want: reads("a.jpg", defaultPrompt, uncommented)},
		{name: "a GIF", request: ocr(file("file", "a.gif", asGIF)), want: reads("a.gif", defaultPrompt, uncommented)},
		{name: "a bitmap", request: ocr(file("file", "a.bmp", asBMP)), want: reads("a.bmp", defaultPrompt, uncommented)},
		{name: "a JPEG named png", request: ocr(file("file", "a.png", asJPEG)), want: reads("a.png", defaultPrompt, uncommented)},
		{name: "empty file", request: ocr(file("file", "a.png", nil)), want: byProfile(
			body(500, `{"error":"OCR 處理發生錯誤: REASON","image_path":"uploads/TIME_a.png"}`),
			body(500, `{"error":"無法載入圖片: REASON","image_path":"uploads/TIME_a.png"}`))},
	}
	unread := body(500, `{"error":"模型未返回任何結果","gpu_info":GPU,"image_path":"uploads/TIME_a.png","processing_time":ROUNDED}`)
	for _, r := range []row{
		{name: "Chinese", request: ocr(file("file", "a.png", chinesePage)), want: reads("a.png", defaultPrompt, inJSON(mustComment(chinesePage)))},
		{name: "empty output", request: ocr(file("file", "a.png", emptyPage)), want: byProfile(unread, reads("a.png", defaultPrompt, "")(standard))},
		{name: "blank output", request: ocr(file("file", "a.png", blankPage)), want: byProfile(unread, reads("a.png", defaultPrompt, `\n \n`)(standard))},
		{name: "prompt echoed", request: ocr(file("file", "a.png", echoPage)), want: byProfile(
			body(500, `{"debug_info":{"ocr_text_length":9,"prompt_overlap_ratio":1.0},"error":"OCR 辨識失敗：照片可能模糊或光線不足，請重新拍攝更清晰的照片","gpu_info":GPU,"image_path":"uploads/TIME_a.png","processing_time":ROUNDED}`),
			body(500, `{"error":"OCR 結果疑似模型幻覺（文字過短且與提示詞高度重疊）。請嘗試拍攝更清晰的照片。","image_path":"uploads/TIME_a.png","processing_time":UNROUNDED,"text":"Free OCR."}`))},
		{name: "exception", request: ocr(file("file", "a.png", torn)), want: byProfile(
			body(500, `{"error":"OCR 處理發生錯誤: REASON","image_path":"uploads/TIME_a.png"}`),
			body(500, `{"error":"OCR 推理執行失敗: REASON","image_path":"uploads/TIME_a.png"}`))},
		{name: "lines that app drops", request: ocr(file("file", "a.png", consolePage)), want: func(p profile) answer {
			text := consoleText
			if p == app {
				text = "Invoice No. 7\n  two blanks, BASE: kept\n<b>總計</b> & \"5\" / 😀\u2028end"
			}
			return reads("a.png", defaultPrompt, inJSON(text))(p)
		}},
	} {
		r.stub = true
		rows = append(rows, r)
	}
	return rows
}

func batches() []row {
	good := func(name string) part { return file("files", name, page) }
	long := func(n int) string { return strings.Repeat("a", n-4) + ".png" }
	rows := []row{
		{name: "batch no body", request: plain("POST", "/ocr/batch"), want: refuses(400, msgA)},
		{name: "batch file", request: batch(file("file", "a.png", page)), want: refuses(400, msgA)},
		{name: "batch files[]", request: batch(file("files[]", "a.png", page)), want: refuses(400, msgA)},
		{name: "batch all bad or nameless", request: batch(good("a.pdf"), good(""), good("b")), want: refuses(400, msgD)},
		{
			name: "batch a.pdf, b.png, nameless, 中.jpg", request: batch(good("a.pdf"), good("b.png"), good(""), good("中.jpg")),
			want: readsAll(item("1_b.png", pageText), item("3_jpg", pageText)),
		},
		{name: "batch of one", request: batch(good("a.png")), want: readsAll(item("0_a.png", pageText))},
		{name: "batch prompt", request: batch(good("a.png"), value("prompt", "Read.")), want: func(p profile) answer {
			return body(200, `{"results":[`+success(p, "0_a.png", "Read.", pageText)+`],"total":1}`)
		}},
		{name: "batch 237-character name", request: batch(good(long(237))), want: readsAll(item("0_"+long(237), pageText))},
		{name: "batch 238-character name", request: batch(good(long(238))), want: refuses(500, msgF)},
		{name: "batch, not an image", request: batch(good("a.png"), file("files", "b.png", notImage)), want: func(p profile) answer {
			switch p {
			case app:
				return refuses(500, msgF)(p)
			case standard:
				return readsAll(item("0_a.png", pageText), failed("無法載入圖片", "1_b.png"))(p)
			}
			return readsAll(item("0_a.png", pageText), failed("OCR 處理發生錯誤", "1_b.png"))(p)
		}},
	}
	return append(rows,
		row{name: "batch, one empty output", stub: true, request: batch(good("a.png"), file("files", "b.png", emptyPage)), want: readsAll(item("0_a.png", pageText), func(p profile) string {
			if p == standard {
				return success(p, "1_b.png", defaultPrompt, "")
			}
			return `{"error":"模型未返回任何結果","gpu_info":GPU,"image_path":"uploads/TIME_1_b.png","processing_time":ROUNDED}`
		})},
		row{name: "batch, one exception", stub: true, request: batch(file("files", "a.png", torn), good("b.png")), want: func(p profile) answer {
			if p == app {
				return refuses(500, msgF)(p)
			}
			words := "OCR 處理發生錯誤"
			if p == standard {
				words = "OCR 推理執行失敗"
			}
			return readsAll(failed(words, "0_a.png"), item("1_b.png", pageText))(p)
		}},
	)
}

func mustComment(png []byte) string {
	text, ok := comment(png)
	if !ok {
		panic(fmt.Sprintf("a picture of %d bytes without its text", len(png)))
	}
	return text
}
