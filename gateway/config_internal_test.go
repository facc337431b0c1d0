package gateway

import (
	"reflect"
	"testing"
)

func TestConfig_ThatSaysNothingIsTheDefaults(t *testing.T) {
	var c Config
	if c.fill(); !reflect.DeepEqual(c, Defaults()) {
		t.Errorf("got %+v, want %+v", c, Defaults())
	}
}
