package drift

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// selector is one metric that a PromQL expression asks for, with the matchers in
// its braces and the labels that are asked of it around.
type selector struct {
	metric   string
	matchers []matcher
	labels   []string // of by and on
}

type matcher struct{ label, op, value string }

// fits reports whether a series with this value of the label is chosen.
func (m matcher) fits(value string) bool {
	switch m.op {
	case "=":
		return value == m.value
	case "!=":
		return value != m.value
	}
	return regexp.MustCompile("^(?:"+m.value+")$").MatchString(value) == (m.op == "=~")
}

var promQL = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][\w:]*|\d[\w.]*|=~|!~|[!=<>]=|\S`)

var promQLName = regexp.MustCompile(`^[A-Za-z_:][\w:]*$`)

var operators = []string{"and", "or", "unless", "bool", "offset"}

// group is a pair of parentheses around part of an expression.
type group struct {
	labels []string // asked of every metric within
	first  int      // of the selectors within
}

// selectors reads as much of an expression as there is to look for. It knows the
// subset of PromQL that this repository uses, `by` in front of its expression,
// and refuses the rest; whether an expression is well-formed is Prometheus' to say.
func selectors(expr string) (found []selector, err error) {
	tokens := promQL.FindAllString(expr, -1)
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	groups := []group{{}}
	var by []string // for the next group
	for i := 0; i < len(tokens); i++ {
		token, inner := tokens[i], &groups[len(groups)-1]
		switch {
		case token == "(":
			groups = append(groups, group{slices.Concat(inner.labels, by), len(found)})
			by = nil
		case token == ")" && len(groups) > 1:
			groups = groups[:len(groups)-1]
		case token == "by" || token == "on":
			var list []string
			if list, i, err = labelList(tokens, i+1); err != nil {
				return nil, fmt.Errorf("%s: %w", expr, err)
			}
			if token == "by" {
				if by = list; at(i+1) != "(" {
					return nil, fmt.Errorf("%s: by stands in front of its expression here", expr)
				}
				continue
			}
			inner.labels = slices.Concat(inner.labels, list)
			for s := inner.first; s < len(found); s++ {
				found[s].labels = slices.Concat(found[s].labels, list)
			}
		case slices.Contains([]string{"without", "ignoring", "group_left", "group_right"}, token):
			return nil, fmt.Errorf("%s: %s is not known here", expr, token)
		case promQLName.MatchString(token) && at(i+1) != "(" && at(i+1) != "by" && !slices.Contains(operators, token):
			s := selector{metric: token, labels: inner.labels}
			if at(i+1) == "{" {
				if s.matchers, i, err = matchers(tokens, i+2); err != nil {
					return nil, fmt.Errorf("%s: %w", expr, err)
				}
			}
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: it asks for nothing", expr)
	}
	return found, nil
}

// labelList reads (a, b) and returns the index of its end.
func labelList(tokens []string, i int) (list []string, end int, err error) {
	if i >= len(tokens) || tokens[i] != "(" {
		return nil, i, fmt.Errorf("a list of labels is missing")
	}
	for i++; i < len(tokens) && tokens[i] != ")"; i++ {
		if tokens[i] != "," {
			list = append(list, tokens[i])
		}
	}
	return list, i, nil
}

// matchers reads a="b", c=~"d"} and returns the index of its end.
func matchers(tokens []string, i int) (list []matcher, end int, err error) {
	for ; i < len(tokens) && tokens[i] != "}"; i++ {
		if tokens[i] == "," {
			continue
		}
		if i+2 >= len(tokens) || !strings.HasPrefix(tokens[i+2], `"`) {
			return nil, i, fmt.Errorf("a matcher is cut short")
		}
		list = append(list, matcher{tokens[i], tokens[i+1], strings.Trim(tokens[i+2], `"`)})
		i += 2
	}
	return list, i, nil
}

func TestSelectors_FindWhatIsAskedFor(t *testing.T) {
	for expr, want := range map[string][]selector{
		`up`: {{metric: "up"}},
		`sum(rate(a_total{x="1",y=~"2|3"}[5m])) / sum(b) or vector(0)`: {
			{metric: "a_total", matchers: []matcher{{"x", "=", "1"}, {"y", "=~", "2|3"}}}, {metric: "b"},
		},
		`histogram_quantile(0.95, sum by (le, x) (rate(a_bucket[5m])))`: {{metric: "a_bucket", labels: []string{"le", "x"}}},
		`max by (z) (a - on (x, y) b{s!="t"}) <= 0`: {
			{metric: "a", labels: []string{"z", "x", "y"}},
			{metric: "b", matchers: []matcher{{"s", "!=", "t"}}, labels: []string{"z", "x", "y"}},
		},
	} {
		if got, err := selectors(expr); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v, want %+v", expr, got, err, want)
		}
	}
	for _, expr := range []string{`sum(a) by (x)`, `sum without (x) (a)`, `vector(0)`, `a{x=`} {
		if got, err := selectors(expr); err == nil {
			t.Errorf("%s: %+v and no error", expr, got)
		}
	}
}
