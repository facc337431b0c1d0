package cache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

var (
	// ErrInUse says that another process uses the directory.
	ErrInUse = errors.New("the cache's directory is in use by another process")
	// errPaused says that nothing is written because the disk failed a moment ago.
	errPaused = errors.New("the cache's disk is left alone for a while after an error")
)

// DiskConfig bounds a Disk.
type DiskConfig struct {
	// Dir is made where it does not exist. What tenants' documents say lies
	// there in the clear: only this user may read the files, and whoever backs
	// the directory up copies that with it.
	Dir string
	// MaxBytes bounds the files, all that they take included. One result may
	// take an eighth of it. The index takes about 40 bytes of memory for each
	// result, that is at most 80 MB for each GB, and a tenth of it as a rule.
	MaxBytes int64
	// TTL is how long a value is handed out. 0 sets no bound.
	TTL time.Duration
	// Now is the clock, time.Now where nil.
	Now func() time.Time
	// Log is told when files are set aside and when the disk fails.
	Log *slog.Logger
}

// Disk is a store in files that survives its process. Records are appended to
// segments; the oldest segment is removed when room is needed, so the results
// that were stored first go first. A process that dies at any moment loses what
// it had not written yet; a machine that does may lose what its system had not, as
// a rule half a minute.
// Nothing is trusted because it was found: every record is checked as it is read.
type Disk struct {
	dir     string
	now     func() time.Time
	log     *slog.Logger
	metrics *diskMetrics
	lock    *os.File // held as long as the directory is used

	writing  sync.Mutex // held by whoever changes files; taken before mu
	buffer   []byte     // guarded by writing: records that the newest segment is about to get
	buffered []placed   // guarded by writing: what is in buffer
	nextID   uint32     // guarded by writing

	paused atomic.Int64 // until when nothing is written, in nanoseconds since 1970

	mu       sync.Mutex
	maxBytes int64            // guarded by mu
	ttl      time.Duration    // guarded by mu
	segments []*segment       // guarded by mu; oldest first, and the last is written to
	places   map[uint64]place // guarded by mu; by what short says of the key
	bytes    int64            // guarded by mu; of all segments
	closed   bool             // guarded by mu
}

// place is where a record stands. It holds no pointer, so that a collection of
// garbage need not look at a million of them.
type place struct{ segment, offset, length uint32 }

type placed struct {
	id uint64
	at place
}

// short is what the index knows of a key. Two keys that share it are a matter
// of chance, and cost a miss: the record holds the whole key.
func short(k Key) uint64 { return binary.LittleEndian.Uint64(k[:]) }

// OpenDisk opens the store in cfg.Dir, with what is there, and registers its
// metrics on reg, unless that is nil. A file that is not a segment of this
// version is set aside under one name, which the next such file takes over.
func OpenDisk(cfg DiskConfig, reg prometheus.Registerer) (*Disk, error) {
	d := &Disk{
		dir: cfg.Dir, now: cfg.Now, log: cfg.Log,
		maxBytes: cfg.MaxBytes, ttl: cfg.TTL, places: make(map[uint64]place),
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	d.metrics = newDiskMetrics(reg, d)
	if err := d.load(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Disk) takeLock() error {
	f, err := os.OpenFile(filepath.Join(d.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// the system lets go of it with the process, however that ends
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return fmt.Errorf("%s: %w", d.dir, err)
	}
	d.lock = f
	return nil
}

// Secret returns a secret that stays the same as long as the directory does, for
// a Digest: keys have to be the same after a restart. Where it is lost or
// damaged, results are not found any more and make room in their turn.
func (d *Disk) Secret() (secret [16]byte, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	name := filepath.Join(d.dir, "secret")
	content, err := os.ReadFile(name)
	if err == nil && len(content) == len(secret) {
		return [16]byte(content), nil
	}
	rand.Read(secret[:])
	fresh := name + ".new" // a process that dies here leaves no half of one
	if err := os.WriteFile(fresh, secret[:], 0o600); err != nil {
		return secret, err
	}
	return secret, os.Rename(fresh, name)
}

// load reads all segments and builds the index. A segment whose reading fails
// counts up to there.
func (d *Disk) load() error {
	names, err := filepath.Glob(filepath.Join(d.dir, "*.results"))
	if err != nil {
		return err
	}
	slices.Sort(names) // ids have a fixed width
	for _, name := range names {
		var id uint32
		if n, err := fmt.Sscanf(filepath.Base(name), "%08x.results", &id); n != 1 || err != nil || segmentName(id) != filepath.Base(name) {
			continue // not ours
		}
		d.nextID = id + 1
		s, err := openSegment(name, id)
		if err != nil {
			d.setAside(name, err)
			continue
		}
		now := d.now()
		end, err := s.records(func(offset int64, h *head) {
			if d.ttl > 0 && now.Sub(h.stored) >= d.ttl {
				delete(d.places, short(h.key)) // newer than what else there is, and too old
				return
			}
			d.places[short(h.key)] = place{id, uint32(offset), uint32(h.length())}
		})
		if err != nil {
			d.metrics.errors.Inc()
			d.log.Warn("a file of results cannot be read to its end", "file", name, "err", err)
		}
		// Behind the last record is what a dying process did not finish.
		if err := s.file.Truncate(end); err != nil {
			d.setAside(name, err)
			s.file.Close()
			maps.DeleteFunc(d.places, func(_ uint64, p place) bool { return p.segment == id })
			continue
		}
		s.size = end
		d.segments = append(d.segments, s)
		d.bytes += end
	}
	return d.makeRoom(0)
}

func (d *Disk) setAside(name string, reason error) {
	aside := filepath.Join(d.dir, "aside")
	d.metrics.errors.Inc()
	if err := os.Rename(name, aside); err != nil {
		d.log.Warn("a file of results cannot be used, nor be set aside", "file", name, "err", errors.Join(reason, err))
		return
	}
	d.log.Warn("a file of results cannot be used and was set aside", "file", name, "as", aside, "err", reason)
}

// Close lets go of the directory. Nothing is found and nothing is stored any more.
func (d *Disk) Close() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	for _, s := range d.segments {
		errs = append(errs, s.file.Close())
	}
	clear(d.places)
	return errors.Join(append(errs, d.lock.Close())...)
}

// Get returns the value stored under k and how long ago it was stored, and
// whether there is one. The value is the caller's.
func (d *Disk) Get(_ context.Context, k Key) (value []byte, age time.Duration, ok bool, err error) {
	h, value, ok := d.read(k)
	if !ok {
		return nil, 0, false, nil
	}
	return value[:len(value):len(value)], max(0, d.now().Sub(h.stored)), true, nil
}

// read returns the record of k, where there is a whole and young one.
func (d *Disk) read(k Key) (h head, value []byte, ok bool) {
	d.mu.Lock()
	p, found := d.places[short(k)]
	s, ttl := d.segment(p.segment), d.ttl
	d.mu.Unlock()
	if !found || s == nil {
		return h, nil, false
	}
	record := make([]byte, p.length)
	if _, err := s.file.ReadAt(record, int64(p.offset)); err != nil {
		if d.forget(k, p, nil) { // else its segment was removed meanwhile
			d.metrics.errors.Inc()
		}
		return h, nil, false
	}
	h, value, ok = parseRecord(record, s.seal, int64(p.offset))
	switch {
	case !ok:
		d.forget(k, p, d.metrics.corrupt)
		return h, nil, false
	case h.key != k:
		return h, nil, false
	case ttl > 0 && d.now().Sub(h.stored) >= ttl:
		d.forget(k, p, d.metrics.expired)
		return h, nil, false
	}
	d.metrics.hits.Inc()
	return h, value, true
}

// segment finds a segment by its id; nil where it is gone. The caller holds mu.
func (d *Disk) segment(id uint32) *segment {
	i, found := slices.BinarySearchFunc(d.segments, id, func(s *segment, id uint32) int { return int(int64(s.id) - int64(id)) })
	if !found {
		return nil
	}
	return d.segments[i]
}

// forget takes the record at p out of the index and counts it, unless it has
// been replaced or removed in the meantime.
func (d *Disk) forget(k Key, p place, counter prometheus.Counter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.places[short(k)] != p || d.closed {
		return false
	}
	delete(d.places, short(k))
	if counter != nil {
		counter.Inc()
	}
	return true
}

// Put stores value under k in place of what was there, as a result of tenant's
// from model. It returns ErrTooLarge where the record would take more than an
// eighth of the budget; what was stored under k is gone then too.
func (d *Disk) Put(_ context.Context, k Key, value []byte, tenant, model string) error {
	return d.store([]result{{k, newEntry(k, value, label{tenant, model}, d.now())}})
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

// Delete erases what was stored for tenant from model and returns how many
// values that were. An empty name stands for any: two of them remove all files.
// With an error, some of them may be there again after a restart.
func (d *Disk) Delete(_ context.Context, tenant, model string) (n int, err error) {
	err = d.delete(tenant, model, func(uint64) { n++ })
	return n, err
}

// delete tells each of what short says of a key.
func (d *Disk) delete(tenant, model string, each func(id uint64)) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	gone := func(id uint64) {
		d.metrics.deleted.Inc()
		each(id)
	}
	// nobody knows whose results lie there
	errs := []error{os.Remove(filepath.Join(d.dir, "aside"))}
	if errors.Is(errs[0], fs.ErrNotExist) {
		errs = nil
	}
	d.mu.Lock()
	segments := slices.Clone(d.segments)
	if d.closed {
		segments = nil
	}
	d.mu.Unlock()
	for _, s := range segments {
		if tenant == "" && model == "" {
			errs = append(errs, d.drop(s, gone))
			continue
		}
		if err := d.eraseWithin(s, tenant, model, gone); err != nil {
			errs = append(errs, err, d.drop(s, gone)) // rather too much than too little
		}
	}
	return errors.Join(errs...)
}

// eraseWithin erases the records of one segment that tenant and model name,
// those that were superseded or are too old among them.
func (d *Disk) eraseWithin(s *segment, tenant, model string, gone func(id uint64)) error {
	var found []placed
	if _, err := s.records(func(offset int64, h *head) {
		if h.label.within(tenant, model) {
			found = append(found, placed{short(h.key), place{s.id, uint32(offset), uint32(h.length())}})
		}
	}); err != nil {
		return err
	}
	for _, r := range found {
		d.mu.Lock()
		if d.places[r.id] == r.at {
			delete(d.places, r.id)
			gone(r.id)
		}
		d.mu.Unlock()
		if err := s.erase(int64(r.at.offset), int64(r.at.length)); err != nil {
			return err
		}
	}
	if len(found) == 0 {
		return nil
	}
	return s.file.Sync()
}

// Resize sets other bounds, and lets go at once of what is beyond maxBytes.
func (d *Disk) Resize(maxBytes int64, ttl time.Duration) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.mu.Lock()
	d.maxBytes, d.ttl = maxBytes, ttl
	d.mu.Unlock()
	return d.makeRoom(0)
}

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

// size returns the bytes of all files and the number of results.
func (d *Disk) size() (bytes int64, entries int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes, len(d.places)
}
