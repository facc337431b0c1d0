package completions

import (
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// Request is one exchange: either Client or Page is set.
type Request struct {
	Model    *Model
	Dialect  compat.Dialect  // of a page: Chat
	Client   *compat.Request // a client's own body
	Page     *Page           // a page sent to a legacy route
	Tenant   string
	Batch    bool // of the lower priority class
	Weight   float64
	QueueFor time.Duration // longest wait for a slot
	Control  Control       // what the caller says of the cache
}

// Page is an image and what to do with it.
type Page struct {
	Image  []byte // as uploaded
	MIME   string
	Prompt string // without image placeholders
}

// Control is a caller's wish about the cache.
type Control uint8

const (
	UseCache Control = iota
	NoCache          // a fresh run, which is remembered
	NoStore          // a fresh run, which is not
)

var (
	streamMember = compat.Member{Name: "stream", Value: []byte("true")}
	usageMember  = compat.Member{Name: "stream_options", Value: []byte(`{"include_usage":true}`)}
)

// body is what a backend gets: the client's bytes with the model's own name and
// the recipe's members, or a chat request made of the page.
func (r *Request) body(maxModelLen int, stream bool) backends.Body {
	model := compat.Member{Name: "model", Value: r.Model.served}
	if r.Page != nil {
		return r.pageBody(model, r.Model.absent(maxModelLen, nil))
	}
	set := []compat.Member{model}
	if stream && r.Dialect != compat.Responses && !r.Client.IncludeUsage {
		set = append(set, r.Client.UsageOption())
	}
	var absent []compat.Member
	if r.Dialect == compat.Chat {
		absent = r.Model.absent(maxModelLen, r.Client)
	}
	return r.Client.Rewrite(set, absent)
}

// pageBody writes the chat request that a legacy upload stands for. The image
// is not copied: it becomes base64 while the body is sent.
func (r *Request) pageBody(model compat.Member, absent []compat.Member) *compat.Body {
	head := append([]byte(`{"model":`), model.Value...)
	head = append(head, `,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:`...)
	head = append(head, r.Page.MIME...)
	head = append(head, `;base64,`...)
	tail := append([]byte(`"}},{"type":"text","text":`), compat.AppendQuoted(nil, r.Page.Prompt)...)
	tail = append(tail, `}]}]`...)
	for _, m := range append([]compat.Member{streamMember, usageMember}, absent...) {
		tail = append(tail, ',')
		tail = compat.AppendQuoted(tail, m.Name)
		tail = append(tail, ':')
		tail = append(tail, m.Value...)
	}
	tail = append(tail, '}')
	body := new(compat.Body)
	body.Append(head)
	body.AppendBase64(r.Page.Image)
	body.Append(tail)
	return body
}
