package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"

	openai "github.com/sashabaranov/go-openai"
)

// GoOpenAI is sashabaranov/go-openai. It has no .stream() helper, no place for
// what is beyond the API, and tries nothing again.
type GoOpenAI struct{}

// Limits is what go-openai reads of the limit headers.
type Limits struct {
	openai.RateLimitHeaders
}

func (GoOpenAI) Do(c Command, began func()) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := openai.DefaultConfig(c.Key)
	config.BaseURL = c.BaseURL
	answer, err := goOpenAI(ctx, openai.NewClientWithConfig(config), c, began)
	if err != nil {
		answer.Error = describeGoOpenAI(err)
	}
	return answer, nil
}

func goOpenAI(ctx context.Context, api *openai.Client, c Command, began func()) (Answer, error) {
	switch c.Do {
	case Chat:
		request, err := params[openai.ChatCompletionRequest](c)
		if err != nil {
			return Answer{}, err
		}
		got, err := api.CreateChatCompletion(ctx, request)
		answer := whole(got)
		answer.RequestID = got.Header().Get("x-request-id")
		answer.Limits = &Limits{got.GetRateLimitHeaders()}
		return answer, err
	case ChatStream:
		return goOpenAIStream(ctx, api, c, began)
	case Completion:
		request, err := params[openai.CompletionRequest](c)
		if err != nil {
			return Answer{}, err
		}
		got, err := api.CreateCompletion(ctx, request)
		return whole(got), err
	case Models:
		got, err := api.ListModels(ctx)
		return whole(map[string]any{"data": got.Models}), err
	case Model:
		got, err := api.GetModel(ctx, fmt.Sprint(c.Params["model"]))
		return whole(got), err
	case Embedding:
		request, err := params[openai.EmbeddingRequest](c)
		if err != nil {
			return Answer{}, err
		}
		got, err := api.CreateEmbeddings(ctx, request)
		return whole(got), err
	}
	return Answer{}, fmt.Errorf("go-openai cannot %q", c.Do)
}

func goOpenAIStream(ctx context.Context, api *openai.Client, c Command, began func()) (Answer, error) {
	request, err := params[openai.ChatCompletionRequest](c)
	if err != nil {
		return Answer{}, err
	}
	stream, err := api.CreateChatCompletionStream(ctx, request)
	if err != nil {
		return Answer{}, err
	}
	defer stream.Close()
	r := reader{command: c, began: began}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return r.answer, nil // how this SDK says that all is well
		}
		if err != nil {
			return r.answer, err
		}
		if !r.take(chunk) {
			return r.answer, nil
		}
	}
}

func describeGoOpenAI(err error) *Error {
	described := &Error{Class: fmt.Sprintf("%T", err), Message: err.Error()}
	var api *openai.APIError
	var request *openai.RequestError
	switch {
	case errors.As(err, &api):
		described.Status, described.Type = api.HTTPStatusCode, api.Type
		if code, ok := api.Code.(string); ok {
			described.Code = code
		}
	case errors.As(err, &request):
		described.Status = request.HTTPStatusCode
	}
	return described
}
