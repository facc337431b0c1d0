package auth

// scope is something that has limits: a tenant or an address of the anonymous
// one, a key, a route, the whole. Its claims are made ready when it is loaded;
// its slots outlive it where a file is read again.
type scope struct {
	slots      *slots
	inProgress int // its limit; 0 is none
	ceiling    bool
	claims     [kinds]Claim // with a Limit of 0 where there is no limit
}

// newScope names the limits of a scope in a store that replicas may share.
func newScope(name string, limits Limits, slots *slots) *scope {
	s := &scope{slots: slots, inProgress: limits.InProgress}
	for k := range kinds {
		if limit := limits.per(k); limit > 0 {
			s.claims[k] = Claim{Key: kindNames[k] + "/" + name, Rate: minuteRate(limit), Count: 1}
		}
	}
	return s
}

// maxScopes are those of one request: tenant, key, route and the whole.
const maxScopes = 4

// Ceilings are limits that belong to no tenant: what all requests together, and
// those of one route, may take.
type Ceilings struct {
	All    Limits
	Routes map[string]Limits // by the names in Routes
}

// ceilings are Ceilings made ready for look-ups.
type ceilings struct {
	all    *scope
	routes map[string]*scope
}

// newCeilings keeps the slots of what was there before.
func newCeilings(c Ceilings, old *ceilings) *ceilings {
	made := &ceilings{all: newScope("all", c.All, new(slots)), routes: make(map[string]*scope, len(Routes))}
	if old != nil {
		made.all.slots = old.all.slots
	}
	made.all.ceiling = true
	for _, route := range Routes {
		s := newScope("route/"+route, c.Routes[route], new(slots))
		if old != nil {
			s.slots = old.routes[route].slots
		}
		s.ceiling = true
		made.routes[route] = s
	}
	return made
}
