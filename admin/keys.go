package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ocrmux/auth"
	"ocrmux/compat"
)

func (s *server) listKeys(c *call) (any, error) {
	file, err := s.keyFile()
	if err != nil {
		return nil, err
	}
	tenant := c.query["tenant"]
	if tenant != "" {
		if _, err := tenantOf(file, tenant); err != nil {
			return nil, keyError(err)
		}
	}
	keys := []auth.PublicKey{}
	for _, k := range file.Keys {
		if tenant == "" || k.Tenant == tenant {
			keys = append(keys, s.public(k))
		}
	}
	return map[string]any{"keys": keys}, nil
}

func (s *server) showKey(c *call) (any, error) {
	file, err := s.keyFile()
	if err != nil {
		return nil, err
	}
	for _, k := range file.Keys {
		if k.ID == c.PathValue("id") {
			tenant, _ := tenantOf(file, k.Tenant) // a file with a key of nobody does not load
			return map[string]any{"key": s.public(k), "tenant": tenant}, nil
		}
	}
	return nil, keyError(auth.ErrUnknownKey)
}

// createKey answers with the key's text, this once.
func (s *server) createKey(c *call) (any, error) {
	var wanted struct {
		Tenant       string      `json:"tenant"`
		Expires      string      `json:"expires"`
		LoopbackOnly bool        `json:"loopback_only"`
		Note         string      `json:"note"`
		Limits       auth.Limits `json:"limits"`
	}
	if err := readBody(c.body, &wanted); err != nil {
		return nil, err
	}
	c.names("tenant", wanted.Tenant)
	if wanted.Tenant == "" {
		return nil, compat.Invalid("tenant", "", "Say which tenant the key is for.")
	}
	options := auth.KeyOptions{Tenant: wanted.Tenant, LoopbackOnly: wanted.LoopbackOnly, Note: wanted.Note, Limits: wanted.Limits}
	if wanted.Expires != "" {
		var err error
		if options.Expires, err = time.Parse(time.RFC3339, wanted.Expires); err != nil {
			return nil, compat.Invalid("expires", "", "The member \"expires\" must be a time such as 2027-01-31T12:00:00Z.")
		}
	}
	secret, entry, err := s.deps.Keys.Create(options)
	if entry.ID != "" {
		c.names("key", entry.ID)
	}
	c.status = http.StatusCreated
	return s.changed(map[string]any{"key": s.public(entry), "secret": secret}, err)
}

// rotateKey makes a key in place of one that ends after grace.
func (s *server) rotateKey(c *call) (any, error) {
	c.names("key", c.PathValue("id"))
	var wanted struct {
		Grace string `json:"grace"`
	}
	if err := readBody(c.body, &wanted); err != nil {
		return nil, err
	}
	var grace time.Duration
	if wanted.Grace != "" {
		var err error
		if grace, err = time.ParseDuration(wanted.Grace); err != nil {
			return nil, compat.Invalid("grace", "", "The member \"grace\" must be a duration such as 90m or 24h.")
		}
	}
	secret, entry, old, err := s.deps.Keys.Rotate(c.PathValue("id"), grace)
	if entry.ID != "" {
		c.names("tenant", entry.Tenant)
		c.names("new_key", entry.ID)
	}
	c.status = http.StatusCreated
	return s.changed(map[string]any{"key": s.public(entry), "secret": secret, "old": s.public(old)}, err)
}

func (s *server) disableKey(c *call) (any, error) { return s.changeKey(c, s.deps.Keys.Disable) }

func (s *server) enableKey(c *call) (any, error) { return s.changeKey(c, s.deps.Keys.Enable) }

func (s *server) deleteKey(c *call) (any, error) { return s.changeKey(c, s.deps.Keys.Delete) }

func (s *server) changeKey(c *call, change func(id string) (auth.KeyEntry, error)) (any, error) {
	c.names("key", c.PathValue("id"))
	entry, err := change(c.PathValue("id"))
	if entry.Tenant != "" {
		c.names("tenant", entry.Tenant)
	}
	return s.changed(map[string]any{"key": s.public(entry)}, err)
}

// changed has the key file put in force, and makes an answer of what came of an
// edit. Where only the file could not be written, what would have been answered
// is shown beside the error: a person can still make it true.
func (s *server) changed(answer map[string]any, err error) (any, error) {
	if s.deps.Applied != nil {
		s.deps.Applied() // also after an error, which may have come after the writing
	}
	var notWritten *auth.NotWrittenError
	switch {
	case err == nil:
		return answer, nil
	case !errors.As(err, &notWritten):
		return nil, keyError(err)
	}
	answer["instead"], answer["entry"] = notWritten.Instead, notWritten.Entry
	message := fmt.Sprintf("The key file was not written: %s. Do it by hand: %s", plain(notWritten.Err), notWritten.Help())
	return nil, &detailed{answer: conflict("key_file_not_writable", strings.TrimSpace(message)), beside: answer}
}

func (s *server) public(k auth.KeyEntry) auth.PublicKey { return k.Public(s.deps.Now()) }

func (s *server) keyFile() (*auth.KeyFile, error) {
	file, err := s.deps.Keys.File()
	if err != nil {
		return nil, keyError(err)
	}
	return file, nil
}

// keyError says what an operator can do about an error of the key file. What has
// no better answer is told as it is: it is their file.
func keyError(err error) error {
	var invalid *auth.InvalidError
	switch {
	case errors.As(err, &invalid):
		return compat.Invalid(invalid.Field, "", sentence(err))
	case errors.Is(err, auth.ErrUnknownKey):
		return notFound("key_not_found", sentence(err))
	case errors.Is(err, auth.ErrUnknownTenant):
		return notFound("tenant_not_found", sentence(err))
	case errors.Is(err, auth.ErrTenantHasKeys):
		return conflict("tenant_has_keys", sentence(err))
	case errors.Is(err, auth.ErrKeyDisabled):
		return conflict("key_disabled", sentence(err))
	}
	return &compat.Error{
		Status: http.StatusInternalServerError, Type: "server_error", Code: "key_file_unusable",
		Message: "The key file cannot be used: " + plain(err) + ".",
	}
}
