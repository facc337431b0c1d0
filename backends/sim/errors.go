package sim

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
)

// apiError is an answer that is not a completion, in the body that vLLM gives
// it: {"error":{"message","type","param","code":<status>}}.
type apiError struct {
	status  int
	kind    string
	message string
	param   string // "" is null
}

func (e *apiError) Error() string { return e.message }

// badRequest is vLLM's refusal of a request that it could parse.
func badRequest(param, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, "BadRequestError", fmt.Sprintf(format, args...), param}
}

// invalidBody is vLLM's refusal of a body that does not fit the schema: what
// FastAPI answers with 422 is a 400 there, with another type.
func invalidBody(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, "Bad Request", fmt.Sprintf(format, args...), ""}
}

func unknownModel(name string) *apiError {
	return &apiError{
		http.StatusNotFound, "NotFoundError",
		fmt.Sprintf("The model `%s` does not exist.", name), "model",
	}
}

func notImplemented(message string) *apiError {
	return &apiError{http.StatusNotImplemented, "NotImplementedError", message, ""}
}

func internalError(message string) *apiError {
	return &apiError{http.StatusInternalServerError, "InternalServerError", message, ""}
}

type errorBody struct {
	Error errorInfo `json:"error"`
}

type errorInfo struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    int     `json:"code"`
}

func (e *apiError) body() errorBody {
	info := errorInfo{Message: e.message, Type: e.kind, Code: e.status}
	if e.param != "" {
		info.Param = &e.param
	}
	return errorBody{info}
}

// writeError answers err; what is not an apiError is an engine's failure.
func writeError(w http.ResponseWriter, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = internalError(err.Error())
	}
	writeJSON(w, e.status, e.body())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // every v is ours
		panic(err)
	}
	writeBytes(w, status, "application/json", body)
}

func writeBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left is seen by the request's context
}

// handleUnknown answers like FastAPI, which vLLM leaves as it is.
func handleUnknown(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]string{"detail": "Not Found"})
}

func handleOtherMethod(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
}
