package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// A record is one result in a segment, numbers little-endian:
//
//	 0  4  recordMagic
//	 4  4  length of the value
//	 8  2  length of the tenant's name
//	10  2  length of the model's name
//	12  8  when it was stored, in nanoseconds since 1970
//	20 32  key
//	52 16  sum of the key and the value
//	68 16  sum of all the above and of both names
//	84     tenant, model, value, zeros up to a multiple of block
//
// Both sums begin with the segment's seal, which nobody outside knows, and the
// second with the record's place: bytes that somebody got a model to write are
// never taken for a record, nor is a record that stands where it was not put.
const (
	block      = 512 // a damaged record costs itself: the next one is looked for at every block
	headSize   = 84
	valueSumAt = 52
	headSumAt  = 68

	recordMagic = 0x3152434f // "OCR1"
)

type (
	sum  = [16]byte // SHA-256, its first half: damage and chance never meet it
	seal = [16]byte
)

// head is what a record says of its value. It fits into one block.
type head struct {
	key      Key
	label    label
	stored   time.Time
	valueLen int
	valueSum sum
}

// length is what the record takes in its segment.
func (h *head) length() int64 {
	n := int64(headSize + len(h.label.tenant) + len(h.label.model) + h.valueLen)
	return (n + block - 1) / block * block
}

// valueAt is where the value begins in the record.
func (h *head) valueAt() int { return headSize + len(h.label.tenant) + len(h.label.model) }

func headOf(k Key, e *entry) *head {
	return &head{key: k, label: e.label.Value(), stored: e.stored, valueLen: len(e.value)}
}

// appendRecord appends the record of value that will stand at offset in a
// segment sealed with s.
func appendRecord(b []byte, s seal, offset int64, h *head, value []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, recordMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.label.tenant)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.label.model)))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.stored.UnixNano()))
	b = append(b, h.key[:]...)
	valueSum := sumValue(s, h.key, value)
	b = append(b, valueSum[:]...)
	headSum := sumHead(s, offset, b[start:], h.label)
	b = append(b, headSum[:]...)
	b = append(b, h.label.tenant...)
	b = append(b, h.label.model...)
	b = append(b, value...)
	return append(b, make([]byte, h.length()-int64(len(b)-start))...)
}

// parseHead reads the head of the record that stands at offset. It is not ok
// where b does not begin with one, or with a damaged one.
func parseHead(b []byte, s seal, offset int64) (h head, ok bool) {
	if len(b) < headSize || binary.LittleEndian.Uint32(b) != recordMagic {
		return h, false
	}
	tenant, model := int(binary.LittleEndian.Uint16(b[8:])), int(binary.LittleEndian.Uint16(b[10:]))
	if headSize+tenant+model > len(b) {
		return h, false
	}
	h.valueLen = int(binary.LittleEndian.Uint32(b[4:]))
	h.label.tenant = string(b[headSize : headSize+tenant])
	h.label.model = string(b[headSize+tenant : headSize+tenant+model])
	h.stored = time.Unix(0, int64(binary.LittleEndian.Uint64(b[12:])))
	h.key = Key(b[20:valueSumAt])
	h.valueSum = sum(b[valueSumAt:headSumAt])
	return h, sumHead(s, offset, b[:headSumAt], h.label) == sum(b[headSumAt:headSize])
}

// parseRecord reads the whole record that stands at offset; its value is a part of b.
func parseRecord(b []byte, s seal, offset int64) (h head, value []byte, ok bool) {
	h, ok = parseHead(b[:min(block, len(b))], s, offset)
	if !ok || h.length() != int64(len(b)) {
		return h, nil, false
	}
	value = b[h.valueAt() : h.valueAt()+h.valueLen]
	return h, value, sumValue(s, h.key, value) == h.valueSum
}

func sumValue(s seal, k Key, value []byte) sum {
	d := sha256.New()
	d.Write(s[:])
	d.Write(k[:])
	d.Write(value)
	return firstHalf(d)
}

func sumHead(s seal, offset int64, fixed []byte, l label) sum {
	d := sha256.New()
	d.Write(s[:])
	d.Write(binary.LittleEndian.AppendUint64(nil, uint64(offset)))
	d.Write(fixed) // says how long both names are
	d.Write([]byte(l.tenant))
	d.Write([]byte(l.model))
	return firstHalf(d)
}

func firstHalf(d hash.Hash) sum {
	var whole [sha256.Size]byte
	d.Sum(whole[:0])
	return sum(whole[:16])
}
