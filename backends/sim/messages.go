package sim

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// message is one turn of a chat; its content is a string or a list of parts.
type message struct {
	Role    string      `json:"role"`
	Content contentList `json:"content"`
}

type contentList []part

type part struct {
	Type     string   `json:"type"`
	Text     string   `json:"text"`
	ImageURL imageURL `json:"image_url"`
}

// imageURL is {"url": "..."} or, as vLLM also takes it, the string alone.
type imageURL struct {
	URL string
}

func (c *contentList) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case 'n':
		return nil
	case '"':
		*c = contentList{{Type: "text"}}
		return json.Unmarshal(b, &(*c)[0].Text)
	}
	return json.Unmarshal(b, (*[]part)(c), jsontext.AllowDuplicateNames(true))
}

func (u *imageURL) UnmarshalJSON(b []byte) error {
	if jsontext.Value(b).Kind() == '"' {
		return json.Unmarshal(b, &u.URL)
	}
	var object struct {
		URL string `json:"url"`
	}
	err := json.Unmarshal(b, &object, jsontext.AllowDuplicateNames(true))
	u.URL = object.URL
	return err
}

const placeholder = "<image>"

// flatten renders the conversation as DeepSeek-OCR's chat template does, which
// only strings the contents together, and collects the image URLs, those of
// refused conversations too.
func flatten(messages []message) (prompt string, images []string, refusal *apiError) {
	if len(messages) == 0 {
		return "", nil, invalidBody("1 validation error: body.messages field required")
	}
	var texts []string
	for _, m := range messages {
		for _, p := range m.Content {
			switch p.Type {
			case "text":
				texts = append(texts, p.Text)
			case "image_url":
				images = append(images, p.ImageURL.URL)
			default:
				refusal = badRequest("", "Unknown part type: %s", p.Type)
			}
		}
	}
	prompt = strings.Join(texts, "\n")
	switch {
	case refusal != nil:
	case !alternate(messages):
		refusal = badRequest("", "Conversation roles must alternate user/assistant/user/assistant/...")
	case len(images) > 1:
		refusal = badRequest("", "At most 1 image(s) may be provided in one prompt.")
	case strings.Count(prompt, placeholder) > len(images):
		refusal = badRequest("", "Found more '%s' placeholders in input prompt than actual multimodal data items.", placeholder)
	}
	return prompt, images, refusal
}

// alternate reports whether user and assistant take turns, beginning with the
// user, after at most one system message.
func alternate(messages []message) bool {
	if r := messages[0].Role; r == "system" || r == "developer" {
		messages = messages[1:]
	}
	for i, m := range messages {
		if m.Role != []string{"user", "assistant"}[i%2] {
			return false
		}
	}
	return len(messages) > 0
}
