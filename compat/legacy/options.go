package legacy

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// parameter is one key and its value as it stands in a header.
type parameter struct{ key, value string }

// parseOptions splits a header such as Content-Disposition into its value and
// its options, by Werkzeug's rules: an option that is not well formed is left
// out, of two with one name the last counts, names are in lower case, and
// RFC 2231's charsets (name*=) and continuations (name*0=) are undone.
func parseOptions(header string) (value string, options map[string]string) {
	value, rest, _ := strings.Cut(header, ";")
	value = strings.TrimFunc(value, isSpace)
	rest = strings.TrimFunc(rest, isSpace)
	if value == "" {
		return "", nil
	}
	collected := make(map[string][]byte) // bytes, so that many continuations stay cheap
	// A charset holds for the parameters that follow, until another is named.
	// This is Werkzeug's reading, looser than the RFC's.
	var charset, previous string
	for _, p := range splitParameters(rest) {
		key, text := p.key, p.value
		if strings.HasSuffix(key, "*") {
			key = key[:len(key)-1]
			if m := charsetValue.FindStringSubmatch(text); m != nil {
				charset, text = lowerASCII(m[1]), m[2]
			}
			if charset == "" {
				charset = previous
			}
			if isCharset(charset) {
				previous = charset
				text = unquotePercent(text, charset)
			}
		}
		text = unquote(text)
		if name, ok := continued(key); ok {
			key = name
			collected[key] = append(collected[key], text...)
			continue
		}
		collected[key] = []byte(text)
	}
	options = make(map[string]string, len(collected))
	for key, text := range collected {
		options[key] = string(text)
	}
	return value, options
}

// continued is the name of a key such as name*0 (RFC 2231, section 3).
func continued(key string) (name string, ok bool) {
	name = strings.TrimRight(key, "0123456789")
	if name == key || !strings.HasSuffix(name, "*") {
		return "", false
	}
	return name[:len(name)-1], true
}

// charsetValue is a charset, a language and a text (RFC 2231, section 4).
var charsetValue = regexp.MustCompile("^([\\w!#$%&*+\\-.^`|~]*)'[\\w!#$%&*+\\-.^`|~]*'([\\w!#$%&'*+\\-.^`|~]+)")

// splitParameters finds the options of a header, quotes still in place.
func splitParameters(rest string) []parameter {
	var found []parameter
	for {
		if key := token(rest); key != "" && strings.HasPrefix(rest[len(key):], "=") {
			rest = rest[len(key)+1:]
			value := token(rest)
			if value == "" {
				value = quoted(rest)
				rest = rest[len(value):]
			}
			if value != "" {
				found = append(found, parameter{lowerASCII(key), value})
			}
		}
		_, after, ok := strings.Cut(rest, ";")
		if !ok {
			return found
		}
		rest = strings.TrimLeftFunc(after, isSpace)
	}
}

// token is the token (RFC 9110, section 5.6.2) that s begins with.
func token(s string) string {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_!#$%&'*+-.^`|~", c) >= 0) {
			return s[:i]
		}
	}
	return s
}

// quoted is the quoted string that s begins with, quotes included, or "".
func quoted(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return ""
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return s[:i+1]
		case '\\':
			if i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == '"') {
				i++
			}
		}
	}
	return ""
}

// unquote undoes the escapes of HTTP (a backslash) and of HTML forms (%22).
func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) || !strings.HasSuffix(s, `"`) {
		return s
	}
	if len(s) < 2 { // a lone quote that was written as %22
		return ""
	}
	s = strings.ReplaceAll(s[1:len(s)-1], `\\`, `\`)
	s = strings.ReplaceAll(s, `\"`, `"`)
	return strings.ReplaceAll(s, "%22", `"`)
}

// isCharset names the charsets that Werkzeug accepts.
func isCharset(s string) bool {
	return s == "ascii" || s == "us-ascii" || s == "utf-8" || s == "iso-8859-1"
}

// unquotePercent undoes percent encoding in each run of ASCII characters.
// What is no valid escape stays.
func unquotePercent(s, charset string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var text strings.Builder
	var run []byte
	flush := func() {
		text.WriteString(decode(run, charset))
		run = run[:0]
	}
	for i := 0; i < len(s); {
		if s[i] >= utf8.RuneSelf {
			flush()
			_, n := utf8.DecodeRuneInString(s[i:])
			text.WriteString(s[i : i+n])
			i += n
			continue
		}
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			run = append(run, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 3
			continue
		}
		run = append(run, s[i])
		i++
	}
	flush()
	return text.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	if c >= 'A' {
		return c - 'A' + 10
	}
	return c - '0'
}
