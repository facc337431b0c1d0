package completions

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ocrmux/compat"
)

// question is all that can change a deterministic answer. Two requests with the
// same question, by whatever route they came, share one answer.
type question struct {
	space    string // whose it is: nobody else's has the same key
	model    string
	recipe   [8]byte
	image    [32]byte // digest of the image's bytes
	prompt   string   // without the image placeholder that vLLM adds by itself
	messages [32]byte // digest of what is not such a page, as it stands in the body
	members  []compat.Member
}

// question is ok where nothing in the request makes the answer a matter of
// chance, and it carries an image or its caller wants it remembered all the same.
func (r *Request) question(d Digest) (q question, ok bool) {
	q = question{space: r.space(), model: r.Model.Name, recipe: r.Model.Recipe.version}
	if r.Page != nil {
		if !q.decide(r.Model.Recipe.Members) {
			return q, false
		}
		q.image, q.prompt = d.Sum(r.Page.Image), r.Page.Prompt
		return q, true
	}
	if r.Dialect != compat.Chat || r.Client.N > 1 || len(r.Client.Images) == 0 && r.Control != UseAlways {
		return q, false
	}
	members := slices.Clone(r.Client.Members)
	for _, m := range r.Model.Recipe.Members {
		if r.Client.Member(m.Name) == nil {
			members = append(members, m)
		}
	}
	return q, q.decide(members) && (q.page(r.Client, d) || q.conversation(r.Client, d))
}

// space is the namespace of r's question: its tenant's, or that of a group of
// tenants. A tenant and a group of the same name are strangers.
func (r *Request) space() string {
	if r.Share != "" {
		return "group " + r.Share
	}
	return "tenant " + r.Tenant
}

// page is for what a legacy route could have asked too, and is then the same
// question: one image in the plain form that every recipe uses.
func (q *question) page(c *compat.Request, d Digest) (ok bool) {
	if len(c.Images) != 1 {
		return false
	}
	if q.prompt, ok = plainPage(c); !ok {
		return false
	}
	image := &c.Images[0]
	if image.URL != "" {
		q.image = d.Sum(image.Raw)
		return image.Raw != nil
	}
	if image.Sum != nil {
		q.image = *image.Sum
		return true
	}
	var err error
	q.image, err = d.SumBase64(image.Base64)
	return err == nil
}

// conversation is for all else: the messages as they stand in the body, and the
// bytes of images that stand in there by URL only.
func (q *question) conversation(c *compat.Request, d Digest) (ok bool) {
	q.prompt, q.image = "", [32]byte{}
	messages := d.Sum(c.Member("messages"))
	all := messages[:]
	for i := range c.Images {
		image := &c.Images[i]
		if image.URL == "" {
			continue
		}
		if image.Raw == nil {
			return false
		}
		sum := d.Sum(image.Raw)
		all = append(all, sum[:]...)
	}
	q.messages = sha256.Sum256(all)
	return true
}

// decide keeps the members that can change the answer and reports whether it is
// deterministic. A member that nobody here knows makes it not so.
func (q *question) decide(members []compat.Member) bool {
	zero := false
	for _, m := range members {
		switch m.Name {
		case "model", "messages", "stream", "user", "metadata", "store", "n", "seed":
			// n is one, and a seed changes nothing at temperature 0
		case "stream_options":
			if !plainOptions(m.Value) {
				return false
			}
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

// plainOptions reports whether options ask for no more than the usage chunk,
// which each reader gets or not. Others shape every event.
func plainOptions(value []byte) bool {
	var options map[string]json.RawMessage
	if json.Unmarshal(value, &options) != nil {
		return false
	}
	delete(options, "include_usage")
	return len(options) == 0
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
	fmt.Fprintf(h, "ocrmux 2 %q %q %x %x %q %x", q.space, q.model, q.recipe, q.image, q.prompt, q.messages)
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
