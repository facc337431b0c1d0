package admin

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestReadBody_RefusesWhatItDoesNotKnowByName(t *testing.T) {
	type inner struct {
		InProgress int `json:"in_progress,omitempty"`
	}
	type outer struct {
		Tenant string            `json:"tenant"`
		Only   bool              `json:"only"`
		Weight float64           `json:"weight"`
		Models []string          `json:"models"`
		Limits inner             `json:"limits"`
		Labels map[string]string `json:"labels"`
		At     time.Time         `json:"at"`
	}
	for body, want := range map[string]string{ // status is 400; the message's part that matters
		`{"tennant":"a"}`:                  `There is no member "tennant"`,
		`{"Tenant":"a"}`:                   `There is no member "Tenant"`,
		`{"limits":{"in_progres":1}}`:      `There is no member "limits.in_progres"`,
		`{"limits":{"in_progress":"1"}}`:   `The member "limits.in_progress" must be a whole number, not string`,
		`{"limits":{"in_progress":1.5}}`:   `The member "limits.in_progress" must be a whole number, not number 1.5`,
		`{"limits":[]}`:                    `The member "limits" must be an object, not array`,
		`{"tenant":1}`:                     `The member "tenant" must be a string, not number`,
		`{"only":"yes"}`:                   `The member "only" must be true or false, not string`,
		`{"weight":"heavy"}`:               `The member "weight" must be a number, not string`,
		`{"models":"all"}`:                 `The member "models" must be a list, not string`,
		`{"labels":{"a":1}}`:               `must be a string, not number`,
		`{"at":"tomorrow"}`:                `The body does not fit`,
		`{"tenant":"a","tenant":"b"}`:      `could not parse`,
		`{"limits":{"x":1,"x":2}}`:         `could not parse`,
		`{"labels":{"x":"1","x":"2"}}`:     `could not parse`,
		`{"tenant":"a"} {}`:                `could not parse`,
		`{"tenant":"a"`:                    `could not parse`,
		`[]`:                               `could not parse`,
		`null`:                             `could not parse`,
		"{\"tenant\":\"\xff\"}":            `could not parse`,
		`{"a":` + strings.Repeat("[", 1e4): `could not parse`,
	} {
		err := readBody([]byte(body), new(outer))
		if err == nil {
			t.Errorf("%.60s passes", body)
			continue
		}
		if answer := answerOf(err); answer.Status != 400 || !strings.Contains(answer.Message, want) {
			t.Errorf("%.60s: %d %s, want %q", body, answer.Status, answer.Message, want)
		}
	}
	for _, body := range []string{"", " \n", "{}", `{"tenant":"a","limits":{"in_progress":1},"labels":{"Any":"thing"},"at":"2027-01-31T12:00:00Z"}`} {
		if err := readBody([]byte(body), new(outer)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestReceive_IsBounded(t *testing.T) {
	for size, want := range map[int]int{maxBody: 400, maxBody + 1: 413} {
		recorder := httptest.NewRecorder()
		s := &server{}
		handle := func(c *call) (any, error) { return nil, readBody(c.body, new(struct{})) }
		s.serve(route{body: true, handle: handle}, recorder, httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", size))))
		if recorder.Code != want {
			t.Errorf("%d bytes: %d, want %d", size, recorder.Code, want)
		}
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
	r.Header.Set("Content-Encoding", "gzip")
	if _, err := receive(httptest.NewRecorder(), r); answerOf(err).Status != 415 {
		t.Error(err)
	}
}
