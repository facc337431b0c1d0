package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"ocrmux/test/stand"
)

// client asks one router, or a balancer before several.
type client struct {
	url, key string
	http     http.Client
}

func newClient(t testing.TB, url, key string) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{url: url, key: key, http: http.Client{Transport: transport, Timeout: 2 * time.Minute}}
}

// answer is what came back for the pages of one request.
type answer struct {
	texts    []string
	tokens   int
	attempts int
}

// chatBody is a chat request for a page. extra are further members.
func chatBody(p page, prompt, extra string) []byte {
	return fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":[{"type":"text","text":%q},`+
		`{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]%s}`,
		stand.Model, prompt, base64.StdEncoding.EncodeToString(p.png), extra)
}

func (c *client) chat(ctx context.Context, p page) (answer, error) {
	res, err := c.post(ctx, "/v1/chat/completions", "application/json", chatBody(p, "Free OCR.", ""))
	if err != nil {
		return answer{}, err
	}
	var v struct {
		Choices []struct{ Message struct{ Content string } }
		Usage   struct {
			Tokens int `json:"completion_tokens"`
		}
	}
	if err := json.Unmarshal(res.body, &v); err != nil || len(v.Choices) != 1 {
		return answer{}, fmt.Errorf("%s: %w", res.body, err)
	}
	return answer{[]string{v.Choices[0].Message.Content}, v.Usage.Tokens, res.attempts}, nil
}

func (c *client) ocr(ctx context.Context, p page) (answer, error) {
	res, err := c.upload(ctx, "/ocr", "file", p)
	if err != nil {
		return answer{}, err
	}
	var v struct{ Text string }
	err = json.Unmarshal(res.body, &v)
	return answer{texts: []string{v.Text}, attempts: res.attempts}, err
}

func (c *client) batch(ctx context.Context, pages ...page) (answer, error) {
	res, err := c.upload(ctx, "/ocr/batch", "files", pages...)
	if err != nil {
		return answer{}, err
	}
	var v struct {
		Results []struct{ Text, Error string }
	}
	err = json.Unmarshal(res.body, &v)
	a := answer{attempts: res.attempts - len(pages) + 1}
	for _, r := range v.Results {
		if r.Error != "" {
			return a, fmt.Errorf("an item of a batch: %s", r.Error)
		}
		a.texts = append(a.texts, r.Text)
	}
	return a, err
}

func (c *client) upload(ctx context.Context, path, field string, pages ...page) (reply, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i, p := range pages {
		part, err := form.CreateFormFile(field, fmt.Sprintf("page-%d.png", i))
		if err != nil {
			return reply{}, err
		}
		_, _ = part.Write(p.png) // into memory
	}
	if err := form.Close(); err != nil {
		return reply{}, err
	}
	return c.post(ctx, path, form.FormDataContentType(), body.Bytes())
}

// reply is a whole answer of status 200.
type reply struct {
	body     []byte
	attempts int
}

func (c *client) post(ctx context.Context, path, contentType string, body []byte) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	if res.StatusCode != http.StatusOK {
		return reply{}, fmt.Errorf("%s: %s (x-request-id %s)", res.Status, said, res.Header.Get("X-Request-Id"))
	}
	attempts, _ := strconv.Atoi(res.Header.Get("X-Ocrmux-Attempts"))
	return reply{said, attempts}, nil
}

// stream reads a page by a streaming chat, which must end with [DONE].
func (c *client) stream(ctx context.Context, p page) (string, error) {
	body := chatBody(p, "Free OCR.", `,"stream":true`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %w: %s", res.Status, err, said)
	}
	return streamed(string(said))
}

// streamed is the text of a stream that is whole.
func streamed(events string) (string, error) {
	if !strings.HasSuffix(events, "data: [DONE]\n\n") {
		return "", fmt.Errorf("a stream that does not end with [DONE]: %q", events[max(0, len(events)-200):])
	}
	var text strings.Builder
	for line := range strings.Lines(events) {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
			Error   any
		}
		if err := json.Unmarshal([]byte("{"+data), &chunk); err != nil || chunk.Error != nil {
			return "", fmt.Errorf("%w in event %s", err, data)
		}
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	return text.String(), nil
}
