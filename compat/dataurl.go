package compat

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Image is one image of a request: what it holds and what its own header says.
// It came as a data URL, or as an http(s) URL, of which nothing but URL and Param
// is known until Embed.
type Image struct {
	MIME          string    // "image/png", as sniffed, not as claimed
	Base64        []byte    // of a data URL: valid standard base64, padded; a span of the body, or a copy where the body had escapes in it
	Width, Height int       // pixels
	URL           string    // http or https; "" for a data URL
	Param         string    // where URL stands in the body, for an error
	Raw           []byte    // what was found at URL, see Embed
	Sum           *[32]byte // by Rules.Sum, of what Base64 stands for; nil where it was not asked for

	span span // of the string that holds URL in the body, quotes included
}

// Embed gives an image that came as an http(s) URL the bytes that were found
// there. Rewrite puts them into the body in place of the URL; raw is kept, not
// copied. Errors are those of an image in a data URL.
func (r *Request) Embed(i int, raw []byte) error {
	image := &r.Images[i]
	mime, width, height, err := Sniff(raw)
	if problem := imageProblem(mime, width, height, err); problem != nil {
		problem.Param = image.Param
		return problem
	}
	image.MIME, image.Width, image.Height, image.Raw = mime, width, height, raw
	return nil
}

// Written is the image as it stands in the body: its base64, or its URL with the
// quotes around it.
func (r *Request) Written(i int) []byte {
	if image := &r.Images[i]; image.URL != "" {
		return r.object.body[image.span.start:image.span.end]
	}
	return r.Images[i].Base64
}

// dataURL reads a string that is likely an image's data URL. header and run
// are the lengths of its header and of the base64 behind that. The text, nearly
// all of the request, is looked at once only: what is base64 is also plain.
func (p *requestReader) dataURL() (url []byte, header, run int, err error) {
	start := p.pos + 1
	measure := func(url []byte) {
		if header = dataHeader(url); header > 0 {
			run = p.base64(url[header:])
		}
	}
	measure(p.data[start:])
	p.pos = start + header + run
	url, escaped, err := p.textFrom(start)
	if escaped && err == nil { // PHP writes every slash as \/
		url = AppendText(nil, url)
		measure(url)
	}
	return url, header, run, err
}

// base64 counts the leading bytes of rest that are of the standard alphabet, and
// has the image named where that is wanted. What can be decoded is base64, so
// that naming an image spares counting the text byte by byte.
func (p *requestReader) base64(rest []byte) (run int) {
	p.sum = nil
	if p.rules.Sum == nil || len(p.request.Images) > 0 {
		return base64Run(rest)
	}
	text := rest
	if end := bytes.IndexByte(rest, '"'); end >= 0 {
		text = rest[:end]
	}
	sum, err := p.rules.Sum(text)
	if err != nil || bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return base64Run(rest) // decoders skip line breaks, which no JSON string holds
	}
	p.sum = &sum
	return len(bytes.TrimRight(text, "="))
}

// dataHeader is the length of the data:image/<subtype>;base64, at the start of
// url, in the one form that vLLM takes, and 0 where there is another.
func dataHeader(url []byte) int {
	const prefix, suffix = "data:image/", ";base64,"
	if !bytes.HasPrefix(url, []byte(prefix)) {
		return 0
	}
	end := len(prefix)
	for end < len(url) && end < 80 && subtype(url[end]) {
		end++
	}
	if end == len(prefix) || !bytes.HasPrefix(url[end:], []byte(suffix)) {
		return 0
	}
	return end + len(suffix)
}

// subtype reports whether c may stand in a type like png, x-ms-bmp or svg+xml.
func subtype(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.'
}

// readDataURL looks at the image of a data URL as dataURL returned it. The
// error's Param is left to the caller.
func readDataURL(url []byte, header, run int) (Image, *Error) {
	if header == 0 {
		return Image{}, notDataURL(url)
	}
	text := url[header:]
	padding := text[run:]
	if run == 0 || len(text)%4 != 0 || len(padding) > 2 || !bytes.Equal(padding, []byte("==")[:len(padding)]) {
		return Image{}, Invalid("", "invalid_base64", "Invalid image URL: its data is not valid base64 (standard alphabet, padded, no line breaks).")
	}
	var head [18]byte
	n, _ := base64.StdEncoding.Decode(head[:], text[:min(len(text), 24)]) // valid, as was just seen
	mime, width, height, err := sniff(head[:n], func() io.Reader {
		return base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text))
	})
	if problem := imageProblem(mime, width, height, err); problem != nil {
		return Image{}, problem
	}
	return Image{MIME: mime, Base64: text, Width: width, Height: height}, nil
}

// imageProblem turns what Sniff says into an error for the client.
func imageProblem(mime string, width, height int, err error) *Error {
	switch {
	case errors.Is(err, ErrImageTooLarge):
		return Invalid("", "image_too_large", fmt.Sprintf("The image is too large: %d by %d pixels. At most %d pixels and %d a side are accepted.", width, height, MaxPixels, MaxSide))
	case mime == "":
		return Invalid("", "invalid_image_format", "You uploaded an unsupported image. Please make sure your image is of one of the following formats: ['png', 'jpeg', 'gif', 'webp', 'bmp'].")
	case err != nil:
		return Invalid("", "image_parse_error", "The image data you provided does not represent a valid image. Please check your input and try again.")
	}
	return nil
}

// maxURL is the longest URL that is fetched, in bytes.
const maxURL = 4 << 10

// isRemote reports whether url is one to be fetched.
func isRemote(url []byte) bool { return hasScheme(url, "http:") || hasScheme(url, "https:") }

// notDataURL says what is wrong with a URL that is no image's data URL.
func notDataURL(url []byte) *Error {
	message := "Invalid image URL: it must begin with data:image/."
	switch {
	case bytes.HasPrefix(url, []byte("data:image/")):
		message = "Invalid image URL: it must have the form data:image/<type>;base64,<data>, without other parameters."
	case isRemote(url) && len(url) > maxURL:
		message = fmt.Sprintf("Invalid image URL: it is longer than %d bytes.", maxURL)
	case isRemote(url):
		message = "Image URLs are not fetched by this server. Send the image itself as a data URL (data:image/png;base64,...), or ask the operator to switch fetching on (images.fetch in the configuration)."
	}
	return Invalid("", "invalid_image_url", message)
}

func hasScheme(url []byte, scheme string) bool {
	return len(url) >= len(scheme) && bytes.EqualFold(url[:len(scheme)], []byte(scheme))
}
