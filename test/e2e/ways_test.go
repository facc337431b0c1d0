package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
)

// told is what came back for one question.
type told struct {
	header http.Header
	texts  []string // one, or a batch's
	id     string   // of a chat's answer
	usage  *spent   // of a chat's answer, where it says
	body   string
}

func (a told) cache() string { return a.header.Get("X-Ocrmux-Cache") }

// spent is the usage in an answer.
type spent struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// ways are how one page can be asked about, so that it is one question.
var ways = map[string]func(ctx context.Context, c *client, p page, header http.Header) (told, error){
	"form": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.legacy(ctx, "/ocr", header, formOf("file", p.png))
	},
	"json": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		body := fmt.Appendf(nil, `{"image":%q,"prompt":"<image>\nFree OCR."}`, base64.StdEncoding.EncodeToString(p.png))
		return c.legacy(ctx, "/ocr", header, parcel{"application/json", body})
	},
	"batch": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.legacy(ctx, "/ocr/batch", header, formOf("files", p.png, p.png, p.png))
	},
	"whole": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "Free OCR.", ""))
	},
	"stream": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "Free OCR.", `,"stream":true`))
	},
	"stream with usage": func(ctx context.Context, c *client, p page, header http.Header) (told, error) {
		return c.chatWith(ctx, header, chatBody(p, "<image>\nFree OCR.", `,"stream":true,"stream_options":{"include_usage":true}`))
	},
}

// parcel is a request's body.
type parcel struct {
	kind string
	body []byte
}

func formOf(field string, images ...[]byte) parcel {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i, image := range images {
		part, _ := form.CreateFormFile(field, fmt.Sprintf("page-%d.png", i)) // into memory, as what follows
		_, _ = part.Write(image)
	}
	_ = form.Close()
	return parcel{form.FormDataContentType(), body.Bytes()}
}

// open sends a request and returns its answer's beginning, which must be 200.
func (c *client) open(ctx context.Context, path string, header http.Header, p parcel) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", p.kind)
	res, err := c.http.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		err = fmt.Errorf("%s: %s", res.Status, said)
	}
	return res, err
}

func (c *client) send(ctx context.Context, path string, header http.Header, p parcel) (told, error) {
	res, err := c.open(ctx, path, header, p)
	if err != nil {
		return told{}, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	return told{header: res.Header, body: string(said)}, err
}

func (c *client) legacy(ctx context.Context, path string, header http.Header, p parcel) (told, error) {
	a, err := c.send(ctx, path, header, p)
	if err != nil {
		return a, err
	}
	type item struct{ Text, Error string }
	var v struct {
		item
		Results []item
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		return a, err
	}
	if v.Results == nil {
		v.Results = []item{v.item}
	}
	for _, r := range v.Results {
		if r.Error != "" {
			return a, errors.New(r.Error)
		}
		a.texts = append(a.texts, r.Text)
	}
	return a, nil
}

// chatWith reads a chat's answer, whole or streamed. A stream has at most one
// usage, in its last event, and one id in all of them.
func (c *client) chatWith(ctx context.Context, header http.Header, body []byte) (told, error) {
	a, err := c.send(ctx, "/v1/chat/completions", header, parcel{"application/json", body})
	if err != nil {
		return a, err
	}
	type object struct {
		ID      string
		Choices []struct{ Message, Delta struct{ Content string } }
		Usage   *spent
	}
	if strings.HasPrefix(a.body, "{") {
		var v object
		if err := json.Unmarshal([]byte(a.body), &v); err != nil || len(v.Choices) != 1 {
			return a, fmt.Errorf("%w: %d choices in %.200s", err, len(v.Choices), a.body)
		}
		a.id, a.usage, a.texts = v.ID, v.Usage, []string{v.Choices[0].Message.Content}
		return a, nil
	}
	text, err := streamed(a.body)
	if err != nil {
		return a, err
	}
	a.texts = []string{text}
	for line := range strings.Lines(a.body) {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var v object
		if err := json.Unmarshal([]byte("{"+data), &v); err != nil {
			return a, err
		}
		if a.usage != nil || a.id != "" && v.ID != a.id {
			return a, fmt.Errorf("an event behind the usage, or of another id than %s: %s", a.id, line)
		}
		if a.id = v.ID; v.Usage != nil {
			if len(v.Choices) != 0 {
				return a, fmt.Errorf("usage beside choices: %s", line)
			}
			a.usage = v.Usage
		}
	}
	return a, nil
}
