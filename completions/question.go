package completions

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"ocrmux/compat"
)

// question is all that can change a deterministic answer. Two requests with the
// same question, by whatever route they came, share one result.
type question struct {
	tenant  string
	model   string
	recipe  [8]byte
	image   [32]byte // SHA-256 of the image's bytes, decoded
	prompt  string   // without image placeholders, which render alike
	members []compat.Member
}

// question is ok where the request carries one image, in the plain form that
// every recipe uses, and nothing in it makes the answer a matter of chance.
func (r *Request) question() (q question, ok bool) {
	q = question{tenant: r.Tenant, model: r.Model.Name, recipe: r.Model.Recipe.version}
	if r.Page != nil {
		q.image, q.prompt = digest(r.Page.Image), r.Page.Prompt
		return q, q.decide(r.Model.Recipe.Members)
	}
	if r.Dialect != compat.Chat || len(r.Client.Images) != 1 || r.Client.N > 1 {
		return q, false
	}
	if q.prompt, ok = plainPage(r.Client); !ok {
		return q, false
	}
	members := slices.Clone(r.Client.Members)
	for _, m := range r.Model.Recipe.Members {
		if r.Client.Member(m.Name) == nil {
			members = append(members, m)
		}
	}
	if !q.decide(members) {
		return q, false
	}
	h := sha256.New()
	if _, err := io.Copy(h, base64.NewDecoder(base64.StdEncoding, bytes.NewReader(r.Client.Images[0].Base64))); err != nil {
		return q, false // the backend will say what is wrong with it
	}
	h.Sum(q.image[:0])
	return q, true
}

// decide keeps the members that can change the answer and reports whether it is
// deterministic. A member that nobody here knows makes it not so.
func (q *question) decide(members []compat.Member) bool {
	zero := false
	for _, m := range members {
		switch m.Name {
		case "model", "messages", "stream", "stream_options", "user", "metadata", "store", "n", "seed":
			// n is one, and a seed changes nothing at temperature 0
		case "temperature":
			t, err := strconv.ParseFloat(string(m.Value), 64)
			if zero = err == nil && t == 0; !zero {
				return false
			}
		case "max_tokens", "max_completion_tokens", "skip_special_tokens", "vllm_xargs", "stop", "repetition_penalty",
			"repetition_detection", "min_tokens", "stop_token_ids", "ignore_eos":
			value, err := compacted(m.Value)
			if err != nil {
				return false
			}
			q.members = append(q.members, compat.Member{Name: m.Name, Value: value})
		default:
			return false
		}
	}
	slices.SortFunc(q.members, func(a, b compat.Member) int { return strings.Compare(a.Name, b.Name) })
	return zero
}

func compacted(value []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, value)
	return b.Bytes(), err
}

// key is the digest of the question. The version in front changes with the form.
func (q *question) key() (key [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "ocrmux 1 %q %q %x %x %q", q.tenant, q.model, q.recipe, q.image, q.prompt)
	for _, m := range q.members {
		fmt.Fprintf(h, " %q %q", m.Name, m.Value)
	}
	h.Sum(key[:0])
	return key
}

// plainPage reads messages of the form that a page has: one of the user's, with
// the image and at most one text. The image is left out before the rest, which
// is small, is decoded.
func plainPage(c *compat.Request) (prompt string, ok bool) {
	messages, b64 := c.Member("messages"), c.Images[0].Base64
	before, after, ok := bytes.Cut(messages, b64)
	if !ok || len(b64) == 0 || len(before)+len(after) > 64<<10 {
		return "", false
	}
	var in []struct {
		Role    string `json:"role"`
		Content []struct {
			Type     string          `json:"type"`
			Text     string          `json:"text"`
			ImageURL json.RawMessage `json:"image_url"`
		} `json:"content"`
	}
	dec := json.NewDecoder(bytes.NewReader(slices.Concat(before, after)))
	dec.DisallowUnknownFields()
	if dec.Decode(&in) != nil || len(in) != 1 || in[0].Role != "user" || len(in[0].Content) > 2 {
		return "", false
	}
	for _, part := range in[0].Content {
		if part.Type == "text" {
			prompt += part.Text
		}
	}
	return WithoutPlaceholders(prompt), true
}

// WithoutPlaceholders removes every <image> and the line break after it: with
// one image vLLM's template puts it in front in any case.
func WithoutPlaceholders(prompt string) string {
	prompt = strings.ReplaceAll(prompt, "<image>\n", "")
	return strings.ReplaceAll(prompt, "<image>", "")
}
