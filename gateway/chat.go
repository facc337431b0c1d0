package gateway

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/compat"
	"ocrmux/completions"
)

// handleDialect answers a client's own body: chat, completions and responses.
func (s *Server) handleDialect(d compat.Dialect) handler {
	return func(rc *fasthttp.RequestCtx, x *exchange) error {
		x.watchClient()
		if err := s.admit(rc, x); err != nil {
			return err
		}
		body, err := s.readBody(rc, x, x.setup.cfg.OpenAI.MaxBody, x.setup.cfg.OpenAI.Queue)
		if err != nil {
			return err
		}
		r, err := s.parse(d, body, x)
		if err != nil {
			return err
		}
		if err := s.fetchImages(x, r.Client); err != nil {
			return err
		}
		if err := s.charge(rc, x, x.chatWork(r, len(body))); err != nil {
			return err
		}
		r.Control, r.Announced = control(rc), x.announced(rc)
		if r.Client.Stream {
			return s.answerStream(rc, x, r)
		}
		return s.answerWhole(rc, x, r)
	}
}

// parse makes a request of a client's body: it is well-formed, asks for nothing
// that may not pass, and for a model that the tenant may use.
func (s *Server) parse(d compat.Dialect, body []byte, x *exchange) (*completions.Request, error) {
	client, err := compat.Parse(d, body, compat.Rules{
		MaxImages:    x.setup.maxImages,
		MaxN:         x.setup.cfg.OpenAI.MaxN,
		Privileged:   x.identity.Tenant.Privileged,
		RemoteImages: x.setup.fetcher != nil,
		Sum:          x.setup.service.ImageSum(d),
	})
	if err != nil {
		return nil, err
	}
	m := x.setup.service.Model(client.Model)
	if m == nil || !mayUse(x.identity, m) {
		return nil, compat.ModelNotFound(client.Model)
	}
	if len(client.Images) > m.Recipe.MaxImages {
		return nil, tooManyImages(d, m.Recipe.MaxImages)
	}
	x.model, x.images = m.Name, len(client.Images)
	r := s.request(x, m)
	r.Dialect, r.Client, r.QueueFor = d, client, x.setup.cfg.OpenAI.Queue
	return r, nil
}

// request is what every route's request has in common.
func (s *Server) request(x *exchange, m *completions.Model) *completions.Request {
	t := x.identity.Tenant
	return &completions.Request{
		Model: m, Tenant: t.Name, Share: t.CacheGroup, Batch: t.Class == auth.ClassBatch, Weight: t.Weight,
		Cost: float64(x.identity.Expects(1, 0)), Finish: t.FinishAbandoned, Account: x.accountLater,
	}
}

func tooManyImages(d compat.Dialect, most int) error {
	param := "messages"
	if d == compat.Responses {
		param = "input"
	}
	return &compat.Error{
		Status: 400, Type: "invalid_request_error", Param: param,
		Message: "This model takes at most " + strconv.Itoa(most) + " image(s) in a request.",
	}
}

// mayUse reports whether the tenant's list names the model or one of its aliases.
func mayUse(id *auth.Identity, m *completions.Model) bool {
	return id.Tenant.MayUse(m.Names()...)
}

// control reads what the caller says of the cache.
func control(rc *fasthttp.RequestCtx) completions.Control {
	switch directive := rc.Request.Header.Peek("Cache-Control"); {
	case has(directive, "no-store"):
		return completions.NoStore
	case has(directive, "no-cache"):
		return completions.NoCache
	case has(rc.Request.Header.Peek("X-Ocrmux-Cache"), "use"):
		return completions.UseAlways
	}
	return completions.UseCache
}

// announced is how long from now the client's SDK waits, as it says itself; 0
// where it does not. Of a time for the whole and one for silence the shorter counts.
func (x *exchange) announced(rc *fasthttp.RequestCtx) (d time.Duration) {
	for _, name := range [...]string{"X-Stainless-Timeout", "X-Stainless-Read-Timeout"} {
		seconds, err := strconv.ParseFloat(string(rc.Request.Header.Peek(name)), 64)
		if err != nil || !(seconds > 0 && seconds < 24*3600) {
			continue
		}
		if at := time.Duration(seconds * float64(time.Second)); d == 0 || at < d {
			d = at
		}
	}
	if d > 0 {
		d = max(1, x.left(d)) // the upload has taken some of it
	}
	return d
}

func (s *Server) answerWhole(rc *fasthttp.RequestCtx, x *exchange, r *completions.Request) error {
	x.within(x.setup.cfg.OpenAI.Timeout)
	a, err := x.setup.service.Whole(x.ctx, r)
	x.receipt, x.cache, x.ending, x.away = a.Receipt, a.Cache, a.Finish, a.Away
	x.account(outcome{asked: x.bill.asked, receipt: a.Receipt, cache: a.Cache, usage: a.Usage, err: err, ongoing: a.Ongoing, relayed: len(a.Text) / bytesPerToken})
	if err != nil {
		return err
	}
	x.mark(a.Quality)
	x.first = time.Since(x.started)
	rc.Response.Header.SetContentType("application/json")
	s.tell(rc, x)
	setAge(rc, x.cache, a.Age)
	rc.Response.SetBodyRaw(a.JSON)
	return nil
}

// setAge says how old a remembered answer is.
func setAge(rc *fasthttp.RequestCtx, cache completions.CacheState, age time.Duration) {
	if cache == completions.Hit {
		rc.Response.Header.Set("Age", strconv.Itoa(int(age.Seconds())))
	}
}

// answerStream waits for the first event, so that what fails before it still
// has a status of its own, and leaves the rest to a relay.
func (s *Server) answerStream(rc *fasthttp.RequestCtx, x *exchange, r *completions.Request) error {
	x.within(x.setup.cfg.OpenAI.Streaming)
	stream := x.setup.service.Stream(x.ctx, r)
	quiet := time.NewTimer(x.left(x.setup.cfg.Time.KeepAlive))
	err := stream.Await(quiet.C)
	if err != nil && !errors.Is(err, completions.ErrQuiet) {
		quiet.Stop()
		x.receipt, x.ending = stream.Close(context.Cause(x.ctx))
		x.account(outcome{asked: x.bill.asked, receipt: x.receipt, err: err, ongoing: stream.Ongoing()})
		return err
	}
	if err != nil {
		quiet.Reset(0) // the first keep-alive is due
	}
	x.cache, x.receipt.Start = stream.Cache(), stream.Start()
	x.away = stream.Awaited()
	s.tell(rc, x)
	setAge(rc, x.cache, stream.Age())
	rc.Response.Header.SetContentType("text/event-stream; charset=utf-8")
	rc.Response.Header.Set("Cache-Control", "no-cache")
	rc.Response.Header.Set("X-Accel-Buffering", "no")
	x.streamed = true
	answer := &relay{x: x, stream: stream, dialect: r.Dialect, model: r.Client.Model, quiet: quiet}
	if !rc.Request.Header.IsHTTP11() {
		answer.writeUnframed(rc)
		return nil
	}
	rc.Response.SetBodyStream(answer, -1)
	return nil
}

// tell writes the headers by which a caller sees why an answer took its time.
// What is not known yet, because a stream is still silent, is left out.
func (s *Server) tell(rc *fasthttp.RequestCtx, x *exchange) {
	h := &rc.Response.Header
	h.Set("X-Ocrmux-Cache", x.cache.String())
	if x.quality != completions.Sound {
		h.Set("X-Ocrmux-Quality", x.quality.String())
	}
	if x.cache == completions.Hit {
		h.Set("X-Ocrmux-Overhead-Ms", msText(time.Since(x.started)-x.upload))
		return
	}
	if x.receipt.Backend == "" {
		return
	}
	h.Set("X-Ocrmux-Backend", x.receipt.Backend)
	h.Set("X-Ocrmux-Attempts", strconv.Itoa(x.receipt.Attempts))
	h.Set("X-Ocrmux-Queue-Ms", msText(x.receipt.Queue))
	h.Set("X-Ocrmux-Overhead-Ms", msText(x.overhead()))
}

// overhead is the time that was our own: not the client's for sending its body,
// not the queue's, not the backend's.
func (x *exchange) overhead() time.Duration {
	return max(0, time.Since(x.started)-x.upload-x.away)
}

func msText(d time.Duration) string {
	return strconv.FormatFloat(float64(max(0, d).Microseconds())/1000, 'f', 3, 64)
}

// has reports whether a list of directives, such as Cache-Control's, has one.
func has(list []byte, directive string) bool {
	for item := range bytes.SplitSeq(list, []byte(",")) {
		if bytes.EqualFold(bytes.TrimSpace(item), []byte(directive)) {
			return true
		}
	}
	return false
}
