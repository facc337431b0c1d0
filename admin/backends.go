package admin

import "ocrmux/backends"

func (s *server) listBackends(*call) (any, error) {
	pools := []backends.Status{}
	for _, p := range s.deps.Pools() {
		pools = append(pools, p.Status())
	}
	return map[string]any{"pools": pools}, nil
}
