package legacy

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Profile is one of the service's two programs, or both at once.
type Profile uint8

const (
	// Union answers with the keys of both programs and otherwise follows App,
	// except that a text is left as the model wrote it, and that an image that
	// fails in a batch fails alone.
	Union Profile = iota
	// App is app.py.
	App
	// Standard is app_standard.py, which production ran.
	Standard
)

// ParseProfile reads the name of a profile: union, app or app_standard.
func ParseProfile(name string) (Profile, error) {
	for p := Union; p <= Standard; p++ {
		if name == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("unknown legacy profile %q: union, app or app_standard", name)
}

func (p Profile) String() string {
	switch p {
	case App:
		return "app"
	case Standard:
		return "app_standard"
	default:
		return "union"
	}
}

// service is the name under which the program reports its health.
func (p Profile) service() string {
	if p == Standard {
		return "DeepSeek-OCR API (Standard Transformers)"
	}
	return "DeepSeek-OCR API"
}

// clean is the text that a caller gets. App drops blank lines and what looks
// like the old model's console output. The others keep every line: a blank
// one separates paragraphs and tables in Markdown.
func (p Profile) clean(text string) string {
	if p != App {
		return text
	}
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimFunc(line, isSpace); trimmed != "" && !isConsole(trimmed) {
			kept = append(kept, line)
		}
	}
	return strings.TrimFunc(strings.Join(kept, "\n"), isSpace)
}

func isConsole(line string) bool {
	return strings.HasPrefix(line, "===") || strings.HasPrefix(line, "BASE:") || strings.HasPrefix(line, "PATCHES:")
}

// echoes reports whether a text is short and little but the prompt's own
// words, and the share of its distinct words that are. Standard compared
// character by character at equal positions instead; that took a short true
// text for an echo by accident and is not kept.
func echoes(text, prompt string) (share float64, echo bool) {
	if utf8.RuneCountInString(text) >= 50 {
		return 0, false
	}
	asked := words(prompt)
	answered := words(text)
	if len(answered) == 0 {
		return 0, false
	}
	common := 0
	for word := range answered {
		if asked[word] {
			common++
		}
	}
	share = float64(common) / float64(len(answered))
	return share, share > 0.7
}

func words(s string) map[string]bool {
	set := make(map[string]bool)
	for _, word := range strings.FieldsFunc(s, isSpace) {
		set[word] = true
	}
	return set
}
