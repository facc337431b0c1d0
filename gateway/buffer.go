package gateway

import (
	"math/bits"
	"sync"
)

// Bodies up to 1 MiB are read into buffers that are used again: a page's image
// is some hundreds of kilobytes, and clearing and collecting that for every
// request would cost more than reading it. Larger ones are left to the
// collector, so that memory which a flood of them has used is given back.
const (
	smallestBuffer = 4 << 10
	bufferSizes    = 9 // powers of two up to 1 MiB
)

type buffers [bufferSizes]sync.Pool

// get returns a buffer of length n, and what put wants back; nil where the
// buffer is not one of ours.
func (b *buffers) get(n int) ([]byte, *[]byte) {
	class := sizeClass(n)
	if class >= bufferSizes {
		return make([]byte, n), nil
	}
	p, _ := b[class].Get().(*[]byte)
	if p == nil {
		fresh := make([]byte, smallestBuffer<<class)
		p = &fresh
	}
	return (*p)[:n], p
}

// put takes a buffer back that nobody reads any more.
func (b *buffers) put(p *[]byte) {
	if p != nil {
		b[sizeClass(len(*p))].Put(p)
	}
}

// sizeClass is the index of the smallest buffer that holds n bytes.
func sizeClass(n int) int {
	return max(0, bits.Len(uint(max(n, 1)-1))-bits.Len(smallestBuffer-1))
}
