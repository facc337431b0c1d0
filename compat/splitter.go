package compat

import (
	"bytes"
	"errors"
)

// maxEvent is the longest event that is waited for, in bytes.
const maxEvent = 1 << 20

// ErrEventTooLong is Feed's word on a stream whose event does not end within 1 MiB.
var ErrEventTooLong = errors.New("event of a stream exceeds 1 MiB")

// Splitter cuts a byte stream into server-sent events; the feed may be cut
// anywhere. Lines end in \n or \r\n, as those of every known backend do. The
// zero value is ready to use. After each Feed call Next until it has no more.
type Splitter struct {
	buf    []byte
	start  int // of the event that is being read
	line   int // start of its last line
	seen   int // as far as line has been searched for its end
	joined []byte
}

// Feed appends input. What Next returned before is no longer valid.
func (s *Splitter) Feed(p []byte) error {
	if s.Pending() > maxEvent {
		return ErrEventTooLong
	}
	if s.start > 0 {
		s.buf = s.buf[:copy(s.buf, s.buf[s.start:])]
		s.line -= s.start
		s.seen -= s.start
		s.start = 0
	}
	s.buf = append(s.buf, p...)
	return nil
}

// Pending is the number of bytes that wait for the end of their event. A
// stream that ends while some are left was cut.
func (s *Splitter) Pending() int { return len(s.buf) - s.start }

// Next returns the next whole event: raw is its bytes with the blank line that
// ends it; data is its data lines, joined by \n where there are several, and
// nil where it has none, as a comment. Both are valid until the next call of
// Feed, data of several lines until the next call of Next. ok is false when
// more input is needed.
func (s *Splitter) Next() (raw, data []byte, ok bool) {
	for {
		i := bytes.IndexByte(s.buf[s.seen:], '\n')
		if i < 0 {
			s.seen = len(s.buf)
			return nil, nil, false
		}
		end := s.seen + i + 1
		blank := len(trimEnd(s.buf[s.line:end])) == 0
		first := s.line == s.start
		s.line, s.seen = end, end
		switch {
		case blank && first: // nothing before it: not an event
			s.start = end
		case blank:
			raw = s.buf[s.start:end:end]
			s.start = end
			return raw, s.data(raw), true
		}
	}
}

// data joins the data lines of an event.
func (s *Splitter) data(raw []byte) []byte {
	var data []byte
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n') + 1
		value, ok := bytes.CutPrefix(trimEnd(raw[:i]), []byte("data"))
		raw = raw[i:]
		if !ok || len(value) > 0 && value[0] != ':' {
			continue
		}
		value = bytes.TrimPrefix(bytes.TrimPrefix(value, []byte(":")), []byte(" "))
		if data == nil {
			data = value
			continue
		}
		s.joined = append(append(append(s.joined[:0], data...), '\n'), value...)
		data = s.joined
	}
	return data
}

// trimEnd cuts the line end off.
func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}
