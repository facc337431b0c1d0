package drivers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
)

// OpenAIGo is OpenAI's SDK for Go.
type OpenAIGo struct{}

func (OpenAIGo) Do(c Command, began func()) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var head *http.Response
	options := []option.RequestOption{
		option.WithBaseURL(c.BaseURL), option.WithAPIKey(c.Key), option.WithMaxRetries(c.Retries), option.WithResponseInto(&head),
	}
	for name, value := range c.Extra {
		options = append(options, option.WithJSONSet(name, value))
	}
	answer, err := openAIGo(ctx, openai.NewClient(options...), c, began)
	if err != nil {
		answer.Error = describeOpenAIGo(err)
	}
	if head != nil {
		answer.RequestID = head.Header.Get("x-request-id")
	}
	return answer, nil
}

func openAIGo(ctx context.Context, api openai.Client, c Command, began func()) (Answer, error) {
	switch c.Do {
	case Chat:
		return ask(c, func(p openai.ChatCompletionNewParams) (any, error) { return api.Chat.Completions.New(ctx, p) })
	case ChatStream:
		p, err := params[openai.ChatCompletionNewParams](c)
		if err != nil {
			return Answer{}, err
		}
		return follow(api.Chat.Completions.NewStreaming(ctx, p), c, began)
	case Completion:
		return ask(c, func(p openai.CompletionNewParams) (any, error) { return api.Completions.New(ctx, p) })
	case ResponseStream:
		p, err := params[responses.ResponseNewParams](c)
		if err != nil {
			return Answer{}, err
		}
		return follow(api.Responses.NewStreaming(ctx, p), c, began)
	case Models:
		list := []openai.Model{}
		pages := api.Models.ListAutoPaging(ctx)
		for pages.Next() {
			list = append(list, pages.Current())
		}
		return whole(map[string]any{"data": list}), pages.Err()
	case Model:
		got, err := api.Models.Get(ctx, fmt.Sprint(c.Params["model"]))
		return whole(got), err
	case Embedding:
		return ask(c, func(p openai.EmbeddingNewParams) (any, error) { return api.Embeddings.New(ctx, p) })
	}
	return Answer{}, fmt.Errorf("openai-go cannot %q", c.Do)
}

func ask[P any](c Command, call func(P) (any, error)) (Answer, error) {
	p, err := params[P](c)
	if err != nil {
		return Answer{}, err
	}
	got, err := call(p)
	if err != nil {
		return Answer{}, err
	}
	return whole(got), nil
}

func follow[T any](stream *ssestream.Stream[T], c Command, began func()) (Answer, error) {
	defer stream.Close()
	r := reader{command: c, began: began}
	for stream.Next() {
		if !r.take(stream.Current()) {
			return r.answer, nil
		}
	}
	return r.answer, stream.Err()
}

func describeOpenAIGo(err error) *Error {
	described := &Error{Class: fmt.Sprintf("%T", err), Message: err.Error()}
	var api *openai.Error
	var stream *ssestream.StreamError
	switch {
	case errors.As(err, &api):
		described.Status, described.Code, described.Type, described.Message = api.StatusCode, api.Code, api.Type, api.Message
	case errors.As(err, &stream):
		var event struct{ Error struct{ Code, Type string } }
		_ = json.Unmarshal(stream.Event.Data, &event) // absent in a foreign event
		described.Code, described.Type = event.Error.Code, event.Error.Type
	}
	return described
}
