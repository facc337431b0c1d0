package compat

import "strconv"

// Answer is a finished answer of chat that the gateway writes itself, because
// it was remembered or collected.
type Answer struct {
	ID      string
	Created int64 // Unix seconds
	Model   string
	Text    string
	Finish  string // finish_reason
	Usage   Usage
}

// AppendChat appends the answer as one JSON value.
func AppendChat(b []byte, a Answer) []byte {
	b = a.appendHead(b, "chat.completion")
	b = append(b, `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	b = AppendQuoted(b, a.Text)
	b = append(b, `,"refusal":null},"logprobs":null,"finish_reason":`...)
	b = AppendQuoted(b, a.Finish)
	b = append(b, `}],"usage":`...)
	return append(a.Usage.append(b), '}')
}

// AppendChatEvents appends the answer as a stream to its end: an event with
// the role, one with the text, one with the finish reason, with usage one of
// the tokens, [DONE].
func AppendChatEvents(b []byte, a Answer, usage bool) []byte {
	delta := func(delta, text, finish string) {
		b = a.appendHead(append(b, "data: "...), "chat.completion.chunk")
		b = append(b, `,"choices":[{"index":0,"delta":{`...)
		b = append(b, delta...)
		if delta != "" {
			b = AppendQuoted(b, text)
		}
		b = append(b, `},"logprobs":null,"finish_reason":`...)
		b = append(appendOrNull(b, finish), "}]}\n\n"...)
	}
	delta(`"role":"assistant","content":`, "", "")
	delta(`"content":`, a.Text, "")
	delta("", "", a.Finish)
	if usage {
		b = a.appendHead(append(b, "data: "...), "chat.completion.chunk")
		b = a.Usage.append(append(b, `,"choices":[],"usage":`...))
		b = append(b, "}\n\n"...)
	}
	return append(b, "data: [DONE]\n\n"...)
}

// appendHead appends the members that begin every answer, without the last brace.
func (a *Answer) appendHead(b []byte, object string) []byte {
	b = AppendQuoted(append(b, `{"id":`...), a.ID)
	b = AppendQuoted(append(b, `,"object":`...), object)
	b = strconv.AppendInt(append(b, `,"created":`...), a.Created, 10)
	return AppendQuoted(append(b, `,"model":`...), a.Model)
}

func (u Usage) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"prompt_tokens":`...), int64(u.PromptTokens), 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), int64(u.CompletionTokens), 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), int64(u.TotalTokens), 10)
	if u.CachedTokens > 0 {
		b = strconv.AppendInt(append(b, `,"prompt_tokens_details":{"cached_tokens":`...), int64(u.CachedTokens), 10)
		b = append(b, '}')
	}
	return append(b, '}')
}

// KeepAlive returns an event for a silent stream that tells every client
// nothing: a delta without role or content, a text of no length. Not a
// comment, after which go-openai loses the text of an error; but responses has
// no event without a meaning, and its clients do not mind comments.
func KeepAlive(d Dialect, id, model string, created int64) []byte {
	a := Answer{ID: id, Created: created, Model: model}
	switch d {
	case Responses:
		return []byte(": keep-alive\n\n")
	case Completions:
		b := a.appendHead([]byte("data: "), "text_completion")
		return append(b, ",\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":null}]}\n\n"...)
	default:
		b := a.appendHead([]byte("data: "), "chat.completion.chunk")
		return append(b, ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n"...)
	}
}

// AppendModels appends the answer of GET /v1/models. created is in Unix seconds.
func AppendModels(b []byte, names []string, created int64) []byte {
	b = append(b, `{"object":"list","data":[`...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendModel(b, name, created)
	}
	return append(b, "]}"...)
}

// AppendModel appends the answer of GET /v1/models/{id}.
func AppendModel(b []byte, name string, created int64) []byte {
	b = AppendQuoted(append(b, `{"id":`...), name)
	b = strconv.AppendInt(append(b, `,"object":"model","created":`...), created, 10)
	return append(b, `,"owned_by":"ocrmux"}`...)
}
