package admin_test

import (
	"context"
	"errors"
	"testing"
)

func TestReload_TellsWhatChangedAndWhatCannot(t *testing.T) {
	w := newWorld(t)
	wantJSON(t, w.ask("POST", "/admin/reload", ""), 200, `{"changed":["log.level"],"unchangeable":["http.listen"]}`)
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"done","status":200,"token":"loopback"}`)
	if _, param := wantError(t, w.ask("POST", "/admin/reload", `{"force":true}`), 400, "unknown_parameter"); param != "force" || w.reloads != 1 {
		t.Errorf("param %q, %d reloads", param, w.reloads)
	}
}

func TestReload_AFileWithMistakesIsToldMistakeByMistake(t *testing.T) {
	w := newWorld(t)
	w.reload = func(context.Context) (any, error) {
		return nil, errors.Join(
			errors.New("config.yaml:3: there is no key \"colour\""),
			errors.Join(errors.New("config.yaml:8: pools.ocr: no backends"), errors.New("config.yaml:9: key sk-ocr-01234567-canary stands here")))
	}
	wantJSON(t, w.ask("POST", "/admin/reload", ""), 400, `{"error":{"message":"The configuration stays as it was: `+
		`config.yaml:3: there is no key \"colour\"; config.yaml:8: pools.ocr: no backends; config.yaml:9: key *** stands here.",`+
		`"type":"invalid_request_error","param":null,"code":"invalid_config"},`+
		`"problems":["config.yaml:3: there is no key \"colour\"","config.yaml:8: pools.ocr: no backends","config.yaml:9: key *** stands here"]}`)
	w.wantAudit(`{"action":"reload","peer":"127.0.0.1","result":"invalid_config","status":400,"token":"loopback"}`)
}

func TestConfig_IsShownAsItIs(t *testing.T) {
	w := newWorld(t)
	wantJSON(t, w.ask("GET", "/admin/config", ""), 200, `{"admin":{"token_file":"(hidden)"}}`)
}
