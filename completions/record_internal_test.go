package completions

import "testing"

func TestRecord_ShowsUsageOnlyToWhoAsked(t *testing.T) {
	var r record
	for _, e := range []struct {
		event string
		usage bool
	}{{"a", false}, {"b", false}, {"(1)", true}, {"(2)", true}, {"c", false}, {"(3)", true}} {
		r.add([]byte(e.event), e.usage)
	}
	for _, c := range []struct {
		from  int
		usage bool
		want  []string // of the calls until the end
	}{
		{0, true, []string{"ab(1)(2)c(3)"}},
		{0, false, []string{"ab", "c", ""}},
		{1, false, []string{"b", "c", ""}},
		{2, false, []string{"c", ""}},
		{8, false, []string{"c", ""}},
		{9, false, []string{""}},
		{9, true, []string{"(3)"}},
		{12, true, []string{""}},
	} {
		at := c.from
		for _, want := range c.want {
			var p []byte
			if p, at = r.from(at, c.usage); string(p) != want {
				t.Errorf("from %d, usage %t: got %q, want %q", c.from, c.usage, p, want)
			}
		}
		if at != len(r.events) {
			t.Errorf("from %d, usage %t: it ends at %d", c.from, c.usage, at)
		}
	}
}

func TestRecord_KeepsWhatItHasHandedOut(t *testing.T) {
	var r record
	r.add([]byte("first"), false)
	p, _ := r.from(0, false)
	if cap(p) != len(p) {
		t.Error("who appends to a piece would write into the record")
	}
	for range 1000 {
		r.add([]byte("more"), false)
	}
	if string(p) != "first" {
		t.Errorf("it has become %q", p)
	}
	if r.give(); r.events != nil || r.usage != nil {
		t.Error("it has not let go of its memory")
	}
}
