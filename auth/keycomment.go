package auth

import "strings"

// comments returns the comments of a YAML text, each from its # to the end of
// its line. It follows quotes and not the blocks of | and >, whose lines it may
// take for comments.
func comments(text string) []string {
	var found []string
	var quote byte
	begins := true // a quote here begins a text, and is not a part of one
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			switch {
			case quote == '"' && c == '\\', quote == '\'' && c == quote && strings.HasPrefix(text[i+1:], "'"):
				i++
			case c == quote:
				quote = 0
			}
		case c == '#' && (i == 0 || strings.IndexByte(" \t\r\n", text[i-1]) >= 0):
			comment := text[i:]
			if end := strings.IndexAny(comment, "\r\n"); end >= 0 {
				comment = comment[:end]
			}
			found = append(found, strings.TrimRight(comment, " \t"))
			i += len(comment) - 1
		case begins && (c == '"' || c == '\''):
			quote, begins = c, false
		case strings.IndexByte(" \t", c) >= 0:
		default:
			begins = strings.IndexByte(":,[{\r\n", c) >= 0 || (c == '-' || c == '?') && strings.HasPrefix(text[i+1:], " ")
		}
	}
	return found
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") }

// indentation counts the spaces before a line's text.
func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
