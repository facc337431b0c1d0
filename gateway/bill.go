package gateway

import (
	"errors"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/completions"
	"ocrmux/usage"
	"ocrmux/vision"
)

// Ledger is where the gateway writes down what was used. usage.Ledger is one.
type Ledger interface {
	Record(usage.Who, usage.Counts)
	Report(usage.Filter) usage.Report
}

// nowhere is the ledger of who wants none.
type nowhere struct{}

func (nowhere) Record(usage.Who, usage.Counts)   {}
func (nowhere) Report(usage.Filter) usage.Report { return usage.Report{} }

// bill is what an exchange was charged for beforehand and what it then took.
type bill struct {
	asked       auth.Work
	took        auth.Work
	imageTokens int64 // of asked.Prompt
	hits        int64 // answers that the cache gave
	answers     int64 // whole ones
}

// charge puts what the request's body asks for to the limits, all or nothing,
// before any of it is worked on.
func (s *Server) charge(rc *fasthttp.RequestCtx, x *exchange, w auth.Work, imageTokens int64) error {
	standing, err := x.lease.Charge(x.ctx, w)
	if err != nil {
		x.refused = true
		return err
	}
	x.bill.asked, x.bill.imageTokens = w, imageTokens
	setStanding(&rc.Response.Header, standing)
	return nil
}

// bytesPerToken is a low guess, so that a text's tokens are rather overestimated.
const bytesPerToken = 3

// chatWork is what a client's own body asks for.
func (x *exchange) chatWork(r *completions.Request, body int) (w auth.Work, imageTokens int64) {
	client, sees := r.Client, vision.Of(r.Model.ServedAs)
	text := body
	for i := range client.Images {
		image := &client.Images[i]
		w.Images++
		w.Pixels += int64(image.Width) * int64(image.Height)
		imageTokens += int64(sees.Tokens(image.Width, image.Height))
		text -= len(image.Base64)
	}
	w.Prompt = imageTokens + int64(max(0, text)/bytesPerToken)
	w.Generated = x.identity.Expects(client.N, int64(client.MaxTokens))
	return w, imageTokens
}

// pageWork is what one page asks for.
func (x *exchange) pageWork(m *completions.Model, width, height int, prompt string) (w auth.Work, imageTokens int64) {
	imageTokens = int64(vision.Of(m.ServedAs).Tokens(width, height))
	return auth.Work{
		Images:    1,
		Pixels:    int64(width) * int64(height),
		Prompt:    imageTokens + int64(len(prompt)/bytesPerToken),
		Generated: x.identity.Expects(1, 0),
	}, imageTokens
}

// outcome is what became of one answer.
type outcome struct {
	asked   auth.Work
	receipt backends.Receipt
	cache   completions.CacheState
	err     error
	relayed int // tokens that the client was given, where the answer did not say how many it had
}

// account adds an answer to what the exchange took. What failed on our side, or
// was refused by a backend, is given back; of an answer whose client left, what
// it was given counts.
func (x *exchange) account(o outcome) {
	took := o.asked
	switch u := o.receipt.Usage; {
	case o.cache == completions.Hit && o.err == nil:
		took.Prompt, took.Generated = 0, 0
		x.bill.hits++
	case u.TotalTokens > 0:
		took.Prompt, took.Generated = int64(u.PromptTokens), int64(u.CompletionTokens)
		x.bill.answers++
	case o.err == nil && o.receipt.Attempts > 0: // cut by the guard
		took.Generated = int64(o.relayed)
	case (x.gone() || errors.Is(o.err, errNotTaking)) && o.receipt.Attempts > 0:
		took.Generated = int64(o.relayed)
		if o.receipt.FirstByte == 0 && o.relayed == 0 {
			took.Prompt = 0
		}
	default:
		return
	}
	x.bill.took.Images += took.Images
	x.bill.took.Pixels += took.Pixels
	x.bill.took.Prompt += took.Prompt
	x.bill.took.Generated += took.Generated
}

// pay settles with the tenant's limits and writes down what was used. It is the
// last thing before the lease ends.
func (x *exchange) pay() {
	if x.identity == nil {
		return
	}
	b := &x.bill
	counts := usage.Counts{
		Requests:        1,
		Images:          b.took.Images,
		Pixels:          b.took.Pixels,
		PromptTokens:    b.took.Prompt,
		GeneratedTokens: b.took.Generated,
		ImageTokens:     min(b.imageTokens, b.took.Prompt),
		GPU:             x.receipt.Busy,
		CacheHits:       b.hits,
	}
	switch {
	case x.refused:
		counts = usage.Counts{Refused: refusal(x.err)}
	case x.receipt.Attempts == 0 && x.status >= 500:
		x.lease.Refund() // nothing was attempted for it
		counts.Requests = 0
	}
	x.lease.Settle(b.took)
	if b.answers > 0 && b.took.Generated > 0 {
		x.identity.Learn(b.took.Generated / b.answers)
	}
	x.s.ledger.Record(usage.Who{Tenant: x.identity.Tenant.Name, Key: x.identity.KeyID, Model: x.model, Route: x.route}, counts)
}

// refusal counts a request that a limit refused.
func refusal(err error) (r usage.Refusals) {
	var limit *auth.LimitError
	var quota *auth.QuotaError
	switch {
	case errors.As(err, &quota):
		r.Quota = 1
	case !errors.As(err, &limit):
	case limit.Ceiling:
		r.Capacity = 1
	default:
		*map[string]*int64{
			auth.LimitRequests:   &r.Requests,
			auth.LimitImages:     &r.Images,
			auth.LimitMegapixels: &r.Megapixels,
			auth.LimitTokens:     &r.Tokens,
			auth.LimitInProgress: &r.InProgress,
		}[limit.Limit] = 1
	}
	return r
}
