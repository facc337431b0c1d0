package admin

import (
	"fmt"
	"net/http"

	"ocrmux/auth"
	"ocrmux/compat"
)

func (s *server) listTenants(*call) (any, error) {
	file, err := s.keyFile()
	if err != nil {
		return nil, err
	}
	return map[string]any{"tenants": append([]auth.Tenant{}, file.Tenants...)}, nil
}

func (s *server) showTenant(c *call) (any, error) {
	file, err := s.keyFile()
	if err != nil {
		return nil, err
	}
	tenant, err := tenantOf(file, c.PathValue("name"))
	if err != nil {
		return nil, keyError(err)
	}
	return map[string]any{"tenant": tenant}, nil
}

// setTenant makes a tenant say what the body says, and no more: what is left out
// is at its default afterwards.
func (s *server) setTenant(c *call) (any, error) {
	name := c.PathValue("name")
	c.names("tenant", name)
	tenant := auth.Tenant{Name: name}
	if err := readBody(c.body, &tenant); err != nil {
		return nil, err
	}
	if tenant.Name != name {
		return nil, compat.Invalid("name", "", fmt.Sprintf("The member \"name\" is not %q, as the path has it. A tenant cannot be renamed.", clip(name, 100)))
	}
	created, err := s.deps.Keys.SetTenant(tenant)
	if err == nil {
		var file *auth.KeyFile
		if file, err = s.deps.Keys.File(); err == nil {
			tenant, err = tenantOf(file, name) // with its defaults
		}
	}
	if created {
		c.status = http.StatusCreated
	}
	return s.changed(map[string]any{"tenant": tenant}, err)
}

func (s *server) deleteTenant(c *call) (any, error) {
	name := c.PathValue("name")
	c.names("tenant", name)
	file, err := s.keyFile()
	if err != nil {
		return nil, err
	}
	tenant, err := tenantOf(file, name)
	if err == nil {
		err = s.deps.Keys.DeleteTenant(name)
	}
	return s.changed(map[string]any{"tenant": tenant}, err)
}

func tenantOf(file *auth.KeyFile, name string) (auth.Tenant, error) {
	for _, t := range file.Tenants {
		if t.Name == name {
			return t, nil
		}
	}
	return auth.Tenant{}, auth.ErrUnknownTenant
}
