package compat

import (
	"encoding/base64"
	"io"
)

// Body is what is sent to a backend: pieces that are read one after the other,
// raw pieces being encoded as base64 while they are read, so that an image is
// held once whatever form it takes on the wire. Once it is built a Body does
// not change, nor may the bytes it was given; it can be read any number of
// times, also side by side. The zero value is an empty body.
type Body struct {
	pieces []piece
	size   int64
}

type piece struct {
	data   []byte
	encode bool // data is read as its base64 text
}

// Append adds bytes as they are. p is kept, not copied.
func (b *Body) Append(p []byte) {
	if len(p) > 0 {
		b.pieces = append(b.pieces, piece{data: p})
		b.size += int64(len(p))
	}
}

// AppendBase64 adds bytes that are read as their standard base64 text, padded
// at the end of the piece. p is kept, not copied.
func (b *Body) AppendBase64(p []byte) {
	if len(p) > 0 {
		b.pieces = append(b.pieces, piece{data: p, encode: true})
		b.size += int64(base64.StdEncoding.EncodedLen(len(p)))
	}
}

// Size is the length on the wire in bytes.
func (b *Body) Size() int64 { return b.size }

// Open returns a reader at the beginning. It is also an io.WriterTo. Closing
// it does nothing.
func (b *Body) Open() io.ReadCloser { return &bodyReader{pieces: b.pieces} }

type bodyReader struct {
	pieces []piece // what is left
	offset int     // bytes of the first piece that have been read
	carry  [4]byte // base64 that did not fit the last Read
	left   int     // bytes of carry still to be read, at its end
}

func (r *bodyReader) Close() error { return nil }

func (r *bodyReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.left > 0 {
			m := copy(p[n:], r.carry[4-r.left:])
			n, r.left = n+m, r.left-m
			continue
		}
		room := p[n:]
		data, encode := r.next(len(room))
		switch {
		case data == nil && n == 0:
			return 0, io.EOF
		case data == nil:
			return n, nil
		case !encode:
			n += copy(room, data)
		case len(room) < 4:
			base64.StdEncoding.Encode(r.carry[:], data)
			r.left = 4
		default:
			base64.StdEncoding.Encode(room, data)
			n += base64.StdEncoding.EncodedLen(len(data))
		}
	}
	return n, nil
}

// WriteTo writes pieces as they are where it can, and base64 in blocks.
func (r *bodyReader) WriteTo(w io.Writer) (total int64, err error) {
	const block = 16 << 10
	var text []byte
	if r.left > 0 {
		n, err := w.Write(r.carry[4-r.left:])
		r.left -= n
		if total += int64(n); err != nil {
			return total, err
		}
	}
	for len(r.pieces) > 0 {
		room := block
		if !r.pieces[0].encode {
			room = len(r.pieces[0].data)
		}
		data, encode := r.next(room)
		if encode {
			text = base64.StdEncoding.AppendEncode(text[:0], data)
			data = text
		}
		n, err := w.Write(data)
		if total += int64(n); err != nil {
			return total, err
		}
	}
	return total, nil
}

// next takes the next bytes that fill at most room bytes on the wire, or one
// group of base64 where not even that fits. It returns nil at the end.
func (r *bodyReader) next(room int) (data []byte, encode bool) {
	if len(r.pieces) == 0 {
		return nil, false
	}
	first := r.pieces[0]
	n := room
	if first.encode {
		n = max(room/4, 1) * 3
	}
	data = first.data[r.offset:]
	if n < len(data) {
		r.offset += n
		return data[:n], first.encode
	}
	r.pieces, r.offset = r.pieces[1:], 0
	return data, first.encode
}
