package compat

// object is a JSON object in its bytes: where its members stand.
type object struct {
	body    []byte
	members []Member
	starts  []int // of the members' values in body
	end     int   // of the closing brace
}

func (o *object) add(name string, start, end int) {
	o.members = append(o.members, Member{name, o.body[start:end:end]})
	o.starts = append(o.starts, start)
}

// Rewrite returns the body for a backend: the client's bytes with the members
// of set replaced (or added where absent) and those of absent added where the
// client gave none, null being given. Everything else keeps its bytes and its
// order. Values must be valid JSON; no name may stand in set or in absent
// twice.
//
// An http(s) image URL never reaches a backend: what was embedded stands in its
// place as a data URL, and an empty string where nothing was.
func (r *Request) Rewrite(set, absent []Member) *Body {
	return r.object.rewrite(set, absent, r.Images)
}

// UsageOption returns the stream_options that ask the backend for a usage
// chunk, with what else the client has in there, as a member for Rewrite's set.
func (r *Request) UsageOption() Member {
	const name = "stream_options"
	client := r.Member(name)
	if len(client) == 0 || client[0] != '{' {
		return Member{name, []byte(`{"include_usage":true}`)}
	}
	s := scanner{data: client}
	o := object{body: client}
	// It was read before, so there is no error.
	_ = s.object(func(key []byte) error {
		key, start := []byte(string(key)), s.pos
		err := s.skip()
		o.add(string(key), start, s.pos)
		return err
	})
	o.end = s.pos - 1
	return Member{name, o.rewrite([]Member{{"include_usage", []byte("true")}}, nil, nil).bytes()}
}

func (o *object) rewrite(set, absent []Member, images []Image) *Body {
	b := &Body{pieces: make([]piece, 0, 2*len(set)+3)}
	done := 0 // bytes of body that are in b
	upTo := func(end int) {
		for len(images) > 0 && int(images[0].span.end) <= end {
			if image := &images[0]; image.URL != "" {
				b.Append(o.body[done:image.span.start])
				image.embed(b)
				done = int(image.span.end)
			}
			images = images[1:]
		}
		b.Append(o.body[done:end])
		done = end
	}
	for i := range o.members {
		m := &o.members[i]
		if value := find(set, m.Name); value != nil {
			upTo(o.starts[i])
			b.Append(value)
			done = o.starts[i] + len(m.Value)
		}
	}
	upTo(o.end)
	b.Append(o.appendNew(nil, set, absent))
	b.Append(o.body[o.end:])
	return b
}

// embed appends the string that stands for the image's URL.
func (i *Image) embed(b *Body) {
	if i.Raw == nil {
		b.Append([]byte(`""`))
		return
	}
	b.Append([]byte(`"data:` + i.MIME + `;base64,`))
	b.AppendBase64(i.Raw)
	b.Append([]byte(`"`))
}

// appendNew appends the members that the object does not have.
func (o *object) appendNew(dst []byte, set, absent []Member) []byte {
	first := len(o.members) == 0
	add := func(m Member) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = AppendQuoted(dst, m.Name)
		dst = append(dst, ':')
		dst = append(dst, m.Value...)
	}
	for _, m := range set {
		if find(o.members, m.Name) == nil {
			add(m)
		}
	}
	for _, m := range absent {
		if find(o.members, m.Name) == nil && find(set, m.Name) == nil {
			add(m)
		}
	}
	return dst
}

// find returns the value of a name, nil where there is none.
func find(members []Member, name string) []byte {
	for i := range members {
		if members[i].Name == name {
			return members[i].Value
		}
	}
	return nil
}

// bytes is the body as one piece of memory; for small bodies only.
func (b *Body) bytes() []byte {
	var all []byte
	for _, p := range b.pieces {
		all = append(all, p.data...)
	}
	return all
}
