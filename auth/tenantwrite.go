package auth

import (
	"fmt"
	"slices"
)

// SetTenant adds a tenant to the key file, or makes its entry there say what t
// says. A tenant that must not be is an *InvalidError.
func (r *KeyRing) SetTenant(t Tenant) (created bool, err error) {
	whole := t
	if err := whole.complete(); err != nil {
		return false, &InvalidError{"tenant", err}
	}
	err = r.edit(func(d *draft) error {
		i := d.tenant(t.Name)
		if created = i < 0; created {
			d.instead(`insert under "tenants:"`, t)
			return d.addTenant(t)
		}
		d.instead(`write under "tenants:", in place of tenant `+t.Name, t)
		old := d.file.Tenants[i]
		d.file.Tenants[i] = whole
		return d.text.replace(listTenants, i, old, whole)
	})
	return created, err
}

// DeleteTenant takes a tenant's entry away. While the tenant has keys, that is
// ErrTenantHasKeys: they would be of nobody.
func (r *KeyRing) DeleteTenant(name string) error {
	return r.edit(func(d *draft) error {
		i := d.tenant(name)
		if i < 0 {
			return ErrUnknownTenant
		}
		for _, k := range d.file.Keys {
			if k.Tenant == name {
				return fmt.Errorf("tenant %s: %w, %s among them; delete them first", name, ErrTenantHasKeys, k.ID)
			}
		}
		d.instead("delete the entry of tenant " + name)
		d.file.Tenants = slices.Delete(d.file.Tenants, i, i+1)
		return d.text.remove(listTenants, i)
	})
}

// tenant returns the place of a tenant in the file, or -1.
func (d *draft) tenant(name string) int {
	return slices.IndexFunc(d.file.Tenants, func(t Tenant) bool { return t.Name == name })
}

func (d *draft) tenantNames() []string {
	var names []string
	for _, t := range d.file.Tenants {
		names = append(names, t.Name)
	}
	return names
}

// addTenant writes a tenant as it was given, without the defaults.
func (d *draft) addTenant(t Tenant) error {
	whole := t
	if err := whole.complete(); err != nil {
		return &InvalidError{"tenant", err}
	}
	d.file.Tenants = append(d.file.Tenants, whole)
	return d.text.insert(listTenants, t)
}
