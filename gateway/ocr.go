package gateway

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"ocrmux/auth"
	"ocrmux/backends"
	"ocrmux/compat"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
)

// handleOCR is POST /ocr: one image in a form, its text in the answer.
func (s *Server) handleOCR(rc *fasthttp.RequestCtx, x *exchange) error {
	form, m, err := s.upload(rc, x, "file")
	if err != nil {
		return err
	}
	r, err := x.setup.cfg.Legacy.Profile.ParseOCR(form, time.Now())
	if err != nil {
		return err
	}
	x.images = 1
	sheet := x.look(m, r.Image, r.Prompt)
	if sheet.err != nil {
		return sheet.err
	}
	if err := s.charge(rc, x, sheet.work); err != nil {
		return err
	}
	page, err := s.readPage(x, m, sheet, wanted{r.Prompt, r.Format, control(rc)})
	x.receipt, x.cache, x.ending, x.away = page.receipt, page.cache, page.finish, page.away
	x.account(page.outcome(sheet, err))
	if err != nil {
		return err
	}
	x.mark(page.quality)
	x.first = time.Since(x.started)
	rc.Response.Header.SetContentType("application/json")
	s.tell(rc, x)
	setAge(rc, x.cache, page.age)
	rc.Response.SetBodyRaw(page.answer.Body())
	return nil
}

// upload lets the caller in, reads the form and finds the model: what /ocr and
// /ocr/batch have in common. field is where each looks for its files.
func (s *Server) upload(rc *fasthttp.RequestCtx, x *exchange, field string) (*legacy.Form, *completions.Model, error) {
	x.within(x.setup.cfg.Legacy.Timeout)
	x.watchClient()
	if err := s.admit(rc, x); err != nil {
		return nil, nil, err
	}
	body, err := s.readBody(rc, x, x.setup.cfg.Legacy.MaxBody, x.left(x.setup.cfg.Legacy.Timeout))
	if err != nil && !asIfEmpty(rc, err) {
		return nil, nil, err
	}
	form, err := x.setup.cfg.Legacy.Profile.ParseUpload(string(rc.Request.Header.ContentType()), body, field)
	if err != nil {
		return nil, nil, err
	}
	name, refusal := x.setup.cfg.Legacy.Profile.Model(form), legacy.UnknownModel
	if name == "" {
		name, refusal = x.setup.cfg.Legacy.Model, legacy.Forbidden
	}
	m := x.setup.service.Model(name)
	if m == nil || !mayUse(x.identity, m) {
		return nil, nil, refusal()
	}
	x.model = m.Name
	return form, m, nil
}

// asIfEmpty reports whether the legacy service would have seen an empty form
// instead of the error: it did not count a chunked body that is no form.
func asIfEmpty(rc *fasthttp.RequestCtx, err error) bool {
	if errors.Is(err, errTooLarge) && rc.Request.Header.ContentLength() < 0 {
		kind, _, _ := bytes.Cut(rc.Request.Header.ContentType(), []byte(";"))
		kind = bytes.ToLower(bytes.TrimSpace(kind))
		return string(kind) != "multipart/form-data" && string(kind) != "application/x-www-form-urlencoded"
	}
	return errors.Is(err, errBrokenBody)
}

// wanted is what the caller asks of every image.
type wanted struct {
	prompt  string
	format  legacy.Format
	control completions.Control
}

// page is what became of one image.
type page struct {
	answer  legacy.Answer
	receipt backends.Receipt
	cache   completions.CacheState
	finish  string
	quality completions.Quality
	length  int // of the text, in bytes
	usage   compat.Usage
	ongoing bool          // the work goes on without its caller
	away    time.Duration // the queue's and the backend's time
	age     time.Duration // of a remembered answer
}

func (p page) outcome(s sheet, err error) outcome {
	return outcome{asked: s.work, receipt: p.receipt, cache: p.cache, usage: p.usage, err: err, ongoing: p.ongoing, relayed: p.length / bytesPerToken}
}

// sheet is an image of which the head was read, and what it asks for.
type sheet struct {
	legacy.Image
	mime          string
	width, height int
	work          work
	err           error // why it cannot be read, in the words of the legacy service
}

// look reads an image's head.
func (x *exchange) look(m *completions.Model, image legacy.Image, prompt string) (s sheet) {
	s.Image = image
	var err error
	s.mime, s.width, s.height, err = compat.Sniff(image.Data)
	switch {
	case errors.Is(err, compat.ErrImageTooLarge):
		s.err = legacy.ImageTooLarge()
	case err != nil:
		s.err = x.setup.cfg.Legacy.Profile.NotAnImage(image.Path)
	default:
		s.work = x.pageWork(m, s.width, s.height, prompt)
	}
	return s
}

// warnings are how the legacy answer tells of a quality.
var warnings = map[completions.Quality]legacy.Warning{
	completions.Truncated: legacy.Truncated,
	completions.Looping:   legacy.Looping,
}

// readPage has one image read. Errors are in the words of the legacy service,
// but for the client's leaving.
func (s *Server) readPage(x *exchange, m *completions.Model, image sheet, want wanted) (p page, err error) {
	profile := x.setup.cfg.Legacy.Profile
	r := s.request(x, m)
	r.Page = &completions.Page{Image: image.Data, MIME: image.mime, Prompt: legacy.ModelPrompt(want.prompt)}
	r.QueueFor, r.Control = x.left(x.setup.cfg.Legacy.Timeout), want.control
	began := time.Now()
	a, err := x.setup.service.Whole(x.ctx, r)
	p.receipt, p.cache, p.finish, p.quality, p.length = a.Receipt, a.Cache, a.Finish, a.Quality, len(a.Text)
	p.usage, p.ongoing, p.away, p.age = a.Usage, a.Ongoing, a.Away, a.Age
	if err != nil {
		return p, s.pageError(x, image.Path, err)
	}
	p.answer, err = profile.Answer(legacy.Page{
		Path: image.Path, Prompt: want.prompt, Format: want.format, Width: image.width, Height: image.height, Took: time.Since(began),
		Warning: warnings[a.Quality],
	}, a.Text)
	return p, err
}

// pageError says in the legacy service's words why an image has no text.
func (s *Server) pageError(x *exchange, path string, err error) error {
	profile := x.setup.cfg.Legacy.Profile
	var status *backends.StatusError
	switch {
	case errors.Is(err, errClientGone):
		return err
	case errors.Is(err, errDeadline):
		return profile.Timeout(path, x.setup.cfg.Legacy.Timeout)
	case errors.Is(err, backends.ErrBusy), errors.Is(err, errStopping):
		return legacy.Overloaded(busyRetry)
	case errors.Is(err, backends.ErrUnavailable):
		return legacy.Unavailable(busyRetry)
	case errors.As(err, &status) && status.Err.Status < 500:
		return profile.Exception(path, status.Err.Message) // about the caller's own image
	}
	e := s.shown(x, err) // which logs what nobody foresaw
	return profile.Exception(path, e.Message)
}

// legacyError is an error outside of the work on an image.
func (x *exchange) legacyError(e *compat.Error, err error) *legacy.Error {
	var known *legacy.Error
	var limit *auth.LimitError
	var throttled *auth.Throttled
	var quota *auth.QuotaError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &limit) && limit.Ceiling:
		return legacy.Overloaded(e.RetryAfter)
	case errors.As(err, &limit) && limit.Never:
		return legacy.AboveLimit()
	case errors.As(err, &limit), errors.As(err, &throttled):
		return legacy.RateLimited(e.RetryAfter)
	case errors.As(err, &quota):
		return legacy.QuotaExceeded(quota.Resets)
	case errors.Is(err, auth.ErrNoRoute):
		return legacy.RouteNotAllowed()
	case errors.Is(err, auth.ErrNoKey), errors.Is(err, auth.ErrBadKey):
		return legacy.Unauthorized()
	case errors.Is(err, errTooLarge):
		return legacy.TooLarge()
	case errors.Is(err, errCompressed):
		return legacy.Compressed()
	case errors.Is(err, errNoRoom), errors.Is(err, errStopping):
		return legacy.Overloaded(busyRetry)
	case errors.Is(err, errDeadline):
		return x.setup.cfg.Legacy.Profile.Timeout("", x.setup.cfg.Legacy.Timeout)
	case e.Status < 500:
		return &legacy.Error{Status: e.Status, Message: e.Message}
	}
	return legacy.Internal()
}

// guarded turns a panic in a goroutine of its own into an error: unrecovered it
// would end the process and everybody's work.
func (s *Server) guarded(x *exchange, work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			completions.LogPanic(s.log.With("id", x.id), "panic while an image was read", p)
			err = errPanic
		}
	}()
	return work()
}

// gone reports whether the exchange was cancelled because its client left.
func (x *exchange) gone() bool { return context.Cause(x.ctx) == errClientGone }

// writeLegacyError writes an error in the legacy service's style.
func (x *exchange) writeLegacyError(rc *fasthttp.RequestCtx, e *compat.Error, err error) {
	l := x.legacyError(e, err)
	setRetryAfter(&rc.Response.Header, l.RetryAfter)
	rc.SetStatusCode(l.Status)
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(l.Body())
}
