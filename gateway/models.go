package gateway

import (
	"github.com/valyala/fasthttp"

	"ocrmux/compat"
)

// handleModels lists the names and aliases that the tenant may use.
func (s *Server) handleModels(rc *fasthttp.RequestCtx, x *exchange) error {
	if err := s.admitToLook(rc, x); err != nil {
		return err
	}
	var names []string
	for _, m := range x.setup.service.Models() {
		if mayUse(x.identity, m) {
			names = append(names, m.Names()...)
		}
	}
	rc.Response.Header.SetContentType("application/json")
	rc.Response.SetBodyRaw(compat.AppendModels(nil, names, s.started.Unix()))
	return nil
}

// admitToLook is for routes whose requests ask for no work: where its limits
// stand is looked up, because nothing will be charged to them.
func (s *Server) admitToLook(rc *fasthttp.RequestCtx, x *exchange) error {
	if err := s.admit(rc, x); err != nil {
		return err
	}
	standing, err := s.gate.Standing(x.ctx, x.identity)
	if err != nil {
		return err
	}
	x.standing = standing
	setStanding(&rc.Response.Header, standing)
	return nil
}

// handleModel describes one model, by its name or an alias.
func (s *Server) handleModel(name string) handler {
	return func(rc *fasthttp.RequestCtx, x *exchange) error {
		if err := s.admitToLook(rc, x); err != nil {
			return err
		}
		m := x.setup.service.Model(name)
		if m == nil || !mayUse(x.identity, m) {
			return compat.ModelNotFound(name)
		}
		rc.Response.Header.SetContentType("application/json")
		rc.Response.SetBodyRaw(compat.AppendModel(nil, name, s.started.Unix()))
		return nil
	}
}
