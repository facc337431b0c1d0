package cache

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// A segment is a file that records are appended to until it is full, and that
// is removed as a whole when room is needed. It begins with one block:
//
//	 0  8  segmentMagic; another version of the format has another one
//	 8 16  the seal, drawn by chance
//	24 16  sum of both
type segment struct {
	id   uint32
	file *os.File
	seal seal
	size int64 // bytes written; changed by the one who writes
}

const (
	segmentMagic = "ocrmux\x001"
	// maxSegment keeps offsets within 32 bits.
	maxSegment = 1 << 30
)

// errForeign says that a file is not a segment of this version, or that its
// first block is damaged.
var errForeign = errors.New("not a segment of this version, or damaged at its beginning")

func segmentName(id uint32) string { return fmt.Sprintf("%08x.results", id) }

// createSegment makes an empty segment. What lies in it is what tenants'
// documents say, so nobody else may read it.
func createSegment(path string, id uint32) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{id: id, file: f, size: block}
	rand.Read(s.seal[:])
	first := append([]byte(segmentMagic), s.seal[:]...)
	check := sha256.Sum256(first)
	first = append(first, check[:16]...)
	if _, err := f.Write(append(first, make([]byte, block-len(first))...)); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// openSegment opens an existing segment; errForeign where it is none.
func openSegment(path string, id uint32) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{id: id, file: f}
	if err := s.readFirst(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *segment) readFirst() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	first := make([]byte, block)
	if !info.Mode().IsRegular() || info.Size() < block {
		return errForeign
	}
	if _, err := s.file.ReadAt(first, 0); err != nil {
		return err
	}
	check := sha256.Sum256(first[:24])
	if string(first[:8]) != segmentMagic || sum(first[24:40]) != sum(check[:16]) {
		return errForeign
	}
	s.seal, s.size = seal(first[8:24]), info.Size()
	return nil
}

// records tells visit of every whole record, in the order in which they were
// written, and returns where the last one ends. What is no record, because it
// was damaged, erased or never finished, is passed over block by block.
func (s *segment) records(visit func(offset int64, h *head)) (end int64, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, block, s.size-block), 256<<10)
	end = block
	for at := end; at+block <= s.size; {
		b, err := r.Peek(block)
		if err != nil {
			return end, err
		}
		step := int64(block)
		if h, ok := parseHead(b, s.seal, at); ok && at+h.length() <= s.size {
			visit(at, &h)
			step = h.length()
			end = at + step
		}
		if _, err := r.Discard(int(step)); err != nil {
			return end, err
		}
		at += step
	}
	return end, nil
}

var zeros [64 << 10]byte

// erase overwrites a record: what it said is gone, and it is never found again.
func (s *segment) erase(offset, length int64) error {
	for length > 0 {
		n := min(length, int64(len(zeros)))
		if _, err := s.file.WriteAt(zeros[:n], offset); err != nil {
			return err
		}
		offset, length = offset+n, length-n
	}
	return nil
}

// remove closes and deletes the file.
func (s *segment) remove() error {
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
