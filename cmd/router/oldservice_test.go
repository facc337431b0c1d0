package main

import (
	"strings"
	"testing"
)

func TestOldVariables_AreWarnedOfWhereTheyMeanNothing(t *testing.T) {
	env := func(name string) (string, bool) {
		return "canary", name == "OCR_TIMEOUT" || name == "LOG_LEVEL" || name == "DEEPSEEK_MODEL_NAME" || name == "PATH"
	}
	path := write(t, `
log: {level: "${LOG_LEVEL}"}
keys: {pepper_file: pepper}
pools: {main: {backends: [{name: gpu0, url: "http://127.0.0.1:8001"}]}}
models: {page: {pool: main}}
`)
	c, err := load(path, func(name string) (string, bool) { return "debug", name == "LOG_LEVEL" })
	if err != nil {
		t.Fatal(err)
	}
	found := oldVariablesSet(env, c.asked)
	if len(found) != 2 || !strings.Contains(found[0], "OCR_TIMEOUT") || !strings.Contains(found[0], "legacy.timeout") || !strings.Contains(found[1], "DEEPSEEK_MODEL_NAME") {
		t.Errorf("got %q", found)
	}
	if strings.Contains(strings.Join(found, ""), "canary") {
		t.Error("a value is told")
	}
}

func TestOldVariables_AreEachNamedOnce(t *testing.T) {
	named := map[string]bool{}
	for _, v := range oldVariables {
		if named[v.name] || v.instead == "" {
			t.Errorf("%+v", v)
		}
		named[v.name] = true
	}
}
