// Package sim is a stand-in for a vLLM server that serves DeepSeek-OCR. It
// speaks vLLM's HTTP API and refuses what vLLM refuses, so that what works
// against it works against vLLM, but there is no model behind it: an Engine
// supplies the text, either Tesseract's reading of the page or invented words.
//
// A request is read and recorded, may meet a fault, is checked as vLLM checks
// it, waits for the one preprocessor and for a place in the running batch, gets
// its text from the engine, and is written token by token at the modelled pace,
// as a stream or whole. Its context ends when the client's connection closes,
// which ends the work in every phase. Stats says what became of every request.
package sim

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Config describes the server that is played. The zero value serves
// DeepSeek-OCR with synthetic pages at modelled speed.
type Config struct {
	// Model is the served model name. Default deepseek-ai/DeepSeek-OCR.
	Model string
	// Engine writes the texts. Default: Synthetic{Seed: Seed}.
	Engine Engine
	// APIKey guards the paths below /v1. Empty: no key is asked for.
	APIKey string
	// MaxModelLen is the context length in tokens, prompt and answer together. Default 8192.
	MaxModelLen int
	// MaxNumSeqs is how many requests run at once; the rest wait. Default 256.
	MaxNumSeqs int
	// Timing fixes the service time. Nil models one large GPU: see pace.
	Timing *Timing
	// Speed divides every modelled or fixed time. Default 1.
	Speed float64
	// Seed makes modelled times and injected errors repeatable.
	Seed uint64
}

// Timing is a fixed service time; zero parts take no time.
type Timing struct {
	Preprocess time.Duration // one request at a time
	FirstToken time.Duration // from the start of running to the first token
	PerToken   time.Duration // for every token after the first
}

// Server is one stand-in. It starts no goroutines but those of net/http, and
// everything it does ends with the request's connection or with Close.
type Server struct {
	cfg     Config
	pace    pace
	faults  faultSwitch
	stats   ledger
	records recorder
	metrics *metrics

	preprocessor chan struct{} // vLLM prepares images one at a time
	seats        chan struct{} // places in the running batch
	waiting      atomic.Int64
	running      atomic.Int64

	started time.Time
	http    *http.Server
}

// New returns a server that is not listening yet.
func New(cfg Config) *Server {
	if cfg.Model == "" {
		cfg.Model = "deepseek-ai/DeepSeek-OCR"
	}
	if cfg.Engine == nil {
		cfg.Engine = Synthetic{Seed: cfg.Seed}
	}
	if cfg.MaxModelLen <= 0 {
		cfg.MaxModelLen = 8192
	}
	if cfg.MaxNumSeqs <= 0 {
		cfg.MaxNumSeqs = 256
	}
	if cfg.Speed <= 0 {
		cfg.Speed = 1
	}
	s := &Server{
		cfg:          cfg,
		pace:         pace{fixed: cfg.Timing, speed: cfg.Speed, seed: cfg.Seed},
		preprocessor: make(chan struct{}, 1),
		seats:        make(chan struct{}, cfg.MaxNumSeqs),
		started:      time.Now(),
	}
	s.faults.init(cfg.Seed)
	s.metrics = newMetrics(s)
	s.http = &http.Server{
		Handler: s.Handler(),
		// uvicorn closes idle connections after five seconds
		// (VLLM_HTTP_TIMEOUT_KEEP_ALIVE); clients that keep them longer meet resets.
		IdleTimeout:       5 * time.Second,
		ReadHeaderTimeout: 30 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	return s
}

// Handler returns the whole API: vLLM's routes and, below /sim/, the switches
// and counters of the stand-in itself.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.complete(choices{chat{}}))
	mux.HandleFunc("POST /v1/completions", s.complete(choices{text{}}))
	mux.HandleFunc("POST /v1/responses", s.complete(responses{}))
	mux.HandleFunc("GET /v1/responses/{id}", handleStored)
	mux.HandleFunc("POST /v1/responses/{id}/cancel", handleStored)
	mux.HandleFunc("GET /v1/models", s.handleModels)
	mux.HandleFunc("GET /health", s.handleHealth)
	mux.HandleFunc("GET /ping", s.handleHealth)
	mux.HandleFunc("POST /ping", s.handleHealth)
	mux.HandleFunc("GET /version", s.handleVersion)
	mux.HandleFunc("GET /load", s.handleLoad)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("/", handleUnknown)
	for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/models", "/health"} {
		mux.HandleFunc(path, handleOtherMethod)
	}

	control := http.NewServeMux()
	control.HandleFunc("GET /sim/faults", s.handleFaults)
	control.HandleFunc("POST /sim/faults", s.handleFaults)
	control.HandleFunc("GET /sim/stats", s.handleStats)
	control.HandleFunc("GET /sim/requests", s.handleRequests)
	control.HandleFunc("POST /sim/reset", s.handleReset)
	control.Handle("/", s.refusing(s.authorised(mux)))
	return control
}

// Serve answers connections on l until Shutdown or Close; it returns
// http.ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error { return s.http.Serve(l) }

// Shutdown stops listening and lets the work in progress finish until ctx ends,
// then cuts what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		return s.http.Close()
	}
	return nil
}

// Close cuts every connection at once, as a killed process would.
func (s *Server) Close() error { return s.http.Close() }
