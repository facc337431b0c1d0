package drivers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// HTTP is no SDK: requests and answers as they are on the wire.
type HTTP struct{}

// Wire is an answer's head, and its body up to where it was read.
type Wire struct {
	Status int
	Header http.Header
	Body   []byte
	Cut    error // what ended the body early
}

var paths = map[string]string{
	Chat: "/chat/completions", ChatStream: "/chat/completions", Post: "/chat/completions",
	Completion: "/completions", ResponseStream: "/responses",
	Models: "/models", Model: "/models/", Embedding: "/embeddings",
}

func (HTTP) Do(c Command, began func()) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := newRequest(ctx, c)
	if err != nil {
		return Answer{}, err
	}
	res, err := http.DefaultClient.Do(request)
	if err != nil {
		return Answer{Error: &Error{Class: fmt.Sprintf("%T", err), Message: err.Error()}}, nil
	}
	defer res.Body.Close()
	r := reader{command: c, began: began}
	r.answer.Wire = &Wire{Status: res.StatusCode, Header: res.Header}
	r.answer.RequestID = res.Header.Get("x-request-id")
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		r.events(res.Body)
		return r.answer, nil
	}
	r.object(res.Body)
	return r.answer, nil
}

func newRequest(ctx context.Context, c Command) (*http.Request, error) {
	path, known := paths[c.Do]
	if !known {
		return nil, fmt.Errorf("plain HTTP has no %q", c.Do)
	}
	method, body := http.MethodPost, []byte(c.Body)
	switch c.Do {
	case Models, Model:
		method, body = http.MethodGet, nil
		if c.Do == Model {
			path += url.PathEscape(fmt.Sprint(c.Params["model"]))
		}
	case Post:
	default:
		members := maps.Clone(c.Params)
		maps.Copy(members, c.Extra)
		if c.Do == ChatStream || c.Do == ResponseStream {
			members["stream"] = true
		}
		var err error
		if body, err = json.Marshal(members); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.Key)
	}
	return request, nil
}

// object reads a whole answer, which may be an error.
func (r *reader) object(body io.Reader) {
	w := r.answer.Wire
	if w.Body, w.Cut = io.ReadAll(body); w.Cut != nil {
		r.answer.Error = &Error{Class: "cut", Status: w.Status, Message: w.Cut.Error()}
		return
	}
	r.answer.Value = w.Body
	if w.Status != http.StatusOK {
		r.answer.Error = readError(w.Status, w.Body)
	}
}

// events reads a stream to its [DONE], an error or its end.
func (r *reader) events(body io.Reader) {
	w, done := r.answer.Wire, false
	piece := make([]byte, 32<<10)
	for read := 0; ; {
		n, err := body.Read(piece)
		w.Body = append(w.Body, piece[:n]...)
		for {
			event, _, whole := bytes.Cut(w.Body[read:], []byte("\n\n"))
			if !whole {
				break
			}
			read += len(event) + 2
			_, data, isData := bytes.Cut(event, []byte("data: "))
			switch {
			case !isData:
			case string(data) == "[DONE]":
				done = true
			case bytes.HasPrefix(data, []byte(`{"error"`)):
				r.answer.Error = readError(0, data)
			case !json.Valid(data):
				r.answer.Error = &Error{Class: "no JSON", Message: string(data)}
			case !r.take(json.RawMessage(bytes.Clone(data))):
				return
			}
		}
		if err != nil {
			if w.Cut = err; err == io.EOF {
				w.Cut = nil
			}
			break
		}
	}
	if r.answer.Error == nil && (w.Cut != nil || !done && r.command.Do != ResponseStream) {
		r.answer.Error = &Error{Class: "cut", Message: fmt.Sprint("no [DONE]; ", w.Cut)}
	}
}

func readError(status int, body []byte) *Error {
	var v struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return &Error{Class: "no OpenAI error", Status: status, Message: err.Error()}
	}
	return &Error{Class: "error", Status: status, Code: v.Error.Code, Type: v.Error.Type, Message: v.Error.Message}
}
