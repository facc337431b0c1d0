package main

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
)

// Report is what came of reading the configuration again, by the keys of
// config.yaml, in the order of the file.
type Report struct {
	Changed      []string `json:"changed"`      // are in force with their new values
	Unchangeable []string `json:"unchangeable"` // differ, and will be in force with the next start
}

// merge compares what is in force with what shall be. What cannot change while
// the router runs keeps its value in next.
func merge(current, next *Config) Report {
	r := Report{Changed: []string{}, Unchangeable: []string{}}
	r.compare("", reflect.ValueOf(current).Elem(), reflect.ValueOf(next).Elem())
	return r
}

func (r *Report) compare(path string, a, b reflect.Value) {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	_, text := a.Interface().(encoding.TextMarshaler)
	switch kind := a.Kind(); {
	case a.Type() == reflect.TypeFor[Recipe]():
		r.recipes(path, a.Interface().(Recipe), b.Interface().(Recipe))
	case kind == reflect.Struct && !text:
		r.structs(path, a, b)
	case kind == reflect.Map:
		r.maps(path, a, b)
	case kind == reflect.Slice && a.Len() == b.Len() && (a.Len() == 0 || a.Index(0).Kind() == reflect.Struct):
		for i := range a.Len() {
			r.compare(key(path, i), a.Index(i), b.Index(i))
		}
	default:
		r.Changed = append(r.Changed, path)
	}
}

func (r *Report) structs(path string, a, b reflect.Value) {
	for i := range a.NumField() {
		field := a.Type().Field(i)
		name := fieldKey(field)
		if name == "" {
			continue
		}
		if field.Tag.Get("change") != "restart" {
			r.compare(join(path, name), a.Field(i), b.Field(i))
			continue
		}
		fixed := Report{}
		fixed.compare(join(path, name), a.Field(i), b.Field(i))
		r.Unchangeable = append(r.Unchangeable, fixed.Changed...)
		b.Field(i).Set(a.Field(i))
	}
}

func (r *Report) maps(path string, a, b reflect.Value) {
	names := map[string]bool{}
	for _, name := range append(a.MapKeys(), b.MapKeys()...) {
		names[name.String()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		of := reflect.ValueOf(name)
		if a, b := a.MapIndex(of), b.MapIndex(of); a.IsValid() && b.IsValid() {
			r.compare(join(path, name), a, b)
		} else {
			r.Changed = append(r.Changed, join(path, name))
		}
	}
}

func (r *Report) recipes(path string, a, b Recipe) {
	r.compare(join(path, "max_images"), reflect.ValueOf(a.MaxImages), reflect.ValueOf(b.MaxImages))
	r.compare(join(path, "max_tokens"), reflect.ValueOf(a.MaxTokens), reflect.ValueOf(b.MaxTokens))
	before := len(r.Changed)
	r.maps(path, reflect.ValueOf(a.members()), reflect.ValueOf(b.members()))
	if len(r.Changed) == before && !reflect.DeepEqual(a.Members, b.Members) {
		r.Changed = append(r.Changed, path) // the members' order, in which they are sent
	}
}

func (r Recipe) members() map[string]string {
	out := map[string]string{}
	for _, m := range r.Members {
		out[m.Name] = string(m.Value)
	}
	return out
}
