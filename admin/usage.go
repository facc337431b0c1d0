package admin

import "ocrmux/usage"

func (s *server) showUsage(c *call) (any, error) {
	return s.deps.Usage.Report(usage.Filter{Tenant: c.query["tenant"], Key: c.query["key"]}), nil
}
