package auth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ocrmux/auth"
)

// scribe writes random key files of every layout, with comments wherever YAML
// has room for one. A comment that is part of an entry tells of which.
type scribe struct {
	*rand.Rand
	strings.Builder
	comments int
}

func (s *scribe) maybe() bool { return s.IntN(2) == 0 }

func (s *scribe) mark(owner string) string {
	s.comments++
	return fmt.Sprintf("# %s-%d.", owner, s.comments)
}

// end ends a line, with or without a comment.
func (s *scribe) end(owner string) {
	if s.IntN(3) == 0 {
		s.WriteString(" " + s.mark(owner))
	}
	s.WriteString("\n")
}

// between writes lines of comments and empty ones.
func (s *scribe) between(indent int, owner string) {
	for range s.IntN(3) {
		if s.maybe() {
			s.WriteString(strings.Repeat(" ", indent) + s.mark(owner))
		}
		s.WriteString("\n")
	}
}

var someTexts = []string{"plain", `"quoted # no comment"`, `'it''s # none'`, "it's", "|\n%s# a line of the text\n%send", ">-\n%sfolded\n%stext", `"\u2028 and \" more"`}

// entry writes an entry of a list in lines of its own.
func (s *scribe) entry(indent int, id string, fields [][2]string) {
	pad := strings.Repeat(" ", indent)
	s.between(indent, "file")
	if s.maybe() {
		s.WriteString(strings.Repeat(" ", indent) + s.mark("file") + "\n")
	}
	s.WriteString("\n") // what stands right above the entry is of the entry
	if s.IntN(3) == 0 {
		s.WriteString(pad + s.mark(id) + "\n")
	}
	if s.IntN(4) == 0 { // in brackets
		var parts []string
		for _, f := range fields {
			if !strings.Contains(f[1], "\n") {
				parts = append(parts, f[0]+": "+f[1])
			}
		}
		s.WriteString(pad + "- {" + parts[0])
		for _, part := range parts[1:] {
			if s.IntN(4) == 0 {
				s.WriteString(" " + s.mark(id) + "\n" + pad + "    ")
			}
			s.WriteString(", " + part)
		}
		s.WriteString("}")
		s.end(id)
		return
	}
	s.WriteString(pad + "-")
	gap := strings.Repeat(" ", 1+s.IntN(3))
	if s.IntN(4) == 0 {
		s.end(id)
		s.WriteString(pad + " ")
	}
	inner := pad + " " + gap
	for i, f := range fields {
		if i == 0 {
			s.WriteString(gap)
		} else {
			s.between(len(inner), id)
			s.WriteString(inner)
		}
		value := strings.ReplaceAll(f[1], "%s", inner+"  ")
		s.WriteString(f[0] + ": " + value)
		if strings.Contains(value, "\n") && value[0] != '{' {
			s.WriteString("\n")
		} else {
			s.end(id)
		}
	}
	s.between(len(inner), id)
}

// identity returns the id of a key or the name of a tenant.
func identity(fields [][2]string) string {
	return fields[slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == "id" || f[0] == "name" })][1]
}

func (s *scribe) limits() string {
	return []string{"{requests_per_minute: 5}", "{requests_per_minute: 5, in_progress: 2}", "{tokens_per_minute: 1000}"}[s.IntN(3)]
}

func (s *scribe) keyFile() string {
	indent := s.IntN(3)
	lists := []string{"tenants", "keys"}
	if s.IntN(4) == 0 {
		slices.Reverse(lists)
	}
	if s.IntN(5) == 0 {
		s.WriteString("---\n")
	}
	tenants := 1 + s.IntN(3)
	for _, list := range lists {
		s.between(0, "file")
		count := s.IntN(4)
		if list == "tenants" {
			count = tenants
		}
		if count == 0 {
			s.WriteString([]string{"keys:", "keys: []", "keys: null", "keys: ~"}[s.IntN(4)])
			s.end("file")
			continue
		}
		var entries [][][2]string
		for i := range count {
			fields := [][2]string{{"name", fmt.Sprintf("t%d", i)}}
			if list == "keys" {
				fields = [][2]string{{"id", fmt.Sprintf("0000000%d", i)}, {"tenant", fmt.Sprintf("t%d", s.IntN(tenants))}, {"hash", someHash}}
				for _, optional := range [][2]string{{"created", "2026-11-01"}, {"expires", "2099-01-01T10:00:00+08:00"}, {"disabled", "true"}, {"disabled", "false"}, {"note", someTexts[s.IntN(len(someTexts))]}} {
					if s.maybe() && !slices.ContainsFunc(fields, func(f [2]string) bool { return f[0] == optional[0] }) {
						fields = append(fields, optional)
					}
				}
			} else {
				for _, optional := range [][2]string{{"class", "batch"}, {"weight", "2"}, {"models", "[a, b]"}, {"labels", "{room: reading}"}} {
					if s.maybe() {
						fields = append(fields, optional)
					}
				}
			}
			if s.maybe() {
				fields = append(fields, [2]string{"limits", s.limits()})
			}
			s.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
			entries = append(entries, fields)
		}
		if s.IntN(6) == 0 { // in brackets
			s.WriteString(list + ": [")
			for _, fields := range entries {
				fmt.Fprintf(s, "\n  %s\n  {", s.mark(identity(fields)))
				for _, f := range fields {
					if !strings.Contains(f[1], "\n") {
						s.WriteString(f[0] + ": " + f[1] + ", ")
					}
				}
				s.WriteString("},")
			}
			s.WriteString("]")
			s.end("file")
			continue
		}
		s.WriteString(list + ":")
		s.end("file")
		for _, fields := range entries {
			s.entry(2*indent, identity(fields), fields)
		}
	}
	s.between(0, "file")
	text := s.String()
	if s.IntN(6) == 0 {
		text += "...\n"
	}
	if cut := strings.TrimRight(text, "\n"); s.IntN(6) == 0 && !strings.HasSuffix(cut, " end") { // a block would lose its last line's end
		text = cut
	}
	if s.IntN(5) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

var marks = regexp.MustCompile(`# [a-z0-9]+-\d+\.`)

// editRandomly makes one random edit and returns what the file is to say then,
// and whose entry is gone.
func editRandomly(t *testing.T, r *rand.Rand, ring *auth.KeyRing, now *auth.KeyFile) (deleted string) {
	t.Helper()
	someKey := func() (int, string) {
		if len(now.Keys) == 0 {
			return 0, "zzzzzzzz"
		}
		i := r.IntN(len(now.Keys))
		return i, now.Keys[i].ID
	}
	someTenant := func() string {
		if len(now.Tenants) == 0 {
			return "nobody"
		}
		return now.Tenants[r.IntN(len(now.Tenants))].Name
	}
	expected := func(err error, known bool, want error) bool {
		if known && err == nil {
			return true
		}
		if known || !errors.Is(err, want) {
			t.Fatalf("known %v: %v, want %v", known, err, want)
		}
		return false
	}
	limits := auth.Limits{ImagesPerMinute: r.Int64N(3)}
	switch r.IntN(7) {
	case 0:
		_, entry, err := ring.Create(auth.KeyOptions{Tenant: someTenant(), Note: "new: # " + fmt.Sprint(r.IntN(9)), Limits: limits})
		if expected(err, len(now.Tenants) > 0, auth.ErrUnknownTenant) {
			now.Keys = append(now.Keys, entry)
		}
	case 1:
		i, id := someKey()
		_, entry, old, err := ring.Rotate(id, time.Duration(r.IntN(3))*time.Hour)
		if len(now.Keys) > 0 && now.Keys[i].Disabled {
			if !errors.Is(err, auth.ErrKeyDisabled) {
				t.Fatal(err)
			}
		} else if expected(err, len(now.Keys) > 0, auth.ErrUnknownKey) {
			now.Keys[i].Expires = old.Expires
			now.Keys = append(now.Keys, entry)
		}
	case 2, 3:
		i, id := someKey()
		disable := r.IntN(2) == 0
		set := ring.Enable
		if disable {
			set = ring.Disable
		}
		if _, err := set(id); expected(err, len(now.Keys) > 0, auth.ErrUnknownKey) {
			now.Keys[i].Disabled = disable
		}
	case 4:
		i, id := someKey()
		if _, err := ring.Delete(id); expected(err, len(now.Keys) > 0, auth.ErrUnknownKey) {
			now.Keys = slices.Delete(now.Keys, i, i+1)
			return id
		}
	case 5:
		tenant := auth.Tenant{Name: fmt.Sprintf("t%d", r.IntN(4)), Class: auth.ClassInteractive, Weight: float64(1 + r.IntN(3)), Limits: limits}
		i := slices.IndexFunc(now.Tenants, func(t auth.Tenant) bool { return t.Name == tenant.Name })
		created, err := ring.SetTenant(tenant)
		if err != nil || created != (i < 0) {
			t.Fatal(created, err)
		}
		if created {
			now.Tenants = append(now.Tenants, tenant)
		} else {
			now.Tenants[i] = tenant
		}
	case 6:
		name := someTenant()
		err := ring.DeleteTenant(name)
		if slices.ContainsFunc(now.Keys, func(k auth.KeyEntry) bool { return k.Tenant == name }) {
			if !errors.Is(err, auth.ErrTenantHasKeys) {
				t.Fatal(err)
			}
		} else if expected(err, len(now.Tenants) > 0, auth.ErrUnknownTenant) {
			now.Tenants = slices.DeleteFunc(now.Tenants, func(t auth.Tenant) bool { return t.Name == name })
			return name
		}
	}
	return ""
}

func TestKeyRing_AnyEditsOfAnyLayoutChangeWhatTheyShouldAndLoseNoComment(t *testing.T) {
	files := 60
	if raceEnabled || testing.Short() {
		files = 30
	}
	for seed := range files {
		s := &scribe{Rand: rand.New(rand.NewPCG(uint64(seed), 11))}
		before := s.keyFile()
		path := writeFile(t, before)
		ring := keyRing(t, path)
		want, err := ring.File()
		if err != nil {
			t.Fatalf("the test writes no good file: %v\n%s", err, before)
		}
		for range 8 {
			deleted := editRandomly(t, s.Rand, ring, want)
			content, _ := os.ReadFile(path)
			after := string(content)
			got, err := ring.File()
			if err != nil {
				t.Fatalf("seed %d: %v\n%s\n=====>\n%s", seed, err, before, after)
			}
			if is, should := plain(t, got), plain(t, want); is != should {
				t.Fatalf("seed %d: got\n%s, want\n%s from\n%s\n=====>\n%s", seed, is, should, before, after)
			}
			for _, comment := range marks.FindAllString(before, -1) {
				owned := deleted != "" && strings.HasPrefix(comment, "# "+deleted+"-")
				if n := strings.Count(after, comment); n != 1 && !(owned && n == 0) {
					t.Fatalf("seed %d: %q stands %d times after the edit of\n%s\n=====>\n%s", seed, comment, n, before, after)
				}
			}
			before = after
		}
	}
}

// plain tells all about a file but the hashes; those are compared by their keys' use.
func plain(t *testing.T, file *auth.KeyFile) string {
	t.Helper()
	utc := *file
	utc.Keys, utc.Tenants = append([]auth.KeyEntry{}, file.Keys...), append([]auth.Tenant{}, file.Tenants...)
	for i := range utc.Keys {
		utc.Keys[i].Created, utc.Keys[i].Expires = utc.Keys[i].Created.UTC(), utc.Keys[i].Expires.UTC()
	}
	text, err := json.MarshalIndent(utc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ToLower(string(text)), "hash") {
		t.Fatal("the JSON of a key file has hashes")
	}
	return string(text)
}
