package cache

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// pause is how long nothing is written after an error of the disk.
	pause = time.Minute
	// segmentShare is the part of the budget that one segment takes, as a
	// divisor: so much is let go at once when room is needed.
	segmentShare = 16
	// maxBuffer is how many bytes of records are gathered before they are written.
	maxBuffer = 1 << 20
)

// errPaused says that nothing is written because the disk failed a moment ago.
var errPaused = errors.New("the cache's disk is left alone for a while after an error")

type placed struct {
	id uint64
	at place
}

// result is an entry on its way to the disk.
type result struct {
	key   Key
	entry *entry
}

// store appends results to the newest segment. What cannot be written is left
// out and counted; the first reason is returned.
func (d *Disk) store(results []result) (first error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, r := range results {
		h := headOf(r.key, r.entry)
		switch {
		case !d.fits(h):
			d.metrics.tooLarge.Inc()
			keep(errors.Join(ErrTooLarge, d.supersede(short(r.key), place{})))
		case d.isPaused():
			d.metrics.pausedDrops.Inc()
			d.unindex(short(r.key))
			keep(errPaused)
		case checksum(r.key, r.entry.value) != r.entry.checksum:
			d.metrics.corrupt.Inc() // in memory: it must not get a sound record
		default:
			if err := d.append(h, r.entry.value); err != nil {
				d.unindex(short(r.key))
				keep(d.fail(err))
			}
		}
	}
	if err := d.flush(); err != nil {
		keep(d.fail(err))
	}
	return first
}

func (d *Disk) fits(h *head) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return h.length() <= min(d.maxBytes/maxShare, maxSegment) && h.valueAt() <= block
}

// append adds a record to the buffer. The caller holds writing.
func (d *Disk) append(h *head, value []byte) error {
	length := h.length()
	s := d.newest()
	if s != nil && (s.size+int64(len(d.buffer))+length > d.segmentSize() || len(d.buffer) > maxBuffer) {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if err := d.makeRoom(int64(len(d.buffer)) + length + block); err != nil {
		return err
	}
	if s = d.newest(); s == nil || s.size > block && s.size+int64(len(d.buffer))+length > d.segmentSize() {
		var err error
		if s, err = d.begin(); err != nil {
			return err
		}
	}
	offset := s.size + int64(len(d.buffer))
	d.buffer = appendRecord(d.buffer, s.seal, offset, h, value)
	d.buffered = append(d.buffered, placed{short(h.key), place{s.id, uint32(offset), uint32(length)}})
	return nil
}

// newest returns the segment that is written to; nil where there is none.
func (d *Disk) newest() *segment {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.segments) == 0 || d.closed {
		return nil
	}
	return d.segments[len(d.segments)-1]
}

func (d *Disk) segmentSize() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return min(d.maxBytes/segmentShare, maxSegment)
}

// begin starts a new segment.
func (d *Disk) begin() (*segment, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, os.ErrClosed
	}
	s, err := createSegment(filepath.Join(d.dir, segmentName(d.nextID)), d.nextID)
	if err != nil {
		return nil, err
	}
	d.nextID++
	d.mu.Lock()
	d.segments = append(d.segments, s)
	d.bytes += s.size
	d.mu.Unlock()
	return s, nil
}

// flush writes the buffer to the newest segment and makes it known. The caller
// holds writing.
func (d *Disk) flush() error {
	if len(d.buffer) == 0 {
		return nil
	}
	buffer, results := d.buffer, d.buffered
	d.buffer, d.buffered = d.buffer[:0], nil
	if cap(d.buffer) > 4*maxBuffer {
		d.buffer = nil
	}
	s := d.newest()
	if s == nil {
		return os.ErrClosed
	}
	if _, err := s.file.WriteAt(buffer, s.size); err != nil {
		for _, r := range results {
			d.unindex(r.id)
		}
		return errors.Join(err, s.file.Truncate(s.size))
	}
	d.mu.Lock()
	s.size += int64(len(buffer))
	d.bytes += int64(len(buffer))
	d.mu.Unlock()
	var errs []error
	for _, r := range results {
		errs = append(errs, d.supersede(r.id, r.at))
	}
	return errors.Join(errs...)
}

// supersede puts the record at p, or nothing where p is zero, into the index,
// and erases the record that was there: a later damage to the new one must not
// bring it back.
func (d *Disk) supersede(id uint64, p place) error {
	d.mu.Lock()
	old, found := d.places[id]
	if delete(d.places, id); p != (place{}) {
		d.places[id] = p
	}
	s := d.segment(old.segment)
	d.mu.Unlock()
	if !found || s == nil {
		return nil
	}
	return s.erase(int64(old.offset), int64(old.length))
}

// unindex makes sure that a result that could not be replaced is not found any
// more. It may be again after a restart, for the rest of its time.
func (d *Disk) unindex(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.places, id)
}

// fail leaves the disk alone for a while, and says so once.
func (d *Disk) fail(err error) error {
	for _, r := range d.buffered {
		d.unindex(r.id)
	}
	d.buffer, d.buffered = d.buffer[:0], nil
	d.metrics.errors.Inc()
	if !d.isPaused() {
		d.paused.Store(d.now().Add(pause).UnixNano())
		d.log.Warn("results cannot be written to disk and are kept in memory only for a while", "for", pause, "err", err)
	}
	return err
}

func (d *Disk) isPaused() bool { return d.now().UnixNano() < d.paused.Load() }

// makeRoom removes the oldest segments until n more bytes are within the
// budget. The caller holds writing.
func (d *Disk) makeRoom(n int64) error {
	for {
		d.mu.Lock()
		if d.bytes+n <= d.maxBytes || len(d.segments) == 0 || d.closed {
			d.mu.Unlock()
			return nil
		}
		oldest := d.segments[0]
		d.mu.Unlock()
		if oldest == d.newest() && len(d.buffer) > 0 {
			n -= int64(len(d.buffer))
			if err := d.flush(); err != nil {
				return err
			}
		}
		if err := d.drop(oldest, func(uint64) { d.metrics.space.Inc() }); err != nil {
			return err
		}
	}
}

// drop removes a segment and calls gone for each of its results.
func (d *Disk) drop(s *segment, gone func(id uint64)) error {
	d.mu.Lock()
	d.segments = slices.DeleteFunc(d.segments, func(o *segment) bool { return o == s })
	d.bytes -= s.size
	maps.DeleteFunc(d.places, func(id uint64, p place) bool {
		if p.segment == s.id {
			gone(id)
		}
		return p.segment == s.id
	})
	d.mu.Unlock()
	return s.remove()
}
