// Package drivers puts the OpenAI SDKs that people use, and plain HTTP, behind
// one face, so that a test can ask the same of all of them and look at what each
// made of the answer.
//
// A Driver carries out one [Command] at a time. The Go SDKs are called directly;
// those of other languages are programs in python/ and node/ that read commands
// and say answers line by line, as JSON. Each command names address and key, so
// one driver serves a whole suite.
package drivers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ocrmux/test/stand"
)

// What a driver can be told to do. Not every SDK has everything: one that lacks
// it says so in Answer.Error.
const (
	Chat           = "chat"            // a chat completion, whole
	ChatStream     = "chat_stream"     // the same as a stream, by plain iteration
	ChatHelper     = "chat_helper"     // the same by the SDK's .stream()
	Completion     = "completion"      // a completion of the older kind
	ResponseStream = "response_stream" // a response as a stream
	Models         = "models"          // the list of models
	Model          = "model"           // one model; Params: model
	Embedding      = "embedding"       // a route that the router does not have
	Post           = "post"            // Body, as it is, to chat completions
)

// UsualRetries is how often the SDKs try again where they are told nothing.
const UsualRetries = 2

// Command is what a driver is told.
type Command struct {
	Do         string         `json:"do"`
	BaseURL    string         `json:"base_url"` // with /v1
	Key        string         `json:"key"`
	Retries    int            `json:"retries"`               // by the SDK itself
	Params     map[string]any `json:"params,omitempty"`      // as the API names them
	Extra      map[string]any `json:"extra,omitempty"`       // beyond the API, the way the SDK has for it
	LeaveAfter int            `json:"leave_after,omitempty"` // chunks with text, after which a stream is left
	Body       string         `json:"body"`
}

// Answer is what came of a command, as the SDK gave it to its caller: Value
// where it was one object, Chunks where it was a stream, Error where it failed.
type Answer struct {
	Value     json.RawMessage   `json:"value"`
	Chunks    []json.RawMessage `json:"chunks"`
	RequestID string            `json:"request_id"` // where the SDK shows one
	Error     *Error            `json:"error"`
	Limits    *Limits           `json:"limits"` // go-openai's
	Wire      *Wire             `json:"-"`      // plain HTTP's
}

// Error is an error as the SDK raised it; what it lacks is zero.
type Error struct {
	Class   string `json:"class"`
	Foreign bool   `json:"foreign"` // not one of the SDK's own, in Python and Node
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Type    string `json:"type"`
	Message string `json:"message"`
}

func (e *Error) String() string {
	return fmt.Sprintf("%s (status %d, code %q, type %q): %s", e.Class, e.Status, e.Code, e.Type, e.Message)
}

// Driver is one client in use.
type Driver interface {
	// Do carries out a command and calls began when the first text of a stream
	// arrives. An error says that the driver itself broke.
	Do(c Command, began func()) (Answer, error)
}

// Python starts OpenAI's SDK for Python, until the test ends.
func Python(t testing.TB) Driver {
	t.Helper()
	return start(t, stand.Repository(".venv/bin/python"), stand.Repository("test/drivers/python/driver.py"))
}

// Node starts OpenAI's SDK for Node, until the test ends.
func Node(t testing.TB) Driver {
	t.Helper()
	return start(t, stand.Repository("test/drivers/node/node_modules/.bin/node"), stand.Repository("test/drivers/node/driver.mjs"))
}

// Install brings the SDKs of Python and Node at their pinned versions, or says
// what cannot be had.
func Install() error {
	for _, sdk := range []string{"python", "node"} {
		bring := exec.Command(stand.Repository("scripts/sdk"), sdk)
		bring.Stdout, bring.Stderr = os.Stderr, os.Stderr
		if err := bring.Run(); err != nil {
			return fmt.Errorf("scripts/sdk %s: %w", sdk, err)
		}
	}
	return nil
}

// Reading is what chat, completions and their chunks have in common.
type Reading struct {
	ID      string
	Object  string
	Model   string
	Choices []struct {
		Index        int
		Message      struct{ Role, Content string }
		Delta        struct{ Role, Content string }
		Text         string
		FinishReason string `json:"finish_reason"`
		Logprobs     json.RawMessage
	}
	Usage *Usage
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// Read decodes a whole answer or a chunk.
func Read(value json.RawMessage) (Reading, error) {
	var r Reading
	err := json.Unmarshal(value, &r)
	if r.Usage != nil && *r.Usage == (Usage{}) {
		r.Usage = nil // openai-go's way to have none
	}
	return r, err
}

// Text is the text of the first choice, of a whole answer or of all chunks.
func (a *Answer) Text() (string, error) {
	if a.Error != nil {
		return "", fmt.Errorf("failed: %s", a.Error)
	}
	var text strings.Builder
	for _, value := range append(a.Chunks, a.Value) {
		if value == nil {
			continue
		}
		r, err := Read(value)
		if err != nil {
			return "", err
		}
		for _, choice := range r.Choices {
			if choice.Index == 0 {
				text.WriteString(choice.Message.Content + choice.Delta.Content + choice.Text)
			}
		}
	}
	return text.String(), nil
}

// hasText says whether a chunk, or an event of a response, brings text.
func hasText(chunk json.RawMessage) bool {
	var event struct{ Type string }
	if json.Unmarshal(chunk, &event) == nil && event.Type == "response.output_text.delta" {
		return true
	}
	a := Answer{Chunks: []json.RawMessage{chunk}}
	text, err := a.Text()
	return err == nil && text != ""
}

// params turns a command's parameters into an SDK's own type.
func params[T any](c Command) (v T, err error) {
	text, err := json.Marshal(c.Params)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(text, &v)
}

// whole is an answer of one object.
func whole(v any) Answer {
	text, err := json.Marshal(v)
	if err != nil { // all v are the SDKs'
		panic(err)
	}
	return Answer{Value: text}
}

// reader collects a stream's chunks and says when to stop.
type reader struct {
	command Command
	began   func()
	answer  Answer
	texts   int
}

// take adds a chunk and reports whether the reader goes on.
func (r *reader) take(chunk any) bool {
	text := whole(chunk).Value
	r.answer.Chunks = append(r.answer.Chunks, text)
	if !hasText(text) {
		return true
	}
	if r.texts++; r.texts == 1 {
		r.began()
	}
	return r.texts != r.command.LeaveAfter
}
