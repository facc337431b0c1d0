package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Recorded is a completion request as it arrived.
type Recorded struct {
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Header     http.Header `json:"header"`
	Body       []byte      `json:"body"` // base64 in JSON
	BodySHA256 string      `json:"body_sha256"`
	// ImageSHA256 has the hash of every image that could be decoded from a data
	// URL, whatever became of the request then.
	ImageSHA256 []string `json:"image_sha256"`
	// Arrived is when the body was there. Ended and Outcome say when the work
	// was over and what Stats counted it as: completed, aborted, refused or
	// failed; while it is in progress they are zero.
	Arrived time.Time `json:"arrived"`
	Ended   time.Time `json:"ended,omitzero"`
	Outcome string    `json:"outcome,omitempty"`
}

const (
	maxRecorded      = 4096
	maxRecordedBytes = 64 << 20
)

// LastRequests returns the latest requests, oldest first: at most 4096 and
// at most 64 MiB of bodies.
func (s *Server) LastRequests() []Recorded {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	out := make([]Recorded, len(s.records.list))
	for i, r := range s.records.list {
		out[i] = *r
		out[i].ImageSHA256 = slices.Clone(r.ImageSHA256)
	}
	return out
}

func (s *Server) handleRequests(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.LastRequests())
}

type recorder struct {
	mu    sync.Mutex
	list  []*Recorded
	bytes int
}

func (c *recorder) add(r *http.Request, body []byte) *Recorded {
	sum := sha256.Sum256(body)
	rec := &Recorded{
		Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: body,
		BodySHA256: hex.EncodeToString(sum[:]), Arrived: time.Now(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, rec)
	c.bytes += len(body)
	for len(c.list) > maxRecorded || c.bytes > maxRecordedBytes {
		c.bytes -= len(c.list[0].Body)
		c.list[0] = nil
		c.list = c.list[1:]
	}
	return rec
}

func (c *recorder) image(rec *Recorded, sum [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec.ImageSHA256 = append(rec.ImageSHA256, hex.EncodeToString(sum[:]))
}

// end enters what became of a request, at the moment that Stats counts it; rec
// is nil where its body never came.
func (c *recorder) end(rec *Recorded, how outcome) {
	if rec == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rec.Ended, rec.Outcome = time.Now(), how.String()
}

func (c *recorder) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list, c.bytes = nil, 0
}
