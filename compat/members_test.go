package compat_test

import (
	"fmt"
	"strings"
	"testing"

	"ocrmux/compat"
)

func TestMembers_ReadsAnObjectAndNothingElse(t *testing.T) {
	members, err := compat.Members([]byte(` {"a" : "x\/y", "\u0062":{"a":[1, 2]},"":null} `))
	if got := fmt.Sprintf("%s", members); err != nil || got != `[{a "x\/y"} {b {"a":[1, 2]}} { null}]` {
		t.Errorf("%s, %v", got, err)
	}
	for _, data := range []string{
		"", "null", "[]", `"a"`, "{", `{"a":}`, `{"a":1}x`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`,
		`{"a":"` + "\xff" + `"}`, `{"a":"\ud800"}`, `{a:1}`, `{"a":01}`,
		"{" + strings.Repeat(`"a":[`, 20_000),
	} {
		if members, err := compat.Members([]byte(data)); err == nil {
			t.Errorf("%.40q is %s", data, members)
		}
	}
}
