package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

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
