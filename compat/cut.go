package compat

import "bytes"

// Cut returns the bytes that end a stream of chat or completions as its length
// would: an event with finish_reason "length", and [DONE]. The event is made
// like last, the last one before it, which is given as it came.
func Cut(d Dialect, last []byte) []byte {
	b := append([]byte(nil), "data: {"...)
	s := scanner{lax: true}
	if start := bytes.IndexByte(last, '{'); start >= 0 {
		s.data = last[start:]
	}
	_ = s.object(func(name []byte) error { // it was parsed already; what follows the object is left alone
		known, start := string(name), s.pos
		if err := s.skip(); err != nil {
			return err
		}
		switch known {
		case "id", "object", "created", "model":
			b = append(AppendQuoted(b, known), ':')
			b = append(append(b, s.data[start:s.pos]...), ',')
		}
		return nil
	})
	if d == Completions {
		b = append(b, `"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}]}`...)
	} else {
		b = append(b, `"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}`...)
	}
	return append(b, "\n\ndata: [DONE]\n\n"...)
}
