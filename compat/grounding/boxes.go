package grounding

// readBoxes reads a list of boxes, [[x1, y1, x2, y2], …], of at least one. It
// is a Python literal that DeepSeek's scripts evaluate; here nothing passes but
// whole numbers from 0 to 999 in that form, with any blanks between them.
func readBoxes(s string) ([]Box, bool) {
	r := literal{rest: s}
	var boxes []Box
	r.want('[')
	for {
		r.want('[')
		b := Box{X1: r.number()}
		r.want(',')
		b.Y1 = r.number()
		r.want(',')
		b.X2 = r.number()
		r.want(',')
		b.Y2 = r.number()
		r.want(']')
		if boxes = append(boxes, b); r.failed || !r.has(',') {
			break
		}
	}
	r.want(']')
	r.blanks()
	return boxes, !r.failed && r.rest == ""
}

// literal reads a list from the left. Once it has failed it stays so.
type literal struct {
	rest   string
	failed bool
}

func (r *literal) blanks() {
	for r.rest != "" && (r.rest[0] == ' ' || r.rest[0] == '\n' || r.rest[0] == '\r' || r.rest[0] == '\t') {
		r.rest = r.rest[1:]
	}
}

func (r *literal) has(c byte) bool {
	r.blanks()
	if r.rest == "" || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *literal) want(c byte) { r.failed = !r.has(c) || r.failed }

// number reads 0 to 999. Python has no numbers with leading zeros.
func (r *literal) number() int {
	r.blanks()
	n, digits := 0, 0
	for digits < len(r.rest) && r.rest[digits] >= '0' && r.rest[digits] <= '9' && digits < 4 {
		n = 10*n + int(r.rest[digits]-'0')
		digits++
	}
	if digits == 0 || n > scale || (digits > 1 && r.rest[0] == '0') {
		r.failed = true
	}
	r.rest = r.rest[digits:]
	return n
}
