package completions

import (
	"time"

	"ocrmux/backends"
	"ocrmux/compat"
)

// Request is one exchange: either Client or Page is set. The bytes of both must
// stay as they are until Whole or Stream.Close has returned, and where these say
// that the flight is ongoing, until Account is called.
type Request struct {
	Model    *Model
	Dialect  compat.Dialect  // of a page: Chat
	Client   *compat.Request // a client's own body
	Page     *Page           // a page sent to a legacy route
	Tenant   string
	Share    string // the group of tenants that share answers with each other; "" for none
	Batch    bool   // of the lower priority class
	Weight   float64
	Cost     float64       // tokens that the answer will probably have; 0: unknown
	QueueFor time.Duration // longest wait for a slot
	Control  Control       // what the caller says of the cache

	// Finish lets the work go on for the cache when the last caller has left. It
	// counts of the one that opened the flight, who pays for it.
	Finish bool
	// Announced is when the client will lose patience, counted from the asking; 0
	// where it did not say. One that leaves then is expected to ask again.
	Announced time.Duration
	// Account is told what a flight took that its opener has left before its end:
	// once, at that end, from another goroutine. All of a flight's time at the
	// backends and all of its tokens are the opener's, who learns of them in its
	// receipt or here, but never in both. Where it is nil, Whole and Stream.Close
	// do not return to an opener before its flight has ended.
	Account func(backends.Receipt)

	flight *flight // that it is sent for, where that is shared
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
	UseCache  Control = iota
	NoCache           // a fresh run, which is remembered
	NoStore           // a fresh run, which is not, and which nobody joins
	UseAlways         // as UseCache, also for a question without an image
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
	if stream && !r.Client.Stream {
		set = append(set, streamMember)
	}
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
