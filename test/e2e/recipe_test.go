package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"ocrmux/test/pages"
	"ocrmux/test/stand"
)

// go-openai can send neither a temperature of 0 nor vllm_xargs nor
// skip_special_tokens. The recipe gives its users the text of those who send
// them all; without the recipe they would get another.
func TestRecipe_GivesGoUsersTheTextOfThoseWhoCanAskForIt(t *testing.T) {
	s := stand.New(t, stand.Options{
		Sim:    []string{"-speed", "1000", "-tokens", "200"},
		Config: "cache: {max_bytes: 0}\nlegacy: {model: " + stand.Model + "}",
		Models: fmt.Sprintf("bare: {pool: main, served_as: %s}", stand.Model),
	})
	const prompt = "<|grounding|>Convert the document to markdown." // its tags are special tokens
	drawn, err := pages.Random(1, pages.English)
	if err != nil {
		t.Fatal(err)
	}
	p := page{png: drawn.PNG()}
	c := newClient(t, s.Routers[0].URL, s.Key)
	res, err := c.post(t.Context(), "/v1/chat/completions", "application/json", chatBody(p, prompt,
		`,"temperature":0,"skip_special_tokens":false,"vllm_xargs":{"ngram_size":30,"window_size":90,"whitelist_token_ids":[128821,128822]}`))
	if err != nil {
		t.Fatal(err)
	}
	var full struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal(res.body, &full); err != nil {
		t.Fatal(err)
	}
	config := openai.DefaultConfig(s.Key)
	config.BaseURL = s.Routers[0].URL + "/v1"
	ask := func(model string) string {
		answer, err := openai.NewClientWithConfig(config).CreateChatCompletion(t.Context(), openai.ChatCompletionRequest{
			Model: model,
			Messages: []openai.ChatCompletionMessage{{Role: "user", MultiContent: []openai.ChatMessagePart{
				{Type: openai.ChatMessagePartTypeText, Text: prompt},
				{Type: openai.ChatMessagePartTypeImageURL, ImageURL: &openai.ChatMessageImageURL{URL: "data:image/png;base64," + base64.StdEncoding.EncodeToString(p.png)}},
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Choices[0].Message.Content
	}
	want := full.Choices[0].Message.Content
	if got := ask(stand.Model); got != want {
		t.Errorf("with the recipe:\n got %q\nwant %q", got, want)
	}
	if got := ask("bare"); got == want {
		t.Error("the settings make no difference on this page, so this test shows nothing")
	}
}
