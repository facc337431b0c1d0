package usage

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// line is a record in the journal: one line of JSON, whose first member is the
// CRC-32C of what follows it, up to the end of the line.
//
//	{"crc":"1b2c3d4e","id":"9f86d081884c7d65-17","period":"2026-11-22","tenant":"acme",…,"images":3}
type line struct {
	// ID is unique: the name of the pen, and the line's number, which grows.
	ID     string `json:"id"`
	Period string `json:"period"`
	Who
	Counts
}

const (
	// lineStart stands nowhere else in a line: inside a string its quotes would
	// be escaped. So what follows damage is found again.
	lineStart = `{"crc":"`
	sumDigits = 2 * crc32.Size
	sumEnd    = `",`
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pen writes lines and numbers them.
type pen struct {
	name   string // unique
	number uint64 // of the last line
}

func newPen() *pen {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return &pen{name: hex.EncodeToString(random[:])}
}

// lines returns records as text.
func (p *pen) lines(records []record) []byte {
	var text []byte
	for i := range records {
		text = p.append(text, &records[i])
	}
	return text
}

func (p *pen) append(text []byte, r *record) []byte {
	p.number++
	object, err := json.Marshal(line{
		ID:     p.name + "-" + strconv.FormatUint(p.number, 10),
		Period: r.period.String(),
		Who:    r.who,
		Counts: r.counts,
	})
	if err != nil {
		panic(err) // strings and integers can always be written
	}
	rest := object[1:] // without the brace
	text = append(text, lineStart...)
	text = fmt.Appendf(text, "%0*x", sumDigits, crc32.Checksum(rest, castagnoli))
	text = append(text, sumEnd...)
	text = append(text, rest...)
	return append(text, '\n')
}

// parseLine reads a line without its end.
func parseLine(text []byte) (l line, ok bool) {
	sum, found := bytes.CutPrefix(text, []byte(lineStart))
	if !found || len(sum) < sumDigits {
		return l, false
	}
	rest, found := bytes.CutPrefix(sum[sumDigits:], []byte(sumEnd))
	want, err := strconv.ParseUint(string(sum[:sumDigits]), 16, 32)
	if !found || err != nil || crc32.Checksum(rest, castagnoli) != uint32(want) {
		return l, false
	}
	return l, json.Unmarshal(text, &l) == nil
}

// findLine reads the first line that begins anywhere in text and goes to its
// end. Where a line lost its end to damage, the next one is found so.
func findLine(text []byte) (l line, whole, ok bool) {
	if l, ok := parseLine(text); ok {
		return l, true, true
	}
	for {
		next := bytes.Index(text[min(1, len(text)):], []byte(lineStart))
		if next < 0 {
			return line{}, false, false
		}
		text = text[1+next:]
		if l, ok := parseLine(text); ok {
			return l, false, true
		}
	}
}

// record returns what l says, and the pen and number of its ID.
func (l *line) record() (r record, pen string, number uint64, err error) {
	period, err := parsePeriod(l.Period)
	if err != nil {
		return record{}, "", 0, err
	}
	pen, digits, _ := strings.Cut(l.ID, "-")
	number, err = strconv.ParseUint(digits, 10, 64)
	return record{period: period, who: l.Who, counts: l.Counts}, pen, number, err
}
