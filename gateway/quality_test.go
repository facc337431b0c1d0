package gateway_test

import (
	"strings"
	"testing"

	"ocrmux/backends/sim"
	"ocrmux/compat/legacy"
	"ocrmux/completions"
	"ocrmux/gateway"
)

// loops is a world whose backend never ends a page by itself.
func loops(t *testing.T, guard completions.Guard, cfg gateway.Config) *world {
	w := newWorld(t, setup{guard: guard, gateway: cfg, cache: true, sim: sim.Config{Engine: sim.Synthetic{Tokens: sim.Range{Min: 60, Max: 60}}}})
	must(t, w.sims[0].SetFaults(sim.Faults{Loop: true}))
	return w
}

// marked is what the metrics say.
func (w *world) marked() (truncated, looping float64) {
	families, err := w.registry.Gather()
	must(w.t, err)
	for _, f := range families {
		if f.GetName() != "ocrmux_answers_marked_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "looping" {
				looping = m.GetCounter().GetValue()
			} else {
				truncated = m.GetCounter().GetValue()
			}
		}
	}
	return truncated, looping
}

func TestQuality_IsToldInHeaderWarningLogAndMetrics(t *testing.T) {
	w := loops(t, completions.Guard{Repeats: 20}, gateway.Config{})
	for range 2 { // the second time too: it is not remembered
		r := w.ocr("/ocr", "file", [][]byte{page(1)})
		warning, _ := r.json(t)["warning"].(string)
		if r.status != 200 || r.header.Get("X-Ocrmux-Quality") != "looping" || r.header.Get("X-Ocrmux-Cache") != "miss" || !strings.HasPrefix(warning, "looping: ") {
			t.Fatalf("got %d %v %.200s", r.status, r.header, r.body)
		}
	}
	r := w.chat(chatBody(page(1), `,"max_tokens":40`))
	if r.header.Get("X-Ocrmux-Quality") != "truncated" || !strings.Contains(r.body, `"finish_reason":"length"`) {
		t.Errorf("got %v %s", r.header, r.body)
	}
	if truncated, looping := w.marked(); truncated != 1 || looping != 2 {
		t.Errorf("counted %v truncated, %v looping", truncated, looping)
	}
	w.eventually("the log says so", func() bool {
		return strings.Count(w.log.String(), `"quality":"looping"`) == 2 && strings.Count(w.log.String(), `"quality":"truncated"`) == 1
	})
}

func TestQuality_OfABatchIsThatOfEachImage(t *testing.T) {
	w := loops(t, completions.Guard{Repeats: 20}, gateway.Config{})
	r := w.ocr("/ocr/batch", "files", [][]byte{page(1), page(2)})
	if r.header.Get("X-Ocrmux-Quality") != "looping" || strings.Count(r.body, `"warning":"looping: `) != 2 {
		t.Errorf("got %v %.200s", r.header, r.body)
	}
	if _, looping := w.marked(); looping != 2 {
		t.Errorf("counted %v", looping)
	}
}

func TestQuality_OfAStreamIsInLogAndMetrics(t *testing.T) {
	w := loops(t, completions.Guard{Repeats: 20}, gateway.Config{})
	r := w.chat(chatBody(page(1), `,"stream":true`))
	if r.header.Get("X-Ocrmux-Quality") != "" || strings.Count(r.body, `"finish_reason":"length"`) != 1 || !strings.HasSuffix(r.body, "data: [DONE]\n\n") {
		t.Errorf("got %v %s", r.header, r.body[max(0, len(r.body)-300):])
	}
	w.eventually("the log says so", func() bool { return strings.Contains(w.log.String(), `"quality":"looping"`) })
	if truncated, looping := w.marked(); truncated != 0 || looping != 1 {
		t.Errorf("counted %v truncated, %v looping", truncated, looping)
	}
}

func TestQuality_OfSoundAnswersIsNotSpokenOf(t *testing.T) {
	w := newWorld(t, setup{guard: completions.Guard{Repeats: 20}, sim: sim.Config{Engine: sim.Synthetic{Tokens: sim.Range{Min: 200, Max: 900}}}})
	for n := range 40 {
		r := w.ocr("/ocr", "file", [][]byte{page(n)}, "format", "markdown")
		if r.status != 200 || r.header.Get("X-Ocrmux-Quality") != "" || strings.Contains(r.body, "warning") {
			t.Errorf("page %d: %d %v %s", n, r.status, r.header, r.body)
		}
	}
}

func TestGuard_CutsAStreamAndFreesItsBackend(t *testing.T) {
	w := loops(t, completions.Guard{Repeats: 20, Cut: true}, gateway.Config{})
	r := w.chat(chatBody(page(1), `,"stream":true`))
	if !strings.HasSuffix(r.body, `"finish_reason":"length"}]}`+"\n\ndata: [DONE]\n\n") || strings.Count(r.body, `"finish_reason":"`) != 1 || strings.Contains(r.body, "error") {
		t.Errorf("got %s", r.body[max(0, len(r.body)-400):])
	}
	ids := map[string]bool{}
	for line := range strings.Lines(r.body) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(line, `data: {"id":"`), `"`); ok && strings.HasPrefix(line, "data: {") {
			ids[id] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("the events have the ids %v", ids)
	}
	w.eventually("the backend's work is cancelled", func() bool { s := w.sims[0].Stats(); return s.Aborted == 1 && s.InProgress == 0 })
	if page := w.ocr("/ocr", "file", [][]byte{page(1)}); page.status != 200 || page.header.Get("X-Ocrmux-Quality") != "looping" {
		t.Errorf("a page: %d %v", page.status, page.header)
	}
	w.eventually("the page's too", func() bool { s := w.sims[0].Stats(); return s.Aborted == 2 && s.InProgress == 0 })
}

func TestQuality_StrictProfilesWarnInTheHeaderAlone(t *testing.T) {
	w := loops(t, completions.Guard{Repeats: 20}, gateway.Config{Legacy: gateway.Legacy{Profile: legacy.App}})
	if r := w.ocr("/ocr", "file", [][]byte{page(1)}); r.header.Get("X-Ocrmux-Quality") != "looping" || strings.Contains(r.body, "warning") {
		t.Errorf("got %v %.200s", r.header, r.body)
	}
}
