package compat

import (
	"bytes"
	"hash/maphash"
)

// span is a piece of the scanned text, or, with offsets beyond its end, of the
// unescaped names kept behind it. The text is below 2 GiB, see Parse.
type span struct{ start, end uint32 }

// names holds the member names of all objects that the scanner is inside of,
// as spans, so that those of an ordinary request cost no allocation and those
// of the worst about as much as its body.
type names struct {
	spans     []span
	unescaped []byte
	first     [24]span // where spans begins: enough for an ordinary request
	seed      maphash.Seed
}

// objectNames are those of one object: spans from base on, and once they are
// many a hash table of their indices (plus one; 0 is a free place).
type objectNames struct {
	base      int
	unescaped int
	table     []uint32
}

// fewNames are compared one by one; it is quicker than hashing them.
const fewNames = 16

func (n *names) open() objectNames {
	if n.spans == nil {
		n.spans = n.first[:0]
	}
	return objectNames{base: len(n.spans), unescaped: len(n.unescaped)}
}

func (n *names) close(o objectNames) {
	n.spans = n.spans[:o.base]
	n.unescaped = n.unescaped[:o.unescaped]
}

// add takes the next name of o and returns it unescaped. fresh is false where
// o has it already.
func (n *names) add(o *objectNames, data []byte, at span, escaped bool) (name []byte, fresh bool) {
	if escaped {
		start := len(n.unescaped)
		n.unescaped = AppendText(n.unescaped, data[at.start:at.end])
		at = span{uint32(len(data) + start), uint32(len(data) + len(n.unescaped))}
	}
	name = n.bytes(data, at)
	if len(n.spans)-o.base < fewNames {
		for _, other := range n.spans[o.base:] {
			if int(other.end-other.start) == len(name) && bytes.Equal(n.bytes(data, other), name) {
				return nil, false
			}
		}
		n.spans = append(n.spans, at)
		return name, true
	}
	return name, n.hash(o, data, at)
}

// hash is add for an object of many names.
func (n *names) hash(o *objectNames, data []byte, at span) (fresh bool) {
	n.spans = append(n.spans, at)
	if count := len(n.spans) - o.base; count*2 > len(o.table) {
		if o.table == nil && n.seed == (maphash.Seed{}) {
			n.seed = maphash.MakeSeed()
		}
		o.table = make([]uint32, max(8*fewNames, 2*len(o.table)))
		for i := range count - 1 {
			n.insert(o, data, i)
		}
	}
	return n.insert(o, data, len(n.spans)-o.base-1)
}

func (n *names) insert(o *objectNames, data []byte, index int) bool {
	name := n.bytes(data, n.spans[o.base+index])
	mask := uint64(len(o.table) - 1)
	for h := maphash.Bytes(n.seed, name) & mask; ; h = (h + 1) & mask {
		if o.table[h] == 0 {
			o.table[h] = uint32(index + 1)
			return true
		}
		if bytes.Equal(name, n.bytes(data, n.spans[o.base+int(o.table[h])-1])) {
			return false
		}
	}
}

func (n *names) bytes(data []byte, s span) []byte {
	if start := int(s.start) - len(data); start >= 0 {
		return n.unescaped[start : int(s.end)-len(data)]
	}
	return data[s.start:s.end]
}
