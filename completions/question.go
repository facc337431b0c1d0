package completions

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
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
	prompt  string   // without the image placeholder that vLLM adds by itself
	members []compat.Member
}

// question is ok where the request carries one image, in the plain form that
// every recipe uses, and nothing in it makes the answer a matter of chance.
func (r *Request) question() (q question, ok bool) {
	q = question{tenant: r.Tenant, model: r.Model.Name, recipe: r.Model.Recipe.version}
	if r.Page != nil {
		q.image, q.prompt = sha256.Sum256(r.Page.Image), r.Page.Prompt
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
	if image := &r.Client.Images[0]; image.URL != "" {
		q.image = sha256.Sum256(image.Raw)
		return q, image.Raw != nil
	}
	var err error
	q.image, err = digestBase64(r.Client.Images[0].Base64)
	return q, err == nil // the backend will say what is wrong with it
}

// digestBase64 is the digest of what text decodes to, block by block: neither a
// copy of the image nor base64.NewDecoder's search for line breaks, which cost
// more than the rest of a remembered answer.
func digestBase64(text []byte) (sum [32]byte, err error) {
	const block = 16 << 10 // a multiple of four characters
	var decoded [block / 4 * 3]byte
	h := sha256.New()
	for len(text) > 0 {
		n, err := base64.StdEncoding.Decode(decoded[:], text[:min(block, len(text))])
		if err != nil {
			return sum, err
		}
		h.Write(decoded[:n])
		text = text[min(block, len(text)):]
	}
	h.Sum(sum[:0])
	return sum, nil
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
			if zero = isZero(m.Value); !zero {
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

// isZero reports whether a JSON value is a number that equals 0.
func isZero(value []byte) bool {
	f, err := strconv.ParseFloat(string(value), 64)
	return err == nil && f == 0
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
// is small, is decoded: into maps, because names that differ in case only are
// different names to a backend.
func plainPage(c *compat.Request) (prompt string, ok bool) {
	image := c.Written(0)
	before, after, ok := bytes.Cut(c.Member("messages"), image)
	if !ok || len(before)+len(after) > 64<<10 || bytes.Contains(after, image) {
		return "", false
	}
	if c.Images[0].URL != "" { // its quotes are gone with it
		before = append(bytes.Clone(before), `""`...)
	}
	var messages, parts []map[string]json.RawMessage
	if json.Unmarshal(slices.Concat(before, after), &messages) != nil || len(messages) != 1 {
		return "", false
	}
	m := messages[0]
	if len(m) != 2 || string(m["role"]) != `"user"` || json.Unmarshal(m["content"], &parts) != nil || len(parts) > 2 {
		return "", false
	}
	for _, part := range parts {
		switch string(part["type"]) {
		case `"image_url"`:
		case `"text"`:
			if json.Unmarshal(part["text"], &prompt) != nil {
				return "", false
			}
		default:
			return "", false
		}
	}
	return withoutPlaceholder(prompt)
}

// withoutPlaceholder removes the <image> that vLLM puts in front of a prompt
// without one, as "<image>\n". Anywhere else it makes another prompt.
func withoutPlaceholder(prompt string) (string, bool) {
	prompt = strings.TrimPrefix(prompt, "<image>\n")
	return prompt, !strings.Contains(prompt, "<image>")
}
