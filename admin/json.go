package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"ocrmux/compat"
)

// A request's body has at most maxBody bytes, which must come within bodyTime.
const (
	maxBody  = 64 << 10
	bodyTime = 10 * time.Second
)

// readQuery reads the query by the names that a route knows. A misspelt name
// must not widen a deletion, so nothing unknown is passed over; for the same
// reason a parameter of a change must not be empty.
func readQuery(r *http.Request, rt route) (map[string]string, error) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, compat.Invalid("", "", "The query of the URL cannot be read.")
	}
	query := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		values := given[name]
		switch {
		case !slices.Contains(rt.query, name):
			return nil, compat.Invalid(clip(name, 100), "unknown_parameter", fmt.Sprintf("There is no query parameter %q here.", clip(name, 100)))
		case len(values) > 1:
			return nil, compat.Invalid(name, "", fmt.Sprintf("The query parameter %q is given twice.", name))
		case values[0] == "" && rt.action != "":
			return nil, compat.Invalid(name, "", fmt.Sprintf("The query parameter %q is empty.", name))
		}
		query[name] = values[0]
	}
	return query, nil
}

// receive reads a request's body, bounded in size and in time.
func receive(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limitReading(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, compat.TooLarge(maxBody)
	case err != nil:
		return nil, compat.BadJSON("it breaks off")
	case r.Header.Get("Content-Encoding") != "":
		return nil, compat.UnsupportedEncoding()
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the request may take longer than its body
	return body, nil
}

// limitReading gives the rest of a request bodyTime to come, so that nobody can
// hold a connection with a body that never does. Where there is no connection,
// as in tests, there is nothing to limit.
func limitReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
}

// readBody reads a JSON object into value, a pointer to a struct. No body is an
// empty object.
func readBody(body []byte, value any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := checkMembers(body, reflect.TypeOf(value).Elem(), ""); err != nil {
		return err
	}
	if err := json.Unmarshal(body, value); err != nil {
		return badValue(err)
	}
	return nil
}

// checkMembers refuses a name that a struct has no member for, letter by letter,
// also in structs within. The JSON itself is read as strictly as clients' is.
func checkMembers(object []byte, t reflect.Type, within string) error {
	members, err := compat.Members(object)
	if err != nil {
		return asBadJSON(err)
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
	}
	for _, m := range members {
		path := within + m.Name
		field, known := fields[m.Name]
		if !known {
			return compat.Invalid(clip(path, 100), "unknown_parameter", fmt.Sprintf("There is no member %q here.", clip(path, 100)))
		}
		if field.Kind() == reflect.Struct && len(m.Value) > 0 && m.Value[0] == '{' {
			if err := checkMembers(m.Value, field, path+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

// asBadJSON makes the answer of what compat.Members found.
func asBadJSON(err error) error {
	var known *compat.Error
	if errors.As(err, &known) {
		return known
	}
	return compat.BadJSON(err.Error())
}

// badValue names the member whose value does not fit.
func badValue(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return compat.Invalid(wrong.Field, "", fmt.Sprintf("The member %q must be %s, not %s.", wrong.Field, kindOf(wrong.Type), wrong.Value))
	}
	return compat.Invalid("", "", "The body does not fit: "+plain(err)+".")
}

// kindOf names what JSON must hold for a Go type.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // a new key passes by here
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// appendMembers puts members at the end of a JSON object.
func appendMembers(object []byte, members map[string]any) []byte {
	more, err := json.Marshal(members)
	if err != nil || len(members) == 0 {
		return object
	}
	return append(append(object[:len(object)-1], ','), more[1:]...)
}

// clip shortens a text that is quoted back.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
