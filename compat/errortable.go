package compat

import (
	"fmt"
	"math"
	"time"
)

// The errors that the gateway itself gives, one function each, so that status,
// type and code are decided in one place. The words are OpenAI's where its
// clients are known to show or search them.

const (
	invalidRequest = "invalid_request_error"
	serverError    = "server_error"
)

// NoKey is the answer to a request without a key.
func NoKey() *Error {
	return &Error{Status: 401, Type: invalidRequest, Message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."}
}

// BadKey is the answer to a key that is unknown, disabled or expired.
func BadKey() *Error {
	return &Error{Status: 401, Type: invalidRequest, Code: "invalid_api_key", Message: "Incorrect API key provided."}
}

// ModelNotFound is the answer to a model that does not exist and, word for
// word, to one that the tenant may not use.
func ModelNotFound(model string) *Error {
	return &Error{
		Status: 404, Type: invalidRequest, Code: "model_not_found",
		Message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", clip(model, 200)),
	}
}

// BadJSON is the answer to a body that is not acceptable JSON.
func BadJSON(reason string) *Error {
	return &Error{
		Status: 400, Type: invalidRequest,
		Message: "We could not parse the JSON body of your request: " + reason + ". The API expects one JSON object, in UTF-8, with no name twice in an object.",
	}
}

// Invalid is the answer to a body whose param has a value that cannot be
// taken. code may be "".
func Invalid(param, code, message string) *Error {
	return &Error{Status: 400, Type: invalidRequest, Param: param, Code: code, Message: message}
}

// TooLarge is the answer to a body over limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{
		Status: 413, Type: invalidRequest, Code: "request_too_large",
		Message: fmt.Sprintf("The request body is too large. At most %d bytes are accepted.", limit),
	}
}

// UnsupportedEncoding is the answer to a compressed body.
func UnsupportedEncoding() *Error {
	return &Error{Status: 415, Type: invalidRequest, Message: "Compressed request bodies are not supported. Send the body without a Content-Encoding."}
}

// UnknownURL is the answer to a path that does not exist.
func UnknownURL(method, path string) *Error {
	return &Error{
		Status: 404, Type: invalidRequest, Code: "unknown_url",
		Message: fmt.Sprintf("Unknown request URL: %s %s. Please check the URL for typos.", clip(method, 20), clip(path, 200)),
	}
}

// MethodNotSupported is the answer to a path that has other methods.
func MethodNotSupported(method, path string) *Error {
	return &Error{
		Status: 405, Type: invalidRequest, Code: "method_not_supported",
		Message: fmt.Sprintf("Not allowed to %s on %s. (HINT: Perhaps you meant to use a different HTTP method?)", clip(method, 20), clip(path, 200)),
	}
}

// NotStored is the answer to whoever asks for an earlier answer by its id.
func NotStored() *Error {
	return &Error{
		Status: 404, Type: invalidRequest, Code: "response_not_stored",
		Message: "Responses are not stored here, so there is none to get, cancel or delete. Send the whole conversation as 'input' with each request.",
	}
}

// NotServed is the answer where the model's backend has no /v1/responses.
func NotServed() *Error {
	return &Error{
		Status: 404, Type: invalidRequest, Code: "unsupported_api",
		Message: "The model server behind this model does not serve the responses API. Use POST /v1/chat/completions instead.",
	}
}

// RateLimited is the answer to a tenant that is too fast. kind is what ran
// out, such as "requests" or "tokens".
func RateLimited(kind string, retryAfter time.Duration) *Error {
	retryAfter = max(retryAfter, time.Millisecond)
	return &Error{
		Status: 429, Type: kind, Code: "rate_limit_exceeded", RetryAfter: retryAfter,
		Message: fmt.Sprintf("Rate limit reached for %s. Please try again in %s.", kind, retryAfter),
	}
}

// AboveLimit is the answer to a request that asks for more than the limit
// itself: it cannot be admitted, however long its sender waits.
func AboveLimit(kind string) *Error {
	return &Error{
		Status: 429, Type: kind, Code: "rate_limit_exceeded", NoRetry: true,
		Message: fmt.Sprintf("Request too large: it asks for more %s than the limit per minute.", kind),
	}
}

// RouteNotAllowed is the answer to a key that may not use the route.
func RouteNotAllowed() *Error {
	return &Error{Status: 403, Type: invalidRequest, Code: "insufficient_permissions", Message: "You have insufficient permissions for this operation."}
}

// QuotaExceeded is the answer to a tenant whose quota of pages or tokens is used up. Without
// NoRetry the SDKs would try again all the same.
func QuotaExceeded(what string, resets time.Time) *Error {
	return &Error{
		Status: 429, Type: "insufficient_quota", Code: "insufficient_quota", NoRetry: true,
		Message: fmt.Sprintf("You exceeded your current quota of %s. It begins anew on %s (UTC); the operator of this service may give you more.", what, resets.Format(time.DateOnly)),
	}
}

// Overloaded is the answer where no backend has room in time, or none is usable.
func Overloaded(retryAfter time.Duration) *Error {
	return &Error{
		Status: 503, Type: serverError, Code: "overloaded", RetryAfter: atLeastASecond(retryAfter),
		Message: "The server is overloaded or not ready yet. Please try again later.",
	}
}

// Upstream is the answer where the backend failed. Nothing that it said is shown.
func Upstream() *Error {
	return &Error{
		Status: 502, Type: serverError, Code: "upstream_error",
		Message: "The model server failed while it processed the request.",
	}
}

// Timeout is the answer where the gateway's own deadline has passed. A retry
// would take as long again.
func Timeout() *Error {
	return &Error{
		Status: 504, Type: serverError, Code: "timeout", NoRetry: true,
		Message: "The request timed out before the model had finished.",
	}
}

// Internal is the answer to everything that has no other.
func Internal() *Error {
	return &Error{Status: 500, Type: serverError, Message: "The server had an error while processing your request."}
}

// atLeastASecond rounds up to whole seconds: the header has no fractions, and
// the Node and Go SDKs take a retry-after of 0 as leave to hammer.
func atLeastASecond(d time.Duration) time.Duration {
	return time.Duration(max(1, math.Ceil(d.Seconds()))) * time.Second
}

// clip shortens a client's text that is quoted back to it.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && s[limit]&0xC0 == 0x80 { // not inside a character
		limit--
	}
	return s[:limit] + "…"
}
