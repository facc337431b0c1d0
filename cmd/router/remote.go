package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ocrmux/auth"
	"ocrmux/usage"
)

// adminTokenVariable is the environment variable with the operators' token of
// the router that -admin names.
const adminTokenVariable = "OCRMUX_ADMIN_TOKEN"

const (
	remoteTimeout   = 30 * time.Second
	maxRemoteAnswer = 64 << 20
)

// remote is a running router, asked through its admin API.
type remote struct {
	base   string
	token  Secret
	client *http.Client
}

// newRemote returns the router whose operators' listener is at an URL. The token
// is that of the file, or else of the environment; a router that listens on its
// own machine alone may need none.
func newRemote(base, tokenFile string, env func(string) (string, bool)) (*remote, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usageError{errors.New("-admin must be an URL such as http://127.0.0.1:5001")}
	}
	token, _ := env(adminTokenVariable)
	file := SecretFile{value: Secret(token)}
	if tokenFile != "" {
		if err := file.read(tokenFile); err != nil {
			return nil, fmt.Errorf("-token-file: %s %w", tokenFile, err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // a proxy would see the token
	return &remote{
		base:  strings.TrimSuffix(u.String(), "/"),
		token: file.value,
		client: &http.Client{
			Transport: transport,
			Timeout:   remoteTimeout,
			// Elsewhere the token has no business.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// remoteError is what a router answered in place of what was asked for.
type remoteError struct {
	Status  int
	Code    string
	Message string
}

func (e *remoteError) Error() string { return e.Message }

// ask sends one request and reads the answer into result, also where the answer
// is an error: a key that could not be written into its file stands beside it.
func (r *remote) ask(method, path string, body, result any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, r.base+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+string(r.token))
	}
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRemoteAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", r.base, err)
	case len(text) > maxRemoteAnswer:
		return fmt.Errorf("%s: the answer is larger than %d MiB", r.base, maxRemoteAnswer>>20)
	}
	if err = json.Unmarshal(text, result); response.StatusCode/100 != 2 {
		return r.refusal(response, text) // whatever result may have got of it
	}
	if err != nil {
		return fmt.Errorf("%s does not answer as a router's operators' listener: %w", r.base, err)
	}
	return nil
}

// refusal is an answer that is not a success, in its own words where it has any.
func (r *remote) refusal(response *http.Response, text []byte) error {
	var answer struct {
		Error struct {
			Message string `json:"message"`
			Code    string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Error.Message == "" {
		return fmt.Errorf("%s answers %s to %s %s", r.base, response.Status, response.Request.Method, response.Request.URL.Path)
	}
	message := answer.Error.Message
	if response.StatusCode == http.StatusUnauthorized {
		message += " (-token-file, or the environment variable " + adminTokenVariable + ")"
	}
	return &remoteError{Status: response.StatusCode, Code: answer.Error.Code, Message: message}
}

func (r *remote) list(tenant string) ([]auth.PublicKey, error) {
	answer := struct {
		Keys []auth.PublicKey `json:"keys"`
	}{Keys: []auth.PublicKey{}}
	err := r.ask(http.MethodGet, "/admin/keys"+ofTenant(tenant), nil, &answer)
	return answer.Keys, err
}

func (r *remote) show(id string) (found keyAndTenant, err error) {
	err = r.ask(http.MethodGet, keyPath(id), nil, &found)
	return found, err
}

func (r *remote) create(o auth.KeyOptions) (made newKey, err error) {
	err = r.ask(http.MethodPost, "/admin/keys", struct {
		Tenant       string      `json:"tenant"`
		Expires      time.Time   `json:"expires,omitzero"`
		LoopbackOnly bool        `json:"loopback_only,omitzero"`
		Note         string      `json:"note,omitzero"`
		Limits       auth.Limits `json:"limits,omitzero"`
	}{o.Tenant, o.Expires, o.LoopbackOnly, o.Note, o.Limits}, &made)
	return made, err
}

func (r *remote) rotate(id string, grace time.Duration) (made newKey, err error) {
	err = r.ask(http.MethodPost, keyPath(id)+"/rotate", map[string]string{"grace": grace.String()}, &made)
	return made, err
}

func (r *remote) disable(id string) (auth.PublicKey, error) {
	return r.change(http.MethodPost, keyPath(id)+"/disable")
}

func (r *remote) enable(id string) (auth.PublicKey, error) {
	return r.change(http.MethodPost, keyPath(id)+"/enable")
}

func (r *remote) delete(id string) (auth.PublicKey, error) {
	return r.change(http.MethodDelete, keyPath(id))
}

func (r *remote) change(method, path string) (auth.PublicKey, error) {
	var answer struct {
		Key auth.PublicKey `json:"key"`
	}
	err := r.ask(method, path, nil, &answer)
	return answer.Key, err
}

func (r *remote) usage(tenant string) (report usage.Report, err error) {
	err = r.ask(http.MethodGet, "/admin/usage"+ofTenant(tenant), nil, &report)
	return report, err
}

func keyPath(id string) string { return "/admin/keys/" + url.PathEscape(id) }

func ofTenant(tenant string) string {
	if tenant == "" {
		return ""
	}
	return "?" + url.Values{"tenant": {tenant}}.Encode()
}
