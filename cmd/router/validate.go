package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"ocrmux/auth"
)

// validate finds what decodes and still cannot work. It changes nothing.
func (d *decoder) validate(c *Config) {
	d.bounds("", reflect.ValueOf(c).Elem())
	d.listen("http.listen", c.HTTP.Listen)
	d.listen("admin.listen", c.Admin.Listen)
	if (c.HTTP.TLS.CertFile == "") != (c.HTTP.TLS.KeyFile == "") {
		d.failAt("http.tls", "needs both cert_file and key_file, or neither")
	}
	if c.Keys.File == "" {
		d.failAt("keys.file", "must name the key file")
	}
	if c.Keys.PepperFile.Name == "" {
		d.failAt("keys.pepper_file", "must name a file with the secret that key hashes are made with")
	}
	for i, host := range c.Images.Hosts {
		if host == "" || strings.ContainsAny(host, "/:@* ") {
			d.failAt(key("images.hosts", i), "must be a host's whole name, nothing more")
		}
	}
	for route := range c.Limits.Routes {
		if !slices.Contains(auth.Routes, route) {
			d.failAt(join("limits.routes", route), "is no route; routes are: %s", strings.Join(auth.Routes, ", "))
		}
	}
	d.pools(c.Pools)
	d.models(c)
}

// bounds holds every value to the tags of its field.
func (d *decoder) bounds(key string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Map:
		for _, name := range v.MapKeys() {
			d.bounds(join(key, name.String()), v.MapIndex(name))
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.bounds(fmt.Sprintf("%s[%d]", key, i), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if name := fieldKey(field); name != "" {
				d.bound(join(key, name), field.Tag, v.Field(i))
				d.bounds(join(key, name), v.Field(i))
			}
		}
	}
}

func (d *decoder) bound(key string, tag reflect.StructTag, v reflect.Value) {
	if words := tag.Get("oneof"); words != "" && !slices.Contains(strings.Fields(words), v.String()) {
		d.failAt(key, "must be one of: %s", strings.Join(strings.Fields(words), ", "))
	}
	least := tag.Get("min")
	if least == "" {
		return
	}
	var low bool
	switch value := v.Interface().(type) {
	case time.Duration:
		var bound time.Duration
		if err := parseDuration(least, &bound); err != nil {
			panic(key + ": " + err.Error())
		}
		low = value < bound
	case Size:
		var bound Size
		if err := bound.UnmarshalText([]byte(least)); err != nil {
			panic(key + ": " + err.Error())
		}
		low = value < bound
	default:
		bound, err := strconv.Atoi(least)
		if err != nil {
			panic(key + ": " + err.Error())
		}
		low = v.Int() < int64(bound)
	}
	if low {
		d.failAt(key, "must be at least %s", least)
	}
}

func (d *decoder) listen(key, address string) {
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || portErr != nil:
		d.failAt(key, "must be an address and a port such as 127.0.0.1:5000 or :5000")
	case n == 0:
		// the system chooses a port, which the log names
	case host != "" && host != "localhost":
		if _, err := netip.ParseAddr(host); err != nil {
			d.failAt(key, "must be an IP address and a port; %q is no IP address", host)
		}
	}
}

func (d *decoder) pools(pools map[string]Pool) {
	if len(pools) == 0 {
		d.failAt("pools", "at least one pool is needed")
	}
	owner := map[string]string{} // of a backend's name, which labels metrics and answers
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p, path := pools[name], join("pools", name)
		if len(p.Backends) == 0 {
			d.failAt(join(path, "backends"), "at least one backend is needed")
		}
		for i := range p.Backends {
			at := key(join(path, "backends"), i)
			d.backend(at, &p.Backends[i])
			if other := owner[p.Backends[i].Name]; other != "" && p.Backends[i].Name != "" {
				d.failAt(join(at, "name"), "is the name of %s too", other)
			}
			owner[p.Backends[i].Name] = at
		}
		if _, ok := pools[p.Fallback]; p.Fallback != "" && (!ok || p.Fallback == name) {
			d.failAt(join(path, "fallback"), "must name another pool")
		}
		if p.Breaker.OpenMax < p.Breaker.OpenMin {
			d.failAt(join(path, "breaker")+".open_max", "must be at least open_min")
		}
	}
}

func (d *decoder) backend(path string, b *Backend) {
	if b.Name == "" {
		d.failAt(join(path, "name"), "must be given")
	}
	if b.APIKey != "" && b.APIKeyFile.Name != "" {
		d.failAt(join(path, "api_key"), "cannot stand beside api_key_file")
	}
	u, err := url.Parse(b.URL)
	switch {
	case b.URL == "":
		d.failAt(join(path, "url"), "must be given")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		d.failAt(join(path, "url"), "must be of the form http://host:port")
	case u.User != nil:
		d.failAt(join(path, "url"), "must not hold a password; use api_key_file")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		d.failAt(join(path, "url"), "must end after the port; the router adds the path")
	}
}

func (d *decoder) models(c *Config) {
	if len(c.Models) == 0 {
		d.failAt("models", "at least one model is needed")
	}
	names := map[string]bool{}
	for name := range c.Models {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		m, path := c.Models[name], join("models", name)
		if _, ok := c.Pools[m.Pool]; !ok && len(c.Pools) > 0 {
			d.failAt(join(path, "pool"), "must name one of the pools")
		}
		for i, alias := range m.Aliases {
			if alias == "" || names[alias] {
				d.failAt(key(join(path, "aliases"), i), "must be a name that no other model has")
			}
			names[alias] = true
		}
	}
	switch _, ok := c.Models[c.Legacy.Model]; {
	case c.Legacy.Model == "" && len(c.Models) > 0:
		d.failAt("legacy.model", "must be given where there are several models")
	case c.Legacy.Model != "" && !ok:
		d.failAt("legacy.model", "must name one of the models")
	}
}

// loopback reports whether only this machine can reach the address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}
