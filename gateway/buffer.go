package gateway

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// Bodies are read into buffers that are used again: clearing and collecting some
// hundreds of kilobytes for every page would cost more than reading them, and of
// large ones several times the memory for bodies would pile up before the
// collector begins. What a flood has used is given back after two collections
// without it.
const (
	smallestBuffer = 4 << 10
	smallSizes     = 9 // powers of two up to 1 MiB,
	largeSizes     = 63
	largeUnit      = 1 << 20 // then multiples of 1 MiB up to 64
)

type buffers struct {
	pools   [smallSizes + largeSizes]sync.Pool
	garbage atomic.Int64 // bytes made anew from one collection to the next
	made    atomic.Int64 // of these, made so far
}

// get returns a buffer of length n, and what put wants back; nil where the
// buffer is not one of ours.
func (b *buffers) get(n int) ([]byte, *[]byte) {
	class := sizeClass(n)
	if class >= len(b.pools) {
		return b.make(n), nil
	}
	p, _ := b.pools[class].Get().(*[]byte)
	if p == nil {
		fresh := b.make(classSize(class))
		p = &fresh
	}
	return (*p)[:n], p
}

// put takes a buffer back that nobody reads any more.
func (b *buffers) put(p *[]byte) {
	if p != nil {
		b.pools[sizeClass(len(*p))].Put(p)
	}
}

// make returns new memory. Sizes that differ all the time leave garbage instead
// of buffers to use again: it is collected before it has become much. Bodies hold
// no pointers, so that this costs little next to reading them.
func (b *buffers) make(n int) []byte {
	if made := b.made.Add(int64(n)); made > b.garbage.Load() && b.made.CompareAndSwap(made, int64(n)) {
		runtime.GC()
	}
	return make([]byte, n)
}

// sizeClass is the index of the smallest buffer that holds n bytes.
func sizeClass(n int) int {
	if n > largeUnit {
		return smallSizes + (n-1)/largeUnit - 1
	}
	return max(0, bits.Len(uint(max(n, 1)-1))-bits.Len(smallestBuffer-1))
}

// classSize is the length of the buffers of a class.
func classSize(class int) int {
	if class >= smallSizes {
		return (class - smallSizes + 2) * largeUnit
	}
	return smallestBuffer << class
}
