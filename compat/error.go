package compat

import (
	"log/slog"
	"strconv"
	"time"
)

// Error is an OpenAI error. All that AppendJSON and Event write is for the
// client that caused it: Message and Param may quote its request, so they must
// not reach a log, a metric or anybody else.
type Error struct {
	Status     int // HTTP status
	Message    string
	Type       string        // "invalid_request_error", "server_error", ...
	Param      string        // "" is written as null
	Code       string        // "" is written as null
	RetryAfter time.Duration // 0: no retry-after header
	NoRetry    bool          // x-should-retry: false
}

// Error returns the message for the client. To log an error pass the *Error
// itself to slog, see LogValue.
func (e *Error) Error() string { return e.Message }

// LogValue makes an Error safe to log: it leaves out what may quote a request.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("status", e.Status), slog.String("type", e.Type), slog.String("code", e.Code))
}

// AppendJSON appends {"error":{message,type,param,code}}. error is the first
// and only key and all four keys are always there: go-openai takes a stream's
// event for an error only if it begins so, and other clients miss absent keys.
func (e *Error) AppendJSON(b []byte) []byte {
	b = append(b, `{"error":{"message":`...)
	b = AppendQuoted(b, e.Message)
	b = append(b, `,"type":`...)
	b = AppendQuoted(b, e.Type)
	b = append(b, `,"param":`...)
	b = appendOrNull(b, e.Param)
	b = append(b, `,"code":`...)
	b = appendOrNull(b, e.Code)
	return append(b, "}}"...)
}

// Event returns the bytes that end a stream of the dialect with the error. For
// chat and completions that is one data line and [DONE], without an event
// line, which go-openai does not read. number is the sequence_number of an event
// of responses, where they are counted from 0.
func (e *Error) Event(d Dialect, number int) []byte {
	if d != Responses {
		b := e.AppendJSON([]byte("data: "))
		return append(b, "\n\ndata: [DONE]\n\n"...)
	}
	b := append([]byte(nil), "event: error\ndata: {\"type\":\"error\",\"code\":"...)
	b = appendOrNull(b, e.Code)
	b = append(b, `,"message":`...)
	b = AppendQuoted(b, e.Message)
	b = append(b, `,"param":`...)
	b = appendOrNull(b, e.Param)
	b = append(b, `,"sequence_number":`...)
	return append(strconv.AppendInt(b, int64(number), 10), "}\n\n"...)
}

func appendOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return AppendQuoted(b, s)
}
