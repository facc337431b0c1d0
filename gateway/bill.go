package gateway

import (
	"errors"
	"math"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/compat"
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

// work is what is asked for.
type work struct {
	auth.Work
	imageTokens int64 // of Prompt, those that the images will become
}

func (w work) add(v work) work { return work{w.Work.Add(v.Work), w.imageTokens + v.imageTokens} }

// bill is what an exchange was charged for beforehand and what it then took.
type bill struct {
	asked   work
	took    work
	set     auth.Work // apart, for work that goes on
	hits    int64     // answers that the cache gave
	answers int64     // whole ones
}

// charge puts what the request's body asks for to the limits, all or nothing,
// before any of it is worked on.
func (s *Server) charge(rc *fasthttp.RequestCtx, x *exchange, w work) error {
	standing, err := x.lease.Charge(x.ctx, w.Work)
	if err != nil {
		x.refused = true
		return err
	}
	x.bill.asked, x.standing = w, standing
	setStanding(&rc.Response.Header, standing)
	return nil
}

// bytesPerToken is a low guess, so that a text's tokens are rather overestimated.
const bytesPerToken = 3

// chatWork is what a client's own body asks for.
func (x *exchange) chatWork(r *completions.Request, body int) (w work) {
	client, sees := r.Client, vision.Of(r.Model.ServedAs)
	text := body
	for i := range client.Images {
		image := &client.Images[i]
		w.Images++
		w.Pixels += int64(image.Width) * int64(image.Height)
		w.imageTokens += int64(sees.Tokens(image.Width, image.Height))
		text -= len(image.Base64)
	}
	w.Prompt = w.imageTokens + int64(max(0, text)/bytesPerToken)
	w.Generated = x.identity.Expects(client.N, int64(client.MaxTokens))
	return w
}

// pageWork is what one page asks for.
func (x *exchange) pageWork(m *completions.Model, width, height int, prompt string) (w work) {
	w.imageTokens = int64(vision.Of(m.ServedAs).Tokens(width, height))
	w.Images = 1
	w.Pixels = int64(width) * int64(height)
	w.Prompt = w.imageTokens + int64(len(prompt)/bytesPerToken)
	w.Generated = x.identity.Expects(1, 0)
	return w
}

// outcome is what became of one answer.
type outcome struct {
	asked   work
	receipt backends.Receipt
	cache   completions.CacheState
	usage   compat.Usage // of an answer that others have paid for
	err     error
	ongoing bool // the work goes on without its caller, who learns later what it took
	relayed int  // tokens that the client was given, where the answer did not say how many it had
}

// account adds an answer to what the exchange took. What failed on our side, or
// was refused by a backend, is given back; of an answer whose client left, what
// it was given counts, and of one that no GPU worked for as much as is configured.
func (x *exchange) account(o outcome) {
	if o.asked == (work{}) {
		return // nothing could be asked: an item of a batch that is no image
	}
	x.s.metrics.answers[o.cache].Inc()
	took := o.asked
	switch u := o.receipt.Usage; {
	case o.ongoing: // the tokens are set apart now, and written down when they are known
		x.ongoing.Add(1)
		x.bill.set = x.bill.set.Add(auth.Work{Prompt: took.Prompt, Generated: took.Generated})
		took.Prompt, took.Generated = 0, 0
	case o.err == nil && (o.cache == completions.Hit || o.cache == completions.Joined):
		took.Prompt, took.Generated = x.share(o.usage.PromptTokens), x.share(o.usage.CompletionTokens)
		if o.cache == completions.Hit {
			x.bill.hits++
		}
	case o.cache == completions.Joined && x.gone():
		took.Prompt, took.Generated = 0, x.share(o.relayed)
	case o.cache == completions.Joined:
		return
	case u.TotalTokens > 0:
		took.Prompt, took.Generated = int64(u.PromptTokens), int64(u.CompletionTokens)
		x.bill.answers++
		x.s.metrics.worked(x, u)
	case o.err == nil && o.receipt.Attempts > 0: // cut by the guard
		took.Generated = int64(o.relayed)
	case (x.gone() || errors.Is(o.err, errNotTaking)) && o.receipt.Sent:
		took.Generated = int64(o.relayed)
		if o.receipt.FirstByte == 0 && o.relayed == 0 {
			took.Prompt = 0
		}
	default:
		return
	}
	took.imageTokens = min(took.imageTokens, took.Prompt)
	x.bill.took = x.bill.took.add(took)
}

// share is what of an answer's tokens is charged that no GPU worked for.
func (x *exchange) share(tokens int) int64 {
	return int64(math.Round(float64(tokens) * x.setup.cfg.CacheCharge))
}

// accountLater writes down what work took that went on when its caller had left,
// and lets go of the body that it was about. completions calls it.
func (x *exchange) accountLater(r backends.Receipt) {
	x.s.metrics.worked(x, r.Usage)
	x.s.ledger.Record(x.who(), usage.Counts{
		PromptTokens:    int64(r.Usage.PromptTokens),
		GeneratedTokens: int64(r.Usage.CompletionTokens),
		ImageTokens:     min(x.bill.asked.imageTokens, int64(r.Usage.PromptTokens)),
		GPU:             r.Busy,
	})
	x.letGo(-1)
}

func (x *exchange) who() usage.Who {
	return usage.Who{Tenant: x.identity.Tenant.Name, Key: x.identity.KeyID, Model: x.model, Route: routeOf(x)}
}

// pay settles with the tenant's limits and writes down what was used.
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
		ImageTokens:     b.took.imageTokens,
		GPU:             x.receipt.Busy,
		CacheHits:       b.hits,
	}
	switch {
	case x.refused:
		counts = usage.Counts{Refused: refusal(x.err)}
	case x.untried():
		x.lease.Refund()
		counts.Requests = 0
	}
	x.lease.Settle(b.took.Work.Add(b.set))
	if b.answers > 0 && b.took.Generated > 0 {
		x.identity.Learn(b.took.Generated / b.answers)
	}
	x.s.ledger.Record(x.who(), counts)
}

// untried reports whether nothing was attempted for the request, by no fault of
// its sender. A batch says so with a 200 whose every item has failed.
func (x *exchange) untried() bool {
	failed := x.status >= 500 || x.status == 200 && x.bill.asked.Images > 0 && x.bill.took.Images == 0
	return failed && x.receipt.Attempts == 0
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
