package gateway

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"ocrmux/auth"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
)

// handleBatch is POST /ocr/batch: several images in a form, read side by side,
// answered in their order. What fails fails alone.
func (s *Server) handleBatch(rc *fasthttp.RequestCtx, x *exchange) error {
	form, m, err := s.upload(rc, x, "files")
	if err != nil {
		return err
	}
	r, err := x.setup.cfg.Legacy.Profile.ParseBatch(form, time.Now())
	if err != nil {
		return err
	}
	x.images = len(r.Images)
	sheets := make([]sheet, len(r.Images))
	var all work
	for i, image := range r.Images {
		sheets[i] = x.look(m, image, r.Prompt)
		all = all.add(sheets[i].work)
	}
	if err := s.charge(rc, x, all); err != nil {
		return tooMany(sheets, err)
	}
	began := time.Now()
	pages, items := s.readPages(x, m, sheets, wanted{r.Prompt, r.Format, control(rc)})
	x.away = time.Since(began)
	for i := range pages {
		x.account(pages[i].outcome(sheets[i], items[i].Err))
	}
	x.summarise(pages)
	if x.gone() {
		return errClientGone
	}
	body, err := x.setup.cfg.Legacy.Profile.Batch(items)
	if err != nil {
		return err
	}
	x.first = time.Since(x.started)
	rc.Response.Header.SetContentType("application/json")
	s.tell(rc, x)
	if names := backendsOf(pages); len(names) > 1 {
		rc.Response.Header.Set("X-Ocrmux-Backend", strings.Join(names, ","))
	}
	rc.Response.SetBodyRaw(body)
	return nil
}

// tooMany says how many of a batch's images, from the first on, would have
// fitted under the limit that refused all of them.
func tooMany(sheets []sheet, err error) error {
	var limit *auth.LimitError
	if !errors.As(err, &limit) || limit.Ceiling {
		return err
	}
	fit := 0
	var all work
	for _, s := range sheets {
		if all = all.add(s.work); !all.Within(limit.Room) {
			break
		}
		fit++
	}
	retry := limit.RetryAfter
	if limit.Never {
		retry = 0
	}
	return errors.Join(legacy.BatchTooLarge(len(sheets), fit, retry), err)
}

func (s *Server) readPages(x *exchange, m *completions.Model, sheets []sheet, want wanted) ([]page, []legacy.Item) {
	pages, items := make([]page, len(sheets)), make([]legacy.Item, len(sheets))
	var work errgroup.Group
	work.SetLimit(x.setup.cfg.Legacy.BatchParallel)
	for i, sheet := range sheets {
		work.Go(func() error {
			items[i].Err = s.guarded(x, func() (err error) {
				if sheet.err != nil {
					return sheet.err
				}
				pages[i], err = s.readPage(x, m, sheet, want)
				return err
			})
			items[i].Answer = pages[i].answer
			return nil
		})
	}
	_ = work.Wait() // every item carries its own error
	return pages, items
}

// several stands for the backends of a batch where one name is wanted, so that
// their combinations do not become labels of metrics.
const several = "several"

// summarise makes one receipt of a batch's: sums, the longest wait, and whether
// all, or none, came from the cache.
func (x *exchange) summarise(pages []page) {
	x.cache = pages[0].cache
	for _, p := range pages {
		x.mark(p.quality)
		x.receipt.Attempts += p.receipt.Attempts
		x.receipt.Queue = max(x.receipt.Queue, p.receipt.Queue)
		x.receipt.Busy += p.receipt.Busy
		x.receipt.Usage.PromptTokens += p.receipt.Usage.PromptTokens
		x.receipt.Usage.CompletionTokens += p.receipt.Usage.CompletionTokens
		x.receipt.Usage.TotalTokens += p.receipt.Usage.TotalTokens
		if p.cache != completions.Hit {
			x.cache = p.cache
		}
	}
	switch names := backendsOf(pages); len(names) {
	case 0:
	case 1:
		x.receipt.Backend = names[0]
	default:
		x.receipt.Backend = several
	}
}

// backendsOf are the names of the backends that worked, each once, sorted.
func backendsOf(pages []page) []string {
	var names []string
	for _, p := range pages {
		if p.receipt.Backend != "" {
			names = append(names, p.receipt.Backend)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
