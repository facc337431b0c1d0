package admin

import "ocrmux/compat"

// deleteCache forgets results. What is to go must be said: nothing said is not all.
func (s *server) deleteCache(c *call) (any, error) {
	tenant, model, all := c.query["tenant"], c.query["model"], c.query["all"]
	for _, named := range []object{{"tenant", tenant}, {"model", model}, {"all", all}} {
		if named.name != "" {
			c.names(named.kind, named.name)
		}
	}
	switch {
	case all != "" && all != "true":
		return nil, compat.Invalid("all", "", "The query parameter \"all\" can only be true.")
	case all == "" && tenant == "" && model == "":
		return nil, compat.Invalid("", "", "Say what is to go: tenant=NAME, model=NAME, both, or all=true.")
	case all != "" && (tenant != "" || model != ""):
		return nil, compat.Invalid("all", "", "Say all=true, or a tenant or model, not both.")
	case s.deps.Cache == nil:
		return nil, notFound("no_cache", "There is no cache: cache.max_bytes is 0.")
	}
	n, err := s.deps.Cache.Delete(c.Context(), tenant, model)
	if err != nil {
		return nil, err
	}
	return map[string]int{"deleted": n}, nil
}
