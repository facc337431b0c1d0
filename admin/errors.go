package admin

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ocrmux/compat"
)

// The errors that only operators see, in the shape of OpenAI's. What clients
// may get too is compat's.

const invalidRequest = "invalid_request_error"

func badToken() *compat.Error {
	return &compat.Error{
		Status: http.StatusUnauthorized, Type: invalidRequest, Code: "invalid_admin_token",
		Message: "The operators' token is missing or wrong. Send it as Authorization: Bearer TOKEN.",
	}
}

func tooManyTokens(wait time.Duration) *compat.Error {
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &compat.Error{
		Status: http.StatusTooManyRequests, Type: "requests", Code: "rate_limit_exceeded", RetryAfter: wait,
		Message: fmt.Sprintf("Too many wrong tokens from this address. The right one is taken at any time, a wrong one in %s.", wait),
	}
}

func foreignHost() *compat.Error {
	return &compat.Error{
		Status: http.StatusForbidden, Type: invalidRequest, Code: "host_not_allowed",
		Message: "This listener has no token, so it answers to localhost, 127.0.0.1 and [::1] only.",
	}
}

func foreignOrigin() *compat.Error {
	return &compat.Error{
		Status: http.StatusForbidden, Type: invalidRequest, Code: "origin_not_allowed",
		Message: "A web page of another origin must not change anything here.",
	}
}

func notFound(code, message string) *compat.Error {
	return &compat.Error{Status: http.StatusNotFound, Type: invalidRequest, Code: code, Message: message}
}

func conflict(code, message string) *compat.Error {
	return &compat.Error{Status: http.StatusConflict, Type: invalidRequest, Code: code, Message: message}
}

// detailed is an error that has more to say than OpenAI's four members hold.
type detailed struct {
	answer *compat.Error
	beside map[string]any // stands beside "error" in the answer
}

func (e *detailed) Error() string { return e.answer.Error() }
func (e *detailed) Unwrap() error { return e.answer }

// answerOf turns any error into the one that is answered. What nobody foresaw
// is told in the log alone.
func answerOf(err error) *compat.Error {
	var known *compat.Error
	if errors.As(err, &known) {
		return known
	}
	return compat.Internal()
}

// writeError is the only place where an error becomes an answer.
func writeError(w http.ResponseWriter, err error) {
	answer := answerOf(err)
	body := answer.AppendJSON(nil)
	var more *detailed
	if errors.As(err, &more) {
		body = appendMembers(body, more.beside)
	}
	h := w.Header()
	if answer.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatFloat(math.Ceil(answer.RetryAfter.Seconds()), 'f', 0, 64))
	}
	if answer.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	writeBody(w, answer.Status, body)
}

// plain returns an error's text without what may be a key, in one line and
// bounded: it stands in answers and in the log.
func plain(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return clip(leaked.ReplaceAllString(text, "***"), 500)
}

// sentence makes one of an error's text.
func sentence(err error) string {
	text := plain(err)
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
