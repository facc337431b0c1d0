package sim

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// responses is POST /v1/responses. Nothing is stored: vLLM's store is off unless
// its operator switches it on.
type responses struct{}

// responsesRequest are the keys of a request that the other APIs do not have.
type responsesRequest struct {
	Input              jsontext.Value `json:"input"` // a string or items
	Instructions       *string        `json:"instructions"`
	MaxOutputTokens    *int           `json:"max_output_tokens"`
	PreviousResponseID *string        `json:"previous_response_id"`
	Background         bool           `json:"background"`
}

type inputItem struct {
	Type string `json:"type"`
	message
}

func (responses) idPrefix() string { return "resp_" }

// prompts turns the items into the messages that they stand for.
func (responses) prompts(q *request) ([]string, []string, *apiError) {
	switch {
	case q.Background:
		return nil, nil, badRequest("background", "This vLLM engine does not support `store=True` and therefore does not support the background mode.")
	case q.PreviousResponseID != nil:
		return nil, nil, unknownResponse(*q.PreviousResponseID)
	}
	var messages []message
	if q.Instructions != nil {
		messages = append(messages, textMessage("system", *q.Instructions))
	}
	var refusal *apiError
	switch q.Input.Kind() {
	case '"':
		var text string
		_ = json.Unmarshal(q.Input, &text) // it is a string
		messages = append(messages, textMessage("user", text))
	case '[':
		var items []inputItem
		if err := json.Unmarshal(q.Input, &items, jsontext.AllowDuplicateNames(true)); err != nil {
			return nil, nil, invalidBody("%s", decodeMessage(err))
		}
		for _, item := range items {
			if item.Type != "" && item.Type != "message" {
				refusal = badRequest("", "Unknown item type: %s", item.Type)
			}
			messages = append(messages, item.asChat())
		}
	default:
		return nil, nil, invalidBody("1 validation error: body.input should be a string or a list of items")
	}
	prompt, images, err := flatten(messages)
	if refusal == nil {
		refusal = err
	}
	return []string{prompt}, images, refusal
}

func textMessage(role, text string) message {
	return message{Role: role, Content: contentList{{Type: "text", Text: text}}}
}

// asChat is the item as a message of chat.
func (i inputItem) asChat() message {
	for j := range i.Content {
		switch p := &i.Content[j]; p.Type {
		case "input_text", "output_text":
			p.Type = "text"
		case "input_image":
			p.Type = "image_url"
		}
	}
	return i.message
}

func unknownResponse(id string) *apiError {
	return &apiError{http.StatusNotFound, "NotFoundError", "Response with id '" + id + "' not found.", "response_id"}
}

func handleStored(w http.ResponseWriter, r *http.Request) {
	writeError(w, unknownResponse(r.PathValue("id")))
}

// response is the answer, whole or as far as it has come.
type response struct {
	ID                 string         `json:"id"`
	CreatedAt          int64          `json:"created_at"`
	IncompleteDetails  *incomplete    `json:"incomplete_details"`
	Instructions       *string        `json:"instructions"`
	Metadata           any            `json:"metadata"`
	Model              string         `json:"model"`
	Object             string         `json:"object"`
	Output             []outputItem   `json:"output"`
	ParallelToolCalls  bool           `json:"parallel_tool_calls"`
	Temperature        float64        `json:"temperature"`
	ToolChoice         string         `json:"tool_choice"`
	Tools              []any          `json:"tools"`
	TopP               float64        `json:"top_p"`
	Background         bool           `json:"background"`
	MaxOutputTokens    int            `json:"max_output_tokens"`
	PreviousResponseID *string        `json:"previous_response_id"`
	ServiceTier        string         `json:"service_tier"`
	Status             string         `json:"status"`
	Truncation         string         `json:"truncation"`
	Usage              *responseUsage `json:"usage"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type outputItem struct {
	ID      string       `json:"id"`
	Content []outputText `json:"content"`
	Role    string       `json:"role"`
	Status  string       `json:"status"`
	Type    string       `json:"type"`
}

type outputText struct {
	Annotations []any  `json:"annotations"`
	Text        string `json:"text"`
	Type        string `json:"type"`
	Logprobs    []any  `json:"logprobs"`
}

type responseUsage struct {
	InputTokens        int64            `json:"input_tokens"`
	InputTokenDetails  map[string]int64 `json:"input_tokens_details"`
	OutputTokens       int64            `json:"output_tokens"`
	OutputTokenDetails map[string]int64 `json:"output_tokens_details"`
	TotalTokens        int64            `json:"total_tokens"`
}

// begun is the answer before its first token.
func (responses) begun(c *call) response {
	r := response{
		ID: c.answerID, CreatedAt: c.created, Instructions: c.req.Instructions, Model: c.model, Object: "response",
		Output: []outputItem{}, ParallelToolCalls: true, Temperature: c.req.temperature(), ToolChoice: "auto",
		Tools: []any{}, TopP: 1, MaxOutputTokens: c.limit, ServiceTier: "auto", Status: "in_progress", Truncation: "disabled",
	}
	if c.req.TopP != nil {
		r.TopP = *c.req.TopP
	}
	return r
}

func (d responses) ended(c *call) response {
	r, ch := d.begun(c), c.choices[0]
	r.Status = "completed"
	if ch.finish == "length" {
		r.Status, r.IncompleteDetails = "incomplete", &incomplete{"max_output_tokens"}
	}
	r.Output = append(r.Output, c.item("completed", piece(ch.text())))
	u := c.usage()
	r.Usage = &responseUsage{
		u.PromptTokens,
		map[string]int64{"cached_tokens": 0},
		u.CompletionTokens,
		map[string]int64{"reasoning_tokens": 0},
		u.TotalTokens,
	}
	return r
}

func (c *call) item(status string, content ...outputText) outputItem {
	return outputItem{"msg_" + strings.TrimPrefix(c.answerID, "resp_"), append([]outputText{}, content...), "assistant", status, "message"}
}

func piece(text string) outputText { return outputText{[]any{}, text, "output_text", []any{}} }

func (d responses) whole(c *call) any { return d.ended(c) }

func (d responses) tell(c *call, es *eventStream) teller { return &responseTeller{d, c, es} }

// failure is OpenAI's error event; vLLM's builds differ in it.
func (responses) failure(e *apiError, events int) []byte {
	return frame("error", encode(responseEvent{
		"type": "error", "code": e.kind, "message": e.message, "param": nil, "sequence_number": events,
	}))
}

type responseTeller struct {
	responses
	call *call
	es   *eventStream
}

// responseEvent is an event with its own members beside type and sequence_number.
type responseEvent map[string]any

func (t *responseTeller) event(kind string, e responseEvent) (string, responseEvent) {
	kind = "response." + kind
	e["type"], e["sequence_number"] = kind, t.es.events
	return kind, e
}

func (t *responseTeller) send(kind string, e responseEvent) error { return t.es.send(t.event(kind, e)) }

// part is the place in the answer that an event of the text is about.
func (t *responseTeller) part(name string, v any) responseEvent {
	return responseEvent{"item_id": t.call.item("").ID, "output_index": 0, "content_index": 0, name: v}
}

// The first two events come as soon as the request is accepted, before any token.
func (t *responseTeller) begin() error {
	if err := t.send("created", responseEvent{"response": t.begun(t.call)}); err != nil {
		return err
	}
	return t.send("in_progress", responseEvent{"response": t.begun(t.call)})
}

func (t *responseTeller) token(_, step int) error {
	if step == 0 {
		if err := t.send("output_item.added", responseEvent{"output_index": 0, "item": t.call.item("in_progress")}); err != nil {
			return err
		}
		if err := t.send("content_part.added", t.part("part", piece(""))); err != nil {
			return err
		}
	}
	if tokens := t.call.choices[0].tokens; step < len(tokens) {
		e := t.part("delta", tokens[step])
		e["logprobs"] = []any{}
		return t.send("output_text.delta", e)
	}
	return nil
}

func (t *responseTeller) end() error {
	text := t.call.choices[0].text()
	done := t.part("text", text)
	done["logprobs"] = []any{}
	if err := t.send("output_text.done", done); err != nil {
		return err
	}
	if err := t.send("content_part.done", t.part("part", piece(text))); err != nil {
		return err
	}
	item := responseEvent{"output_index": 0, "item": t.call.item("completed", piece(text))}
	if err := t.send("output_item.done", item); err != nil {
		return err
	}
	// vLLM ends with this event whatever the status in it says.
	kind, e := t.event("completed", responseEvent{"response": t.ended(t.call)})
	return t.es.last(kind, encode(e))
}
