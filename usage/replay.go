package usage

import (
	"bufio"
	"errors"
	"io"
)

// findings is what reading a journal found.
type findings struct {
	lines    int   // good ones, each read once
	repeated int   // good ones that had been read before
	damaged  int   // pieces that end like a line and make no sense
	good     int64 // where the last good line ends
	size     int64
}

// clean says whether there is nothing in the journal that should not be.
func (f findings) clean() bool { return f.repeated == 0 && f.damaged == 0 && f.good == f.size }

// readBuffer is far above the longest line, which is four names of maxNameBytes
// with every byte escaped, and 15 numbers.
const readBuffer = 256 << 10

// replay gives every good line of a journal to apply, once. The error is the
// reader's.
func replay(journal io.Reader, apply func(record)) (found findings, err error) {
	in := bufio.NewReaderSize(journal, readBuffer)
	last := make(map[string]uint64) // the number read last, by pen
	for {
		text, err := in.ReadSlice('\n')
		found.size += int64(len(text))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			found.damaged++
			continue // and look at the rest as if a line began there
		case errors.Is(err, io.EOF):
			return found, nil // what has no end was not written to its end
		case err != nil:
			return found, err
		}
		l, whole, ok := findLine(text[:len(text)-1])
		if !whole {
			found.damaged++
		}
		if !ok {
			continue
		}
		found.good = found.size
		r, pen, number, err := l.record()
		if err != nil {
			found.damaged++
			continue
		}
		if number <= last[pen] {
			found.repeated++
			continue
		}
		last[pen] = number
		found.lines++
		apply(r)
	}
}
