package balancer_test

import (
	"strings"
	"testing"

	"ocrmux/balancer"
)

func TestConfig_NamesWhatIsWrong(t *testing.T) {
	good := []balancer.Backend{{Name: "a", MaxInFlight: 1}}
	for want, cfg := range map[string]balancer.Config{
		"at least one backend": {},
		"max_in_flight is 0":   {Backends: []balancer.Backend{{Name: "a"}}},
		"used twice":           {Backends: append(good, good...)},
		`policy "fastest"`:     {Backends: good, Policy: "fastest"},
		"max_queue is -1":      {Backends: good, MaxQueue: -1},
		"not be negative":      {Backends: good, StallSilence: -1},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
	if err := (balancer.Config{Backends: good}).Validate(); err != nil {
		t.Errorf("a good configuration is refused: %v", err)
	}
}
