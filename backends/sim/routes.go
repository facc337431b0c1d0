package sim

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// authorised asks for Config.APIKey below /v1, as vLLM does, whose other routes
// stay open; its 401 body has a string where others have an object.
func (s *Server) authorised(next http.Handler) http.Handler {
	if s.cfg.APIKey == "" {
		return next
	}
	want := []byte("Bearer " + s.cfg.APIKey)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := []byte(r.Header.Get("Authorization"))
		if strings.HasPrefix(r.URL.Path, "/v1") && subtle.ConstantTimeCompare(got, want) != 1 {
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "Unauthorized"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

type modelList struct {
	Object string      `json:"object"`
	Data   []modelCard `json:"data"`
}

type modelCard struct {
	ID          string  `json:"id"`
	Object      string  `json:"object"`
	Created     int64   `json:"created"`
	OwnedBy     string  `json:"owned_by"`
	Root        string  `json:"root"`
	Parent      *string `json:"parent"`
	MaxModelLen int     `json:"max_model_len"`
	Permission  []any   `json:"permission"`
}

func (s *Server) handleModels(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, modelList{"list", []modelCard{{
		ID:          s.cfg.Model,
		Object:      "model",
		Created:     s.started.Unix(),
		OwnedBy:     "vllmsim", // not vllm: nobody shall take it for the model
		Root:        s.cfg.Model,
		MaxModelLen: s.cfg.MaxModelLen,
		Permission:  []any{},
	}}})
}

func (s *Server) handleHealth(w http.ResponseWriter, r *http.Request) {
	f, changed := s.faults.now()
	switch f.Health {
	case "fail":
		w.WriteHeader(http.StatusServiceUnavailable)
	case "hang":
		hang(r.Context().Done(), changed)
	}
}

func (s *Server) handleVersion(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"version": "0.32.0+vllmsim"})
}

func (s *Server) handleLoad(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]int64{"server_load": s.Stats().InProgress})
}
