package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// longestMessage bounds what is passed on of a backend's message, in bytes:
// vLLM's validation errors can quote the whole request, image included.
const longestMessage = 2000

// Normalise turns an answer of a backend with an error status into an OpenAI
// error, whatever its body: vLLM's object with an integer code, its old flat
// one, {"error":"text"}, FastAPI's detail, HTML, nothing.
//
// A 4xx is the backend's word on the request and keeps its status and message;
// one that says that the context is exceeded is 400 context_length_exceeded.
// Not so 401, 403, 404, 405 and 407: the client's key, model and path are
// settled before a backend is asked, so these tell of the operator's
// configuration (a wrong backend key, a model that is not served there) and
// become Upstream, as everything else does. What such a backend said is
// dropped: it may quote the request, so neither the client's answer nor the log
// is a place for it.
func Normalise(status int, body []byte) *Error {
	said := readBackendError(body)
	switch {
	case status < 400, status > 499, status == 401, status == 403, status == 404, status == 405, status == 407:
		return Upstream()
	case tellsContextLength(said.message):
		return &Error{Status: 400, Type: invalidRequest, Param: "messages", Code: "context_length_exceeded", Message: said.message}
	case status == 429:
		e := RateLimited("requests", 0)
		e.Message = "The model server is taking no more requests at the moment. Please try again later."
		return e
	}
	if said.message == "" {
		said.message = "The model server refused the request."
	}
	return &Error{Status: status, Type: invalidRequest, Param: said.param, Code: said.code, Message: said.message}
}

// tellsContextLength knows the ways in which vLLM's versions say that prompt
// and answer do not fit the model.
func tellsContextLength(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "maximum context length") || strings.Contains(m, "maximum model length") ||
		strings.Contains(m, "max_model_len") || strings.Contains(m, "context length is")
}

type backendError struct {
	message, param, code string
	status               int // the code where it is a status of an error
}

// readBackendError finds message, param and code in any known shape.
func readBackendError(body []byte) backendError {
	var outer struct {
		Error  json.RawMessage
		Detail json.RawMessage
	}
	if json.Unmarshal(body, &outer) != nil {
		return backendError{} // HTML, plain text: an intermediary's, not for the client
	}
	var said backendError
	switch {
	case isObject(outer.Error):
		said = readErrorObject(outer.Error)
	case asString(outer.Error) != "":
		said.message = asString(outer.Error)
	case len(outer.Detail) > 0:
		said = readDetail(outer.Detail)
	default:
		said = readErrorObject(body)
	}
	said.message = clip(said.message, longestMessage)
	said.param = clip(said.param, 200)
	return said
}

func readErrorObject(object []byte) backendError {
	var e struct{ Message, Param, Code json.RawMessage }
	if json.Unmarshal(object, &e) != nil {
		return backendError{}
	}
	said := backendError{message: asString(e.Message), param: asString(e.Param), code: asString(e.Code)}
	if status, err := strconv.Atoi(string(e.Code)); err == nil && status >= 400 && status <= 599 {
		said.status = status
	}
	return said
}

// readDetail reads FastAPI's detail: a text, or a list of what is wrong where.
func readDetail(detail []byte) backendError {
	if text := asString(detail); text != "" {
		return backendError{message: text}
	}
	var list []struct {
		Loc []any
		Msg string
	}
	if json.Unmarshal(detail, &list) != nil || len(list) == 0 {
		return backendError{}
	}
	var said backendError
	var lines []string
	for _, item := range list[:min(len(list), 5)] {
		var where []string
		for _, step := range item.Loc {
			if s := fmt.Sprint(step); s != "body" {
				where = append(where, s)
			}
		}
		path := strings.Join(where, ".")
		if said.param == "" {
			said.param = path
		}
		if path != "" {
			path += ": "
		}
		lines = append(lines, path+item.Msg)
	}
	said.message = strings.Join(lines, "; ")
	return said
}

func isObject(raw []byte) bool { return bytes.HasPrefix(raw, []byte("{")) }

// asString is the string that raw is, or "" where it is anything else.
func asString(raw []byte) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
