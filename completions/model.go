package completions

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"

	"ocrmux/compat"
)

// contextReserve is what a page and its prompt may need beside the answer, in
// tokens: DeepSeek-OCR makes at most 1,121 of an image.
const contextReserve = 1200

// Model is a name that clients may ask for.
type Model struct {
	Name     string
	Aliases  []string
	Pool     string // the pool of backends that serves it
	ServedAs string // its name there; "" means Name
	Recipe   Recipe
	Guard    Guard // against answers that run away

	names  []string // Name and Aliases
	served []byte   // ServedAs as a JSON string
}

// Recipe is what a model needs to answer well, added where the client says nothing.
type Recipe struct {
	Members   []compat.Member // top-level members in the order in which they are added
	MaxTokens int             // upper bound of an answer, tokens; 0 leaves it to the backend
	MaxImages int             // images a request may carry; 0 means 1

	version [8]byte // digest of the above: other recipe, other answers
}

// Names are the model's name and its aliases. They must not be changed.
func (m *Model) Names() []string { return m.names }

func (m *Model) prepare() error {
	if m.Name == "" {
		return fmt.Errorf("it has no name")
	}
	if m.ServedAs == "" {
		m.ServedAs = m.Name
	}
	if m.Recipe.MaxImages == 0 {
		m.Recipe.MaxImages = 1
	}
	m.names = append([]string{m.Name}, m.Aliases...)
	m.served = compat.AppendQuoted(nil, m.ServedAs)
	h := sha256.New()
	for _, member := range m.Recipe.Members {
		fmt.Fprintf(h, "%q%q", member.Name, member.Value)
	}
	fmt.Fprint(h, m.Recipe.MaxTokens)
	copy(m.Recipe.version[:], h.Sum(nil))
	return nil
}

// absent lists what is added where the client gave nothing; client is nil for a
// page. max_tokens is sent only where the context is known to have room for it
// beside a page; elsewhere the backend gives the answer all that its context
// leaves. Several answers are only to be had by chance: vLLM refuses n above 1 at
// temperature 0.
func (m *Model) absent(maxModelLen int, client *compat.Request) []compat.Member {
	members := slices.Clone(m.Recipe.Members)
	if client != nil && client.N > 1 {
		members = slices.DeleteFunc(members, func(m compat.Member) bool {
			return m.Name == "temperature" && isZero(m.Value)
		})
	}
	bounded := client != nil && client.MaxTokens > 0
	if n := m.Recipe.MaxTokens; n > 0 && !bounded && maxModelLen > n+contextReserve {
		members = append(members, compat.Member{Name: "max_tokens", Value: strconv.AppendInt(nil, int64(n), 10)})
	}
	return members
}
