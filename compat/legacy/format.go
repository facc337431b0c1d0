package legacy

import (
	"encoding/json"
	"strconv"

	"ocrmux/compat/grounding"
)

// Format is the form in which a caller wants the text. The service knew none;
// only Union takes one.
type Format uint8

const (
	Text     Format = iota // as the model wrote it
	Markdown               // without the model's tags
	JSON                   // that, and what the tags say beside it
)

const groundingPrompt = imageToken + "\n<|grounding|>Convert the document to markdown."

// format reads a form's field of that name.
func (p Profile) format(form *Form) (Format, error) {
	if p != Union {
		return Text, nil
	}
	switch form.Value("format") {
	case "", "text":
		return Text, nil
	case "markdown":
		return Markdown, nil
	case "json":
		return JSON, nil
	}
	return Text, badRequest("不支援的格式。允許的格式: text, markdown, json")
}

// defaultPrompt is what is asked where the caller asks nothing.
func (f Format) defaultPrompt() string {
	if f == Text {
		return defaultPrompt
	}
	return groundingPrompt
}

// render makes of what the model wrote the text of the answer, and for JSON
// the members that stand beside it. An output that is not well-formed grounding
// is shown all the same, as a text.
func (f Format) render(page Page, output string) (text string, more object) {
	if f == Text {
		return output, nil
	}
	blocks, ok := grounding.Parse(output)
	if ok {
		text = grounding.Text(blocks)
	} else {
		text = grounding.Strip(output)
	}
	if f == JSON {
		more = object{
			"grounding": groundingJSON(page, blocks),
			"image":     object{"width": page.Width, "height": page.Height},
		}
	}
	return text, more
}

// groundingJSON is null where there are no blocks.
func groundingJSON(page Page, blocks []grounding.Block) json.RawMessage {
	if blocks == nil {
		return json.RawMessage("null")
	}
	list := []byte{'['}
	for i, block := range blocks {
		if i > 0 {
			list = append(list, ',')
		}
		list = object{"boxes": boxesJSON(page, block.Boxes), "label": block.Label, "text": block.Text}.append(list)
	}
	return append(list, ']')
}

func boxesJSON(page Page, boxes []grounding.Box) json.RawMessage {
	list := []byte{'['}
	for i, box := range boxes {
		if i > 0 {
			list = append(list, ',')
		}
		for j, v := range box.Pixels(page.Width, page.Height) {
			list = strconv.AppendInt(append(list, "[,,,"[j]), int64(v), 10)
		}
		list = append(list, ']')
	}
	return append(list, ']')
}

// Warning is a doubt about a text, which Union tells beside it.
type Warning uint8

const (
	NoWarning Warning = iota
	Truncated         // the answer was ended by its length
	Looping           // the model began to repeat itself
)

func (w Warning) text() string {
	switch w {
	case Truncated:
		return "truncated: 文字達到長度上限而中斷，結尾可能不完整"
	case Looping:
		return "looping: 模型重複輸出相同內容，文字可能不正確或不完整"
	}
	return ""
}
