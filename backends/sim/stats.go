package sim

import (
	"context"
	"net/http"
	"sync"
)

// Stats counts completion requests since the start or the last reset.
// Received is always the sum of the five below it.
type Stats struct {
	Received   int64 `json:"received"`
	Completed  int64 `json:"completed"`   // written to the end
	Aborted    int64 `json:"aborted"`     // the client left first, in whatever phase
	Refused    int64 `json:"refused"`     // answered 4xx or 501 by validation
	Failed     int64 `json:"failed"`      // answered or cut by a fault or an engine's error
	InProgress int64 `json:"in_progress"` //

	// RemoteImages counts image URLs that were not data URLs. vLLM would have
	// fetched them; the stand-in never does.
	RemoteImages int64 `json:"remote_images"`

	CompletedTokens Tokens `json:"completed_tokens"`
	AbortedTokens   Tokens `json:"aborted_tokens"` // of work that was thrown away
}

// Tokens counts the tokens of some work.
type Tokens struct {
	Prompt    int64 `json:"prompt"` // all of the input, image included
	Image     int64 `json:"image"`  // the image's part of it
	Generated int64 `json:"generated"`
}

func (t *Tokens) add(u Tokens) {
	t.Prompt += u.Prompt
	t.Image += u.Image
	t.Generated += u.Generated
}

// Stats returns the counters at this moment.
func (s *Server) Stats() Stats {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return s.stats.Stats
}

// Reset sets the counters to zero, but for the work in progress, and forgets
// the recorded requests.
func (s *Server) Reset() {
	s.stats.mu.Lock()
	n := s.stats.InProgress
	s.stats.Stats = Stats{Received: n, InProgress: n}
	s.stats.mu.Unlock()
	s.records.reset()
}

func (s *Server) handleStats(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.Stats())
}

func (s *Server) handleReset(w http.ResponseWriter, r *http.Request) {
	s.Reset()
	writeJSON(w, http.StatusOK, s.Stats())
}

// ledger keeps the books; work is one request's line in them.
type ledger struct {
	mu sync.Mutex
	Stats
}

// outcome is what became of a request.
type outcome int

const (
	inProgress outcome = iota
	completed
	aborted
	refused
	failed
)

func (o outcome) String() string {
	return [...]string{"in progress", "completed", "aborted", "refused", "failed"}[o]
}

type work struct {
	ledger  *ledger
	records *recorder
	record  *Recorded // nil until the body is there
	ctx     context.Context
	tokens  Tokens
	left    bool // the client left, and ctx may not know it yet
	outcome outcome
}

func (l *ledger) begin(ctx context.Context, records *recorder) *work {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Received++
	l.InProgress++
	return &work{ledger: l, records: records, ctx: ctx}
}

func (l *ledger) remoteImage() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.RemoteImages++
}

// complete enters success. It is called when the last token is made and before
// it is sent, so that a client that has its answer finds it counted.
func (w *work) complete() { w.end(completed) }

func (w *work) refuse() { w.end(refused) }

// close enters what is neither complete nor refused: aborted if the client has
// left, else failed. It may be called after either.
func (w *work) close() {
	if w.left || w.ctx.Err() != nil {
		w.end(aborted)
	} else {
		w.end(failed)
	}
}

func (w *work) end(how outcome) {
	if w.outcome != inProgress {
		return
	}
	w.outcome = how
	w.records.end(w.record, how)
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	s := &w.ledger.Stats
	s.InProgress--
	switch how {
	case completed:
		s.Completed++
		s.CompletedTokens.add(w.tokens)
	case aborted:
		s.Aborted++
		s.AbortedTokens.add(w.tokens)
	case refused:
		s.Refused++
	case failed:
		s.Failed++
	}
}
