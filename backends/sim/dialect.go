package sim

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// dialect is one of the APIs that answer with a text: where the prompt is and how
// the answer is dressed.
type dialect interface {
	// prompts returns one prompt for every answer asked for, n apart.
	prompts(q *request) (prompts []string, images []string, err *apiError)
	idPrefix() string
	whole(c *call) any
	// tell streams the answer of c; failure is how such a stream ends where it
	// fails after some events.
	tell(c *call, es *eventStream) teller
	failure(e *apiError, events int) []byte
}

// teller writes the events of one answer.
type teller interface {
	begin() error // before the first token
	token(index, step int) error
	end() error
}

// choiceDialect is what chat completions and completions do not share.
type choiceDialect interface {
	prompts(q *request) (prompts []string, images []string, err *apiError)
	names() names
	// opening is the choice before the first token; nil for none.
	opening(index int) any
	delta(index int, piece string, logprobs any) any
	last(index int, c choice) any
	whole(index int, c choice, logprobs any) any
	// logprobs dresses tokens; it is called only for requests that want them.
	logprobs(tokens []string) any
}

type names struct{ idPrefix, whole, chunk string }

// choices are the APIs whose answer is a list of choices.
type choices struct{ choiceDialect }

func (d choices) idPrefix() string { return d.names().idPrefix }

func (d choices) envelope(c *call) envelope {
	return envelope{ID: c.answerID, Created: c.created, Model: c.model}
}

func (d choices) whole(c *call) any {
	answer := d.envelope(c)
	answer.Object = d.names().whole
	for i, ch := range c.choices {
		answer.Choices = append(answer.Choices, d.choiceDialect.whole(i, ch, d.wanted(c, ch.tokens...)))
	}
	answer.Usage = c.usage()
	return answer
}

// wanted are the log probabilities of tokens, for a request that asks for them.
func (d choices) wanted(c *call, tokens ...string) any {
	if !c.req.wantsLogprobs() {
		return nil
	}
	return d.logprobs(tokens)
}

func (d choices) tell(c *call, es *eventStream) teller {
	t := &choiceTeller{d, c, es, d.envelope(c)}
	t.chunk.Object = d.names().chunk
	return t
}

// failure is an error event and, as vLLM does it, [DONE] after it.
func (choices) failure(e *apiError, _ int) []byte {
	return append(frame("", encode(e.body())), frame("", []byte("[DONE]"))...)
}

type choiceTeller struct {
	choices
	call  *call
	es    *eventStream
	chunk envelope
}

func (t *choiceTeller) begin() error { return nil }

func (t *choiceTeller) token(index, step int) error {
	ch := t.call.choices[index]
	if o := t.opening(index); step == 0 && o != nil {
		if err := t.send(o); err != nil {
			return err
		}
	}
	if step < len(ch.tokens) {
		piece := ch.tokens[step]
		if err := t.send(t.delta(index, piece, t.wanted(t.call, piece))); err != nil {
			return err
		}
	}
	if step < len(ch.tokens)-1 {
		return nil
	}
	return t.send(t.last(index, ch))
}

func (t *choiceTeller) send(choice any) error {
	t.chunk.Choices = []any{choice}
	if t.call.req.continuousUsage() {
		t.chunk.Usage = t.call.usage()
	}
	return t.es.send("", t.chunk)
}

func (t *choiceTeller) end() error {
	if t.call.req.includeUsage() {
		t.chunk.Choices, t.chunk.Usage = []any{}, t.call.usage()
		if err := t.es.send("", t.chunk); err != nil {
			return err
		}
	}
	return t.es.last("", []byte("[DONE]"))
}

// envelope is a whole answer or a chunk of a stream.
type envelope struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []any  `json:"choices"`
	Usage   *usage `json:"usage,omitempty"`
}

type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	TotalTokens      int64 `json:"total_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
}

// chat is POST /v1/chat/completions.
type chat struct{}

func (chat) names() names { return names{"chatcmpl-", "chat.completion", "chat.completion.chunk"} }

func (chat) prompts(q *request) ([]string, []string, *apiError) {
	prompt, images, err := flatten(q.Messages)
	return []string{prompt}, images, err
}

type chatChunk struct {
	Index        int       `json:"index"`
	Delta        chatDelta `json:"delta"`
	Logprobs     any       `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type chatLastChunk struct {
	chatChunk
	StopReason *string `json:"stop_reason"`
}

type chatDelta struct {
	Role    string `json:"role,omitzero"`
	Content string `json:"content"`
}

type chatChoice struct {
	Index        int         `json:"index"`
	Message      chatMessage `json:"message"`
	Logprobs     any         `json:"logprobs"`
	FinishReason string      `json:"finish_reason"`
	StopReason   *string     `json:"stop_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

func (chat) opening(index int) any {
	return chatChunk{Index: index, Delta: chatDelta{Role: "assistant"}}
}

func (chat) delta(index int, piece string, logprobs any) any {
	return chatChunk{Index: index, Delta: chatDelta{Content: piece}, Logprobs: logprobs}
}

func (chat) last(index int, c choice) any {
	return chatLastChunk{chatChunk{Index: index, FinishReason: &c.finish}, c.stop}
}

func (chat) whole(index int, c choice, logprobs any) any {
	return chatChoice{index, chatMessage{Role: "assistant", Content: c.text()}, logprobs, c.finish, c.stop}
}

type chatLogprobs struct {
	Content []tokenLogprob `json:"content"`
}

type tokenLogprob struct {
	Token       string         `json:"token"`
	Logprob     float64        `json:"logprob"`
	Bytes       []int          `json:"bytes"`
	TopLogprobs []tokenLogprob `json:"top_logprobs"`
}

// sureness is every token's invented log probability.
const sureness = -0.01

func (chat) logprobs(tokens []string) any {
	list := make([]tokenLogprob, len(tokens))
	for i, t := range tokens {
		bytes := make([]int, len(t))
		for j := range t {
			bytes[j] = int(t[j])
		}
		list[i] = tokenLogprob{t, sureness, bytes, []tokenLogprob{}}
	}
	return chatLogprobs{list}
}

// text is POST /v1/completions.
type text struct{}

func (text) names() names { return names{"cmpl-", "text_completion", "text_completion"} }

func (text) prompts(q *request) ([]string, []string, *apiError) {
	prompts := make([]string, 1)
	var err error
	if q.Prompt.Kind() == '[' {
		err = json.Unmarshal(q.Prompt, &prompts)
	} else {
		err = json.Unmarshal(q.Prompt, &prompts[0])
	}
	if err != nil || q.Prompt.Kind() == 'n' || len(prompts) == 0 {
		return nil, nil, invalidBody("1 validation error: body.prompt should be a string or a list of strings")
	}
	return prompts, nil, nil
}

type textChoice struct {
	Index        int     `json:"index"`
	Text         string  `json:"text"`
	Logprobs     any     `json:"logprobs"`
	FinishReason *string `json:"finish_reason"`
	StopReason   *string `json:"stop_reason"`
}

func (text) opening(int) any { return nil }

func (text) delta(index int, piece string, logprobs any) any {
	return textChoice{Index: index, Text: piece, Logprobs: logprobs}
}

func (text) last(index int, c choice) any {
	return textChoice{Index: index, FinishReason: &c.finish, StopReason: c.stop}
}

func (text) whole(index int, c choice, logprobs any) any {
	return textChoice{index, c.text(), logprobs, &c.finish, c.stop}
}

type textLogprobs struct {
	TextOffset    []int            `json:"text_offset"`
	TokenLogprobs []float64        `json:"token_logprobs"`
	Tokens        []string         `json:"tokens"`
	TopLogprobs   []jsontext.Value `json:"top_logprobs"`
}

func (text) logprobs(tokens []string) any {
	l := textLogprobs{Tokens: tokens}
	offset := 0
	for _, t := range tokens {
		l.TextOffset = append(l.TextOffset, offset)
		l.TokenLogprobs = append(l.TokenLogprobs, sureness)
		l.TopLogprobs = append(l.TopLogprobs, jsontext.Value("null"))
		offset += len(t)
	}
	return l
}
