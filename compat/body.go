package compat

import "io"

// Body is what is sent to a backend: pieces that are read one after the other,
// raw pieces being encoded as base64 while they are read, so that an image is
// held once whatever form it takes on the wire. A Body never changes; it can
// be read any number of times, also side by side.
type Body struct { /* pieces */
}

// Append adds bytes as they are; AppendBase64 adds bytes that are read as their standard base64 text.
func (b *Body) Append(p []byte)       { panic("skeleton") }
func (b *Body) AppendBase64(p []byte) { panic("skeleton") }

// Size is the length on the wire in bytes.
func (b *Body) Size() int64 { panic("skeleton") }

// Open returns a reader at the beginning (it should also implement io.WriterTo).
func (b *Body) Open() io.ReadCloser { panic("skeleton") }
