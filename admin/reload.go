package admin

import (
	"fmt"
	"net/http"
	"strings"

	"ocrmux/compat"
)

// reload reads the configuration again. A file with a mistake changes nothing,
// and all of its mistakes are told at once.
func (s *server) reload(c *call) (any, error) {
	report, err := s.deps.Reload(c.Context())
	if err == nil {
		return report, nil
	}
	problems := problemsOf(err)
	return nil, &detailed{
		answer: &compat.Error{
			Status: http.StatusBadRequest, Type: invalidRequest, Code: "invalid_config",
			Message: fmt.Sprintf("The configuration stays as it was: %s.", strings.Join(problems, "; ")),
		},
		beside: map[string]any{"problems": problems},
	}
}

// problemsOf takes joined errors apart, in order.
func problemsOf(err error) []string {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{plain(err)}
	}
	var problems []string
	for _, one := range joined.Unwrap() {
		problems = append(problems, problemsOf(one)...)
	}
	return problems
}

func (s *server) showConfig(*call) (any, error) { return s.deps.Config() }
