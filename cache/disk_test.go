package cache

// Corrupt flips a bit of a stored value, for the contract suite.
func (d *Disk) Corrupt(k Key, bit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.places[short(k)]
	s := d.segment(p.segment)
	record := make([]byte, p.length)
	if _, err := s.file.ReadAt(record, int64(p.offset)); err != nil {
		panic(err)
	}
	h, value, _ := parseRecord(record, s.seal, int64(p.offset))
	value[bit/8%len(value)] ^= 1 << (bit % 8)
	if _, err := s.file.WriteAt(value, int64(p.offset)+int64(h.valueAt())); err != nil {
		panic(err)
	}
}

// Size returns the bytes of all files, for the contract suite.
func (d *Disk) Size() int64 { bytes, _ := d.size(); return bytes }

// Corrupt flips a bit of a stored value in every tier that has it.
func (t *Tiered) Corrupt(k Key, bit int) {
	t.flush()
	if t.first.entries.Contains(k) {
		t.first.Corrupt(k, bit)
	}
	t.second.Corrupt(k, bit)
}

// Size returns the bytes of the tier that has more of them.
func (t *Tiered) Size() int64 {
	t.flush()
	return max(t.first.Size(), t.second.Size())
}
