package legacy

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"strings"

	"ocrmux/compat"
)

// ParseUpload is ParseForm, and in Union also takes a JSON object in place of a
// form: its string "image", in base64 or as a data URL, becomes the file of
// field, and its other strings the values. JSON without such a string is an
// empty form, as the service saw it. The image is decoded where it stands: body
// holds it once, and is no JSON any more.
func (p Profile) ParseUpload(contentType string, body []byte, field string) (*Form, error) {
	kind, _ := parseOptions(decodeLatin1([]byte(contentType)))
	if p != Union || lowerASCII(kind) != "application/json" {
		return ParseForm(contentType, body)
	}
	members, err := compat.Members(body)
	if err != nil {
		return &Form{}, nil
	}
	at := slices.IndexFunc(members, func(m compat.Member) bool { return m.Name == "image" })
	if at < 0 || members[at].Value[0] != '"' {
		return &Form{}, nil
	}
	form := &Form{}
	for _, m := range members {
		if m.Name != "prompt" && m.Name != "format" && m.Name != "model" || string(m.Value) == "null" {
			continue
		}
		if m.Value[0] != '"' {
			return nil, badRequest(m.Name + " 必須是字串")
		}
		form.Values = append(form.Values, Value{Name: m.Name, Data: unquoteJSON(m.Value)})
	}
	image, ok := decodeImage(unquoteJSON(members[at].Value))
	if !ok {
		return nil, badRequest("image 必須是 base64 或 data URL")
	}
	form.Files = []File{{Field: field, Name: imageName(image), Data: image}}
	return form, nil
}

// unquoteJSON returns the text of a JSON string, written over the string where
// it has escapes: a text is never longer than its JSON.
func unquoteJSON(value []byte) []byte {
	text := value[1 : len(value)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		text = compat.AppendText(text[:0], text)
	}
	return text
}

// decodeImage decodes base64, or that of a data URL, over itself. Line breaks
// in it are passed over.
func decodeImage(text []byte) (image []byte, ok bool) {
	if bytes.HasPrefix(text, []byte("data:")) {
		head, rest, _ := bytes.Cut(text, []byte(","))
		if !bytes.HasSuffix(head, []byte(";base64")) {
			return nil, false
		}
		text = rest
	}
	// The decoder reads ahead of what it gives out, into a buffer of its own.
	decoder, n := base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)), 0
	for n < len(text) { // three bytes for four: the end comes first
		m, err := decoder.Read(text[n:])
		n += m
		if err != nil {
			return text[:n], n > 0 && err == io.EOF
		}
	}
	return nil, false
}

// imageName stands for the file name that JSON does not give: one that the
// image's content deserves, and that passes where the content is unknown.
func imageName(data []byte) string {
	mime, _, _, _ := compat.Sniff(data) // whoever reads the image will see what is wrong with it
	if _, subtype, found := strings.Cut(mime, "/"); found {
		return "image." + subtype
	}
	return "image.png"
}
