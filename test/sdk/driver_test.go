package sdk_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"ocrmux/test/stand"
)

// command is what a driver is told: "whole", "plain" (stream, plain iteration),
// "helper" (stream, the SDK's .stream()), "models" or "badkey".
type command struct {
	Do     string `json:"do"`
	Model  string `json:"model"`
	Image  string `json:"image"` // data URL
	Prompt string `json:"prompt"`
}

// answer is what came of it. An error is named by the class that the SDK raised.
type answer struct {
	Began   bool    `json:"began"`
	Text    *string `json:"text"`
	Error   string  `json:"error"`
	Message string  `json:"message"`
}

// driver is one SDK in use. It carries out one command at a time and calls began
// when a stream's first text arrives.
type driver interface {
	carryOut(c command, began func()) (answer, error)
}

// process is an SDK of another language, driven line by line.
type process struct {
	stdin  io.Writer
	stdout *bufio.Reader
	stderr *strings.Builder
}

func (p *process) carryOut(c command, began func()) (answer, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return answer{}, fmt.Errorf("the driver has ended: %w\n%s", err, p.stderr)
	}
	for {
		line, err := p.stdout.ReadBytes('\n')
		if err != nil {
			return answer{}, fmt.Errorf("the driver has ended: %w\n%s", err, p.stderr)
		}
		var said answer
		if err := json.Unmarshal(line, &said); err != nil {
			return answer{}, fmt.Errorf("the driver said %q: %w", line, err)
		}
		if !said.Began {
			return said, nil
		}
		began()
	}
}

// startDriver runs a driver program against the stand; it ends with the test,
// and fails the test if it did not end well.
func startDriver(t *testing.T, s *stand.Stand, name string, args ...string) driver {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "OPENAI_BASE_URL="+s.Routers[0].URL+"/v1", "OPENAI_API_KEY="+s.Key)
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // ends the driver's loop
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, stderr)
		}
	})
	return &process{stdin: stdin, stdout: bufio.NewReader(stdout), stderr: stderr}
}

func startPython(t *testing.T, s *stand.Stand) driver {
	t.Helper()
	return startDriver(t, s, stand.Repository(".venv/bin/python"), "python/driver.py")
}

func startNode(t *testing.T, s *stand.Stand) driver {
	t.Helper()
	return startDriver(t, s, stand.Repository("test/sdk/node/node_modules/.bin/node"), "node/driver.mjs")
}

// goSDK is go-openai, which has no .stream() helper.
type goSDK struct{ stand *stand.Stand }

func (g goSDK) client(key string) *openai.Client {
	config := openai.DefaultConfig(key)
	config.BaseURL = g.stand.Routers[0].URL + "/v1"
	return openai.NewClientWithConfig(config)
}

func (g goSDK) carryOut(c command, began func()) (answer, error) {
	text, err := g.ask(c, began)
	if err == nil {
		return answer{Text: &text}, nil
	}
	return answer{Error: fmt.Sprintf("%T", err), Message: err.Error()}, nil
}

func (g goSDK) ask(c command, began func()) (string, error) {
	ctx := context.Background()
	client := g.client(g.stand.Key)
	switch c.Do {
	case "whole":
		whole, err := client.CreateChatCompletion(ctx, g.question(c))
		if err != nil {
			return "", err
		}
		return whole.Choices[0].Message.Content, nil
	case "plain":
		return g.readStream(ctx, client, c, began)
	case "models":
		return listModels(ctx, client)
	case "badkey":
		return listModels(ctx, g.client(g.stand.Key[:len(g.stand.Key)-1]+"~"))
	}
	return "", fmt.Errorf("go-openai cannot %q", c.Do)
}

func (g goSDK) question(c command) openai.ChatCompletionRequest {
	return openai.ChatCompletionRequest{
		Model: c.Model,
		Messages: []openai.ChatCompletionMessage{{
			Role: openai.ChatMessageRoleUser,
			MultiContent: []openai.ChatMessagePart{
				{Type: openai.ChatMessagePartTypeText, Text: c.Prompt},
				{Type: openai.ChatMessagePartTypeImageURL, ImageURL: &openai.ChatMessageImageURL{URL: c.Image}},
			},
		}},
	}
}

func (g goSDK) readStream(ctx context.Context, client *openai.Client, c command, began func()) (string, error) {
	stream, err := client.CreateChatCompletionStream(ctx, g.question(c))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	text := ""
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text, nil // how this SDK says that all is well
		}
		if err != nil {
			return "", err
		}
		if len(chunk.Choices) == 0 || chunk.Choices[0].Delta.Content == "" {
			continue
		}
		if text == "" {
			began()
		}
		text += chunk.Choices[0].Delta.Content
	}
}

func listModels(ctx context.Context, client *openai.Client) (string, error) {
	list, err := client.ListModels(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, model := range list.Models {
		ids = append(ids, model.ID)
	}
	return strings.Join(ids, "\n"), nil
}
