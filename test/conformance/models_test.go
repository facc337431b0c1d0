package conformance_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ocrmux/test/drivers"
	"ocrmux/test/stand"
)

// modelIDs lists what a tenant may use.
func (w *world) modelIDs(t *testing.T, c client, tenant string) (ids []string) {
	t.Helper()
	command := w.command(drivers.Models, nil)
	command.Key = w.keys[tenant]
	answer := w.do(t, c, command)
	if answer.Error != nil {
		t.Fatal(answer.Error)
	}
	var list struct {
		Data []struct {
			ID, Object string
			Created    int64
			OwnedBy    string `json:"owned_by"`
		}
	}
	if err := json.Unmarshal(answer.Value, &list); err != nil {
		t.Fatal(err)
	}
	for _, model := range list.Data {
		if model.Object != "model" || model.Created == 0 || model.OwnedBy == "" {
			t.Errorf("%+v", model)
		}
		ids = append(ids, model.ID)
	}
	slices.Sort(ids)
	return ids
}

func modelsList(t *testing.T, w *world, c client) {
	for tenant, want := range map[string][]string{
		everything: {otherModel, stand.Model, alias, splitModel},
		narrow:     {stand.Model, alias},
	} {
		slices.Sort(want)
		if ids := w.modelIDs(t, c, tenant); !slices.Equal(ids, want) {
			t.Errorf("%s sees %q, want %q", tenant, ids, want)
		}
	}
}

func modelsRetrieve(t *testing.T, w *world, c client) {
	for _, id := range []string{stand.Model, alias} {
		answer := w.do(t, c, w.command(drivers.Model, map[string]any{"model": id}))
		if answer.Error != nil {
			t.Fatal(answer.Error)
		}
		var model struct{ ID, Object string }
		if err := json.Unmarshal(answer.Value, &model); err != nil || model.ID != id || model.Object != "model" {
			t.Errorf("%s is %s (%v)", id, answer.Value, err)
		}
	}
}

// classes are the names under which SDKs raise an error with a status.
func checkClass(t *testing.T, c client, e *drivers.Error, name string) {
	t.Helper()
	want := map[string]string{python: name, node: name, openaiGo: "*apierror.Error", goOpenAI: "*openai.APIError", plain: "error"}
	if e.Class != want[c.letter] {
		t.Errorf("%s, want a %s", e, want[c.letter])
	}
}

func unknownModel(t *testing.T, w *world, c client) {
	for _, command := range []drivers.Command{
		w.command(drivers.Chat, with(question("Free OCR."), "model", "nobody/Nothing")),
		w.command(drivers.ChatStream, with(question("Free OCR."), "model", "nobody/Nothing")),
		w.command(drivers.Model, map[string]any{"model": "nobody/Nothing"}),
	} {
		answer := w.do(t, c, command)
		e := answer.Error
		if e == nil || e.Status != 404 || e.Code != "model_not_found" || !strings.Contains(e.Message, "nobody/Nothing") {
			t.Fatalf("%s: %v", command.Do, e)
		}
		checkClass(t, c, e, "NotFoundError")
		checkErrorBody(t, answer)
	}
	if n := len(w.received(t)); n > 0 {
		t.Errorf("a backend was asked %d times", n)
	}
}

func forbiddenModel(t *testing.T, w *world, c client) {
	for _, do := range []string{drivers.Chat, drivers.ChatStream, drivers.Model} {
		errors := map[string]drivers.Answer{}
		for _, model := range []string{otherModel, "deepseek-ai/DeepSeek-OCR-9"} {
			params := map[string]any{"model": model}
			if do != drivers.Model {
				params = with(question("Free OCR."), "model", model)
			}
			command := w.command(do, params)
			command.Key = w.keys[narrow]
			answer := w.do(t, c, command)
			if answer.Error == nil || answer.Error.Status != 404 {
				t.Fatalf("%s: %v", do, answer.Error)
			}
			answer.Error.Message = strings.ReplaceAll(answer.Error.Message, model, "?")
			errors[model] = answer
		}
		forbidden, unknown := errors[otherModel], errors["deepseek-ai/DeepSeek-OCR-9"]
		if *forbidden.Error != *unknown.Error {
			t.Errorf("%s: forbidden: %s; unknown: %s", do, forbidden.Error, unknown.Error)
		}
		if forbidden.Wire == nil {
			continue
		}
		for _, header := range []string{"Date", "X-Request-Id"} {
			forbidden.Wire.Header.Del(header)
			unknown.Wire.Header.Del(header)
		}
		if f, u := headers(forbidden), headers(unknown); f != u {
			t.Errorf("%s: forbidden: %s; unknown: %s", do, f, u)
		}
	}
}

func headers(a drivers.Answer) string {
	text, err := json.Marshal(a.Wire.Header) // sorted
	if err != nil {
		panic(err)
	}
	return string(text)
}
