package legacy

import (
	"bytes"
	"strings"
	"time"
)

const (
	defaultPrompt = "<image>\nFree OCR."
	imageToken    = "<image>"
)

// Image is one upload that the service would have accepted.
type Image struct {
	Path string // the image_path of its answer; names no file
	Data []byte // aliases the form's body
}

// OCRRequest is what POST /ocr asks for.
type OCRRequest struct {
	Image  Image
	Prompt string // as it stands in the answer; see ModelPrompt
	Format Format
}

// BatchRequest is what POST /ocr/batch asks for: at least one image, in the
// client's order.
type BatchRequest struct {
	Images []Image
	Prompt string
	Format Format
}

// ParseOCR checks a form in the service's order: is there a file, has it a
// name, is it an image by its name, can the name be kept; and then what the
// service did not ask, is the format known. Errors are *Error.
// now is the local time that the answer's image_path will show.
func (p Profile) ParseOCR(form *Form, now time.Time) (*OCRRequest, error) {
	file, ok := form.File("file")
	if !ok {
		return nil, badRequest("請求中沒有檔案部分")
	}
	if file.Name == "" {
		return nil, badRequest("未選擇檔案")
	}
	if !allowed(file.Name) {
		return nil, badRequest("不支援的檔案類型。允許的類型: png, jpg, jpeg, gif, bmp, webp")
	}
	image, err := newImage(file, now, single)
	if err != nil {
		return nil, err
	}
	format, err := p.format(form)
	if err != nil {
		return nil, err
	}
	return &OCRRequest{Image: image, Prompt: p.prompt(form, format), Format: format}, nil
}

// ParseBatch takes the files of a batch that are images by their names and
// passes over the others without a word, as the service does. Errors are
// *Error.
func (p Profile) ParseBatch(form *Form, now time.Time) (*BatchRequest, error) {
	files := form.FilesOf("files")
	if len(files) == 0 {
		return nil, badRequest("請求中沒有檔案部分")
	}
	var images []Image
	for i, file := range files { // the index counts the files that are passed over
		if !allowed(file.Name) {
			continue
		}
		image, err := newImage(file, now, i)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	if len(images) == 0 {
		return nil, badRequest("沒有有效的圖片檔案")
	}
	format, err := p.format(form)
	if err != nil {
		return nil, err
	}
	return &BatchRequest{Images: images, Prompt: p.prompt(form, format), Format: format}, nil
}

// newImage refuses a name that the service could not have saved, with the
// error that this caused there.
func newImage(file File, now time.Time, index int) (Image, error) {
	name := savedName(now, index, file.Name)
	if len(name) > maxName {
		return Image{}, Internal()
	}
	return Image{Path: "uploads/" + name, Data: file.Data}, nil
}

// Model is the name of the model that the form asks for, "" where it leaves
// that to the gateway. The service had one model; only Union takes a name.
func (p Profile) Model(form *Form) string {
	if p != Union {
		return ""
	}
	return form.Value("model")
}

// prompt is the prompt of a form as the profile shows it.
func (p Profile) prompt(form *Form, format Format) string {
	prompt := form.Value("prompt")
	if prompt == "" {
		return format.defaultPrompt()
	}
	if p == Standard && !strings.Contains(prompt, imageToken) {
		return imageToken + "\n" + prompt
	}
	return prompt
}

// ModelPrompt is a prompt without the placeholder <image>, each one's line
// break included. vLLM puts a placeholder before every prompt that has none,
// and refuses more placeholders than images. Browsers send line breaks as
// CRLF. What remains holds no placeholder, even where removing one would have
// joined the halves of another.
func ModelPrompt(prompt string) string {
	if !strings.Contains(prompt, imageToken) {
		return prompt
	}
	kept := make([]byte, 0, len(prompt))
	for i := 0; i < len(prompt); {
		kept = append(kept, prompt[i])
		i++
		if bytes.HasSuffix(kept, []byte(imageToken)) {
			kept = kept[:len(kept)-len(imageToken)]
			i += lineFeed(prompt[i:])
		}
	}
	return string(kept)
}

// lineFeed is the length of the LF or CRLF that s begins with.
func lineFeed(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"):
		return 2
	case strings.HasPrefix(s, "\n"):
		return 1
	}
	return 0
}
