package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrInUse says that another process uses the directory.
var ErrInUse = errors.New("the cache's directory is in use by another process")

// DiskConfig bounds a Disk.
type DiskConfig struct {
	// Dir is made where it does not exist. What tenants' documents say lies
	// there in the clear: only this user may read the files, and whoever backs
	// the directory up copies that with it.
	Dir string
	// MaxBytes bounds the files, all that they take included. One result may
	// take an eighth of it. A file that was set aside comes on top. The index
	// takes up to 56 bytes of memory for each result: 16 MiB for each GiB of
	// results that take 3.5 KiB, as pages of text do, and never more than 112 MiB.
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

// size returns the bytes of all files and the number of results.
func (d *Disk) size() (bytes int64, entries int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes, len(d.places)
}
