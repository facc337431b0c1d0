package admin

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"ocrmux/compat"
)

// route is one thing that operators can do.
type route struct {
	method, path string
	query        []string // names of the parameters that it takes
	body         bool     // it takes a JSON object
	action       string   // a change's name in the audit; "" where nothing changes
	does         string   // for GET /admin
	handle       func(*call) (any, error)
}

// routes is the whole API.
func (s *server) routes() []route {
	return []route{
		{method: "GET", path: "/admin", does: "this list", handle: s.index},
		{method: "GET", path: "/admin/keys", query: []string{"tenant"}, does: "the keys, all or of one tenant", handle: s.listKeys},
		{
			method: "POST", path: "/admin/keys", body: true, action: "keys.create",
			does: "make a key for a tenant; its text is shown this once", handle: s.createKey,
		},
		{method: "GET", path: "/admin/keys/{id}", does: "a key and its tenant", handle: s.showKey},
		{
			method: "DELETE", path: "/admin/keys/{id}", action: "keys.delete",
			does: "take a key away for good", handle: s.deleteKey,
		},
		{
			method: "POST", path: "/admin/keys/{id}/rotate", body: true, action: "keys.rotate",
			does: "make a key in place of this one, which ends after a time of grace", handle: s.rotateKey,
		},
		{
			method: "POST", path: "/admin/keys/{id}/disable", action: "keys.disable",
			does: "refuse a key until it is enabled", handle: s.disableKey,
		},
		{
			method: "POST", path: "/admin/keys/{id}/enable", action: "keys.enable",
			does: "take a disabled key again", handle: s.enableKey,
		},
		{method: "GET", path: "/admin/tenants", does: "the tenants and what they may do", handle: s.listTenants},
		{method: "GET", path: "/admin/tenants/{name}", does: "one of them", handle: s.showTenant},
		{
			method: "PUT", path: "/admin/tenants/{name}", body: true, action: "tenants.set",
			does: "make a tenant, or make it say what the body says", handle: s.setTenant,
		},
		{
			method: "DELETE", path: "/admin/tenants/{name}", action: "tenants.delete",
			does: "take a tenant away that has no keys", handle: s.deleteTenant,
		},
		{
			method: "GET", path: "/admin/usage", query: []string{"tenant", "key"},
			does: "what was used today and this month", handle: s.showUsage,
		},
		{method: "GET", path: "/admin/backends", does: "the pools and their backends as they are now", handle: s.listBackends},
		{
			method: "POST", path: "/admin/backends/{name}/cordon", action: "backends.cordon",
			does: "give a backend no new work; what runs there goes on", handle: s.cordon,
		},
		{
			method: "POST", path: "/admin/backends/{name}/uncordon", action: "backends.uncordon",
			does: "give a backend work again", handle: s.uncordon,
		},
		{
			method: "POST", path: "/admin/backends/{name}/drain", query: []string{"timeout"}, action: "backends.drain",
			does: "cordon a backend and wait until nothing runs there, 30s or the timeout", handle: s.drain,
		},
		{
			method: "POST", path: "/admin/reload", action: "reload",
			does: "read the configuration again", handle: s.reload,
		},
		{method: "GET", path: "/admin/config", does: "the configuration in force, secrets hidden", handle: s.showConfig},
		{
			method: "DELETE", path: "/admin/cache", query: []string{"tenant", "model", "all"}, action: "cache.delete",
			does: "forget results, of a tenant, of a model, of both together, or all=true", handle: s.deleteCache,
		},
	}
}

// handlers are the routes by path.
func (s *server) handlers() map[string]methods {
	byPath := map[string]methods{}
	for _, rt := range s.routes() {
		if byPath[rt.path] == nil {
			byPath[rt.path] = methods{}
		}
		byPath[rt.path][rt.method] = func(w http.ResponseWriter, r *http.Request) { s.serve(rt, w, r) }
	}
	return byPath
}

// call is one request to a route.
type call struct {
	*http.Request
	query  map[string]string // only what the route knows
	body   []byte
	status int      // of a good answer
	about  []object // what a change is about, as far as it is known
}

func (c *call) names(kind, name string) { c.about = append(c.about, object{kind, name}) }

// serve answers a request and tells what it changed.
func (s *server) serve(rt route, w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, status: http.StatusOK}
	body, err := s.answer(rt, c, w)
	status, result := c.status, "done"
	if err != nil {
		known := answerOf(err)
		status, result = known.Status, known.Code
		if result == "" {
			result = known.Type
		}
		if status == http.StatusInternalServerError {
			s.deps.Log.Error("an operator's request failed", slog.String("route", rt.method+" "+rt.path), slog.String("error", plain(err)))
		}
	}
	if rt.action != "" {
		s.audit.changed(r, rt.action, c.about, status, result)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	writeBody(w, status, body)
}

// answer reads a request, has it handled and writes down what came of it.
func (s *server) answer(rt route, c *call, w http.ResponseWriter) ([]byte, error) {
	var err error
	if c.query, err = readQuery(c.Request, rt); err != nil {
		return nil, err
	}
	if c.body, err = receive(w, c.Request); err != nil {
		return nil, err
	}
	if !rt.body {
		if err := readBody(c.body, new(struct{})); err != nil {
			return nil, err
		}
	}
	value, err := rt.handle(c)
	if err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(value, "", "  ")
	return append(body, '\n'), err
}

// index shows the way to whoever has only curl.
func (s *server) index(*call) (any, error) {
	type entry struct {
		Method string   `json:"method"`
		Path   string   `json:"path"`
		Query  []string `json:"query,omitempty"`
		Does   string   `json:"does"`
	}
	var list []entry
	for _, rt := range s.routes() {
		list = append(list, entry{rt.method, rt.path, rt.query, rt.does})
	}
	return map[string]any{"routes": list}, nil
}

// methods are the handlers of one path.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http drops the body
	}
	if handle, ok := m[method]; ok {
		handle(w, r)
		return
	}
	allowed := slices.Sorted(maps.Keys(m))
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, compat.MethodNotSupported(r.Method, r.URL.Path))
}
