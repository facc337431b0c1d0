package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
)

// scenario is a kind of request and the answer that it must get.
type scenario struct {
	name        string
	connections int
	words       int                                        // the answer's, one for each token of the mock
	stream      bool                                       // the answer is one
	cache       string                                     // what the router must say of its cache; "" for anything
	fresh       bool                                       // no two requests are equal
	payload     func() (contentType, body string, _ error) // what is asked
	path        string
}

const (
	chatPath = "/v1/chat/completions"
	legacy   = "/ocr"
)

var scenarios = []scenario{
	{name: "small", connections: 64, words: 16, payload: smallChat, path: chatPath},
	{name: "stream", connections: 200, words: 100, stream: true, payload: streamChat, path: chatPath},
	{name: "ocr", connections: 16, words: 16, payload: pageChat, path: chatPath},
	{name: "upload", connections: 16, words: 16, payload: pageUpload, path: legacy},
	{name: "hit", connections: 16, words: 16, cache: "hit", payload: largePageChat, path: chatPath},
	{name: "hit_upload", connections: 16, words: 16, cache: "hit", payload: pageUpload, path: legacy},
	{name: "miss", connections: 16, words: 16, cache: "miss", fresh: true, payload: largePageChat, path: chatPath},
	{name: "miss_upload", connections: 16, words: 16, cache: "miss", fresh: true, payload: pageUpload, path: legacy},
}

func names() (all []string) {
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return all
}

// request is what every connection writes again and again, stamped where it is
// to be fresh.
func (s *scenario) request(address, key string) ([]byte, error) {
	contentType, body, err := s.payload()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	r, err := http.NewRequest(http.MethodPost, "http://"+address+s.path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "bench")
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// stamp makes a request one that was never seen before, by a number in the
// middle of its image: hexadecimal digits are base64 too.
func stamp(request []byte, number uint64) {
	copy(request[len(request)/2:], fmt.Sprintf("%016x", number))
}

// check fails where an answer is not the one that was asked for.
func (s *scenario) check(res *http.Response, body []byte) error {
	switch {
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %s: %.200s", res.Status, body)
	case bytes.Count(body, []byte("lorem")) != s.words:
		return fmt.Errorf("not %d tokens: %.200s", s.words, body)
	case s.stream && !bytes.HasSuffix(body, []byte("data: [DONE]\n\n")):
		return fmt.Errorf("a stream of %d bytes ends without [DONE]", len(body))
	case s.cache != "" && res.Header.Get("X-Ocrmux-Cache") != s.cache:
		return fmt.Errorf("x-ocrmux-cache is %q", res.Header.Get("X-Ocrmux-Cache"))
	}
	return nil
}

const (
	jsonType = "application/json"
	// rules bring a chat request to about 0.6 kB.
	rules = "You read pages for people who cannot. Say what stands there and nothing else; keep the order of the lines; where a word cannot be read, say so. "
)

func smallChat() (contentType, body string, _ error) {
	return jsonType, `{"model":"mock","messages":[{"role":"system","content":"` + strings.Repeat(rules, 3) + `"},` +
		`{"role":"user","content":"What is the sum of the receipt?"}],"max_tokens":16,"temperature":0.2}`, nil
}

func streamChat() (contentType, body string, _ error) {
	return jsonType, `{"model":"mock","messages":[{"role":"system","content":"` + strings.Repeat(rules, 3) + `"},` +
		`{"role":"user","content":"Read the receipt to me."}],"max_tokens":100,"temperature":0.2,` +
		`"stream":true,"stream_options":{"include_usage":true}}`, nil
}

func pageChat() (contentType, body string, _ error) { return chatOf(225_000) } // 300 kB in base64

// largePageChat has the image of pageUpload.
func largePageChat() (contentType, body string, _ error) { return chatOf(300_000) }

func chatOf(size int) (contentType, body string, _ error) {
	picture, err := page(size)
	return jsonType, `{"model":"mock","messages":[{"role":"user","content":[{"type":"text","text":"Free OCR."},` +
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(picture) + `"}}]}],` +
		`"max_tokens":16,"temperature":0}`, err
}

func pageUpload() (contentType, body string, _ error) {
	picture, err := page(300_000)
	if err != nil {
		return "", "", err
	}
	var b strings.Builder
	form := multipart.NewWriter(&b)
	file, err := form.CreateFormFile("file", "page.png")
	if err != nil {
		return "", "", err
	}
	if _, err := file.Write(picture); err != nil {
		return "", "", err
	}
	err = form.Close()
	return form.FormDataContentType(), b.String(), err
}

// page is a PNG of about so many bytes: noise, which nothing makes smaller.
func page(size int) ([]byte, error) {
	const width = 500
	noise := image.NewGray(image.Rect(0, 0, width, size/width))
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise.Pix); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := png.Encode(&b, noise)
	return b.Bytes(), err
}
