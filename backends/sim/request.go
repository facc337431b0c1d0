package sim

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxBody bounds what is read of one request. vLLM has no such limit.
const maxBody = 64 << 20

// request is the part of a completion request that changes the answer. As in
// vLLM, keys are matched exactly, the last of duplicate keys counts, and
// unknown keys are ignored.
type request struct {
	Model    string         `json:"model"`
	Messages []message      `json:"messages"` // chat
	Prompt   jsontext.Value `json:"prompt"`   // completions: a string or strings

	responsesRequest

	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options"`

	MaxTokens           *int           `json:"max_tokens"`
	MaxCompletionTokens *int           `json:"max_completion_tokens"`
	N                   *int           `json:"n"`
	Stop                stopStrings    `json:"stop"`
	Temperature         *float64       `json:"temperature"`
	TopP                *float64       `json:"top_p"`
	Seed                *int64         `json:"seed"`
	Logprobs            jsontext.Value `json:"logprobs"` // chat: bool; completions: int
	TopLogprobs         *int           `json:"top_logprobs"`
	SkipSpecialTokens   *bool          `json:"skip_special_tokens"`
	IgnoreEOS           bool           `json:"ignore_eos"`
	Priority            *int64         `json:"priority"`

	XArgs map[string]jsontext.Value `json:"vllm_xargs"`
}

type streamOptions struct {
	IncludeUsage         *bool `json:"include_usage"`
	ContinuousUsageStats bool  `json:"continuous_usage_stats"`
}

type stopStrings []string

func (s *stopStrings) UnmarshalJSON(b []byte) error {
	if jsontext.Value(b).Kind() == '"' {
		*s = make(stopStrings, 1)
		return json.Unmarshal(b, &(*s)[0])
	}
	return json.Unmarshal(b, (*[]string)(s))
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &apiError{http.StatusRequestEntityTooLarge, "Request Entity Too Large", "the stand-in reads at most 64 MiB", ""}
	}
	return body, err
}

func parse(r *http.Request, body []byte) (*request, error) {
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/json" {
		return nil, invalidBody("Unsupported Media Type: Only 'application/json' is allowed")
	}
	req := new(request)
	if err := json.Unmarshal(body, req, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, invalidBody("%s", decodeMessage(err))
	}
	return req, nil
}

// decodeMessage says what did not fit without repeating the value, which may be
// a whole image.
func decodeMessage(err error) string {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return "1 validation error: body" + strings.ReplaceAll(string(semantic.JSONPointer), "/", ".") +
			" has the wrong type"
	}
	return "1 validation error: JSON decode error"
}

// check applies vLLM's rules for sampling parameters.
func (q *request) check() *apiError {
	switch t := q.temperature(); {
	case t < 0:
		return badRequest("temperature", "temperature must be non-negative, got %v. (parameter=temperature, value=%v)", t, t)
	case q.n() < 1:
		return badRequest("n", "n must be at least 1, got %d.", q.n())
	case q.n() > 16384:
		return badRequest("n", "n must be at most 16384, got %d.", q.n())
	case t < 1e-5 && q.n() > 1:
		return badRequest("", "n must be 1 when using greedy sampling, got %d.", q.n())
	}
	if p := q.TopP; p != nil && (*p <= 0 || *p > 1) {
		return badRequest("top_p", "top_p must be in (0, 1], got %v. (parameter=top_p, value=%v)", *p, *p)
	}
	if m := q.maxTokens(); m != nil && *m < 1 {
		return badRequest("max_tokens", "max_tokens must be at least 1, got %d. (parameter=max_tokens, value=%d)", *m, *m)
	}
	for _, s := range q.Stop {
		if s == "" {
			return badRequest("", "stop cannot contain an empty string.")
		}
	}
	if q.StreamOptions != nil && !q.Stream && (q.StreamOptions.IncludeUsage != nil || q.StreamOptions.ContinuousUsageStats) {
		return badRequest("stream_options", "Stream options can only be defined when `stream=True`. (parameter=stream_options)")
	}
	if q.Priority != nil && *q.Priority != 0 {
		return badRequest("", "Got priority %d but Priority scheduling is not enabled.", *q.Priority)
	}
	return q.checkXArgs()
}

// checkXArgs wants strings, numbers and lists of those, and of the n-gram
// processor's own arguments positive integers.
func (q *request) checkXArgs() *apiError {
	for name, v := range q.XArgs {
		if !scalar(v) && !scalars(v) {
			return invalidBody("1 validation error: body.vllm_xargs.%s should be a string, a number or a list of those", name)
		}
	}
	for _, name := range []string{"ngram_size", "window_size"} {
		if v, ok := q.XArgs[name]; ok {
			var n int
			if json.Unmarshal(v, &n) != nil || n <= 0 {
				return badRequest("", "`%s` has to be a strictly positive integer, got %s.", name, v)
			}
		}
	}
	if v, ok := q.XArgs["whitelist_token_ids"]; ok {
		var ids []int
		if json.Unmarshal(v, &ids) != nil {
			return badRequest("", "`whitelist_token_ids` has to be a list of integers.")
		}
	}
	return nil
}

func scalar(v jsontext.Value) bool {
	k := v.Kind()
	return k == '"' || k == '0' || k == 't' || k == 'f'
}

func scalars(v jsontext.Value) bool {
	var list []jsontext.Value
	if v.Kind() != '[' || json.Unmarshal(v, &list) != nil {
		return false
	}
	for _, e := range list {
		if !scalar(e) {
			return false
		}
	}
	return true
}

// guarded says whether the n-gram processor would act on this request.
func (q *request) guarded() bool {
	_, ok := q.XArgs["ngram_size"]
	return ok
}

// temperature is 1 where the request names none, as in vLLM.
func (q *request) temperature() float64 {
	if q.Temperature == nil {
		return 1
	}
	return *q.Temperature
}

func (q *request) n() int {
	if q.N == nil {
		return 1
	}
	return *q.N
}

func (q *request) maxTokens() *int {
	if q.MaxOutputTokens != nil {
		return q.MaxOutputTokens
	}
	if q.MaxCompletionTokens != nil {
		return q.MaxCompletionTokens
	}
	return q.MaxTokens
}

// skipSpecial is true where the request says nothing, as in vLLM.
func (q *request) skipSpecial() bool { return q.SkipSpecialTokens == nil || *q.SkipSpecialTokens }

// includeUsage follows vLLM: stream_options without the key asks for usage.
func (q *request) includeUsage() bool {
	return q.StreamOptions != nil && (q.StreamOptions.IncludeUsage == nil || *q.StreamOptions.IncludeUsage)
}

func (q *request) continuousUsage() bool {
	return q.includeUsage() && q.StreamOptions.ContinuousUsageStats
}

// wantsLogprobs reads both dialects: true, or a number.
func (q *request) wantsLogprobs() bool {
	k := q.Logprobs.Kind()
	return k == 't' || k == '0'
}
