package usage

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// Who is what a count is kept for.
type Who struct {
	Tenant string `json:"tenant"`
	// Key is the key's id, empty for callers without one.
	Key string `json:"key"`
	// Model is empty where none was found.
	Model string `json:"model"`
	Route string `json:"route"`
}

// maxNameBytes is where a name is cut, so that a line of the journal is bounded.
const maxNameBytes = 256

// cut returns w with its names cut to maxNameBytes, at the border of a rune.
func (w Who) cut() Who {
	return Who{Tenant: cutName(w.Tenant), Key: cutName(w.Key), Model: cutName(w.Model), Route: cutName(w.Route)}
}

func cutName(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	end := maxNameBytes
	for end > maxNameBytes-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// clone returns a copy that shares no memory with w: the names of a request may
// lie in a buffer that is used again. They lie beside each other, since they are
// compared with every Record.
func (w Who) clone() Who {
	names := strings.Clone(w.Tenant + w.Key + w.Model + w.Route) // what has one part only is not copied by +
	next := func(name string) string {
		copied := names[:len(name)]
		names = names[len(name):]
		return copied
	}
	return Who{Tenant: next(w.Tenant), Key: next(w.Key), Model: next(w.Model), Route: next(w.Route)}
}

// coarsest is the level at which nothing of a Who is left.
const coarsest = 3

// coarse returns w with less told: at level 1 without model and route, at 2
// without the key too, at 3 without the tenant.
func (w Who) coarse(level int) Who {
	switch level {
	case 0:
		return w
	case 1:
		return Who{Tenant: w.Tenant, Key: w.Key}
	case 2:
		return Who{Tenant: w.Tenant}
	}
	return Who{}
}

func compareWho(a, b Who) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key),
		cmp.Compare(a.Model, b.Model), cmp.Compare(a.Route, b.Route))
}
