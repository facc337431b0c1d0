package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ocrmux/test/stand"
)

// canaries are everything that must stay between a client and its backend. All
// texts contain "canary", whatever else is in them.
const (
	canaryPrompt = "canaryprompt-77aa read me"
	canaryFile   = "canaryfile-31c0.png"
	canaryImage  = "canaryimage-90be in the bytes"
	canaryHeader = "canaryheader-5d5e"
)

// canaryPage is a valid PNG that says canaryImage in a text chunk of its own.
func canaryPage(t *testing.T) []byte {
	t.Helper()
	whole := picture(t, 999)
	const head = 8 + 25 // signature and IHDR
	chunk := append([]byte("tEXt"), "Comment\x00"+canaryImage...)
	text := binary.BigEndian.AppendUint32(nil, uint32(len(chunk)-4))
	text = binary.BigEndian.AppendUint32(append(text, chunk...), crc32.ChecksumIEEE(chunk))
	return bytes.Join([][]byte{whole[:head], text, whole[head:]}, nil)
}

// leaks are the forms in which a canary would be seen.
func leaks(key, badKey string, image []byte) map[string]string {
	secret := func(key string) string { return strings.Split(key, "-")[3] }
	forms := map[string]string{
		"a canary":           "canary",
		"the key's secret":   secret(key),
		"a bad key's secret": secret(badKey),
	}
	encoded := base64.StdEncoding.EncodeToString(image)
	for i := 0; i+24 <= len(encoded); i += 24 {
		forms[fmt.Sprintf("base64 of the image from character %d", i)] = encoded[i : i+24]
	}
	for shift := range 3 { // a text's base64 depends on where it begins
		b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(".", shift) + canaryImage))
		forms[fmt.Sprintf("base64 of a canary, shifted by %d", shift)] = b[4:24]
	}
	forms["the image in hexadecimal"] = hex.EncodeToString([]byte(canaryImage))
	return forms
}

// misdeed is a request that ends in an error, and the beginning of its answer.
type misdeed struct {
	name string
	send string // raw bytes of the request
	want string // the status; "" where none can be
}

func TestCanaries_ReachNoLogMetricOrAnybodyElse(t *testing.T) {
	t.Parallel()
	first, second := startMouth(t), startMouth(t)
	s := stand.New(t, stand.Options{
		Others: []string{first.url, second.url},
		HTTP:   "header_timeout: 2s\nbody_timeout: 2s",
		Config: "log: {level: debug}\nopenai: {timeout: 1500ms, stream_timeout: 1500ms, silence: 1s, keep_alive: 300ms, max_body: 1MiB}\nlegacy: {timeout: 1500ms, max_body: 1MiB}",
		Pool:   "health: {interval: 50ms}\nbreaker: {open_min: 1ms, open_max: 2ms}\nretry: {percent: 100, min: 100}",
		Keys:   "tenants: [{name: victim}, {name: innocent}, {name: limited, limits: {requests_per_minute: 2}}]\nkeys: []\n",
	})
	router := s.Routers[0]
	victim, innocent, limited := createKey(t, router, "victim"), createKey(t, router, "innocent"), createKey(t, router, "limited")
	image := canaryPage(t)
	badKey := victim[:len(victim)-20] + "00000000000-00000000"
	forms := leaks(victim, badKey, image)

	stop, others := askInnocently(t, router, innocent, forms)
	h := hostile{address: strings.TrimPrefix(router.URL, "http://"), key: victim, image: image}
	try := func(d misdeed) {
		got, err := exchange(h.address, d.send)
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 "+d.want) {
			t.Errorf("%s: answered %.120q (%v), want status %s", d.name, got, err, d.want)
		}
		for name, form := range forms {
			if strings.Contains(name, "secret") && strings.Contains(got, form) {
				t.Errorf("%s: the answer has %s", d.name, name)
			}
		}
	}
	failures, refusals := h.failures(), h.refusals(badKey, limited)
	var group errgroup.Group
	group.SetLimit(8)
	for _, d := range failures {
		group.Go(func() error { try(d); return nil })
	}
	_ = group.Wait() // try has told
	for _, d := range refusals {
		try(d)
	}
	stop()
	for _, m := range []*mouth{first, second} {
		if len(m.seen) == 0 {
			t.Error("a backend was never asked")
		}
	}
	met := make(map[string]bool)
	for _, m := range []*mouth{first, second} {
		for how := range m.seen {
			met[how] = true
		}
	}
	for _, how := range behaviours {
		if !met[how] {
			t.Errorf("no backend was asked to behave %q", how)
		}
	}

	metrics, status := stand.Get(t, router.Admin+"/metrics"), stand.Get(t, router.Admin+"/admin/backends")
	router.End(t, syscall.SIGTERM) // so that the log is whole
	for where, text := range map[string]string{"the log": router.Log(t), "/metrics": metrics, "/admin/backends": status} {
		for name, form := range forms {
			if at := strings.Index(strings.ToLower(text), strings.ToLower(form)); at >= 0 {
				t.Errorf("%s has %s: ...%.300q", where, name, text[max(0, at-200):])
			}
		}
	}
	t.Logf("canaries: %d requests through error paths, %d answers to others, %d lines of log at level debug, %d bytes of metrics: %d forms looked for",
		len(failures)+len(refusals), others.Load(), strings.Count(router.Log(t), "\n"), len(metrics), len(forms))
}

// behaviours are all that a mouth can be asked for but to hang, which has its
// own requests.
var behaviours = []string{
	"status400", "status401", "status403", "status404", "status413", "status422", "status429", "status500", "status501", "status503",
	"detail", "flat", "html", "redirect", "nonsense", "badheader", "badlength", "cutwhole", "brokenjson", "errorinside",
	"eventerror", "eventbroken", "eventlong", "eventcut", "eventshort", "eventhang", "hang", "well",
}

// hostile writes requests that are full of canaries.
type hostile struct {
	address, key string
	image        []byte
}

// failures are requests that a backend lets fail.
func (h hostile) failures() (all []misdeed) {
	for _, how := range behaviours {
		prompt := canaryPrompt + " behave:" + how
		all = append(all,
			misdeed{how + ", whole", h.chat(how, ""), ""},
			misdeed{how + ", stream", h.chat(how, `,"stream":true`), ""},
			misdeed{how + ", /ocr", h.ocr(canaryFile, h.image, prompt), ""},
			misdeed{how + ", batch", h.form("/ocr/batch", "files", canaryFile, h.image, prompt), ""})
	}
	return all
}

// refusals are requests that the router refuses by itself.
func (h hostile) refusals(badKey, limited string) (all []misdeed) {
	add := func(name, want, send string) { all = append(all, misdeed{name, send, want}) }
	body := string(chatBody(page{png: h.image}, canaryPrompt, ""))
	with := func(old, new string) string { return h.json(strings.Replace(body, old, new, 1)) }
	add("broken JSON", "400", with(`"messages":[`, `"messages":[`+"\x00"))
	add("JSON cut short", "400", h.json(body[:len(body)-30]))
	add("a key twice", "400", with(`"model"`, `"canaryname":1,"canaryname":2,"model"`))
	add("not UTF-8", "400", with(canaryPrompt, canaryPrompt+"\xff"))
	add("a forbidden key", "400", with(`"model"`, `"cache_salt":"canarysalt","model"`))
	add("a forbidden part", "400", with(`{"type":"text"`, `{"type":"canarytype","canary":1},{"type":"text"`))
	add("a URL to fetch", "400", with("data:image/png;base64,", "http://canaryhost.example/"))
	add("a media type that is none", "400", with("data:image/png", "data:canary/png"))
	add("base64 that is none", "400", with("base64,", "base64,canary!!!"))
	add("an unknown model", "404", with(stand.Model, "canarymodel"))
	add("a wrong type", "400", with(`"model":"`, `"stream":"canarystream","model":"`))
	add("too large", "413", h.json(body[:len(body)-1]+`,"user":"canaryuser`+strings.Repeat("x", 1<<20)+`"}`))
	add("an unknown URL", "404", h.post("/v1/canarypath?canaryquery=1", "application/json", body))
	add("a wrong method", "405", strings.Replace(h.json(body), "POST", "PUT", 1))
	add("compressed", "415", strings.Replace(h.json(body), "Content-Type", "Content-Encoding: canarycoding\r\nContent-Type", 1))

	key := func(request, key string) string { return strings.Replace(request, h.key, key, 1) }
	add("a bad key", "401", key(h.json(body), badKey))
	add("a bad key to /ocr", "4", key(h.ocr(canaryFile, h.image, canaryPrompt), badKey))
	add("a mistyped key", "4", key(h.json(body), h.key+"x"))
	// By now the address has tried so many that it may be throttled: 401 or 429.
	add("another scheme", "4", strings.Replace(h.json(body), "Bearer ", "Basic ", 1))
	add("X-API-Key", "4", strings.Replace(key(h.ocr(canaryFile, h.image, canaryPrompt), badKey), "Authorization: Bearer", "X-API-Key:", 1))
	add("within the limit", "200", key(h.chat("well", ""), limited))
	add("over the limit", "429", key(h.chat("well", ""), limited))
	add("over the limit at /ocr", "429", key(h.ocr(canaryFile, h.image, canaryPrompt), limited))

	add("no image", "500", h.ocr(canaryFile, []byte("canaryimage, which is none"), canaryPrompt))
	add("a corrupt image", "", h.ocr(canaryFile, h.image[:60], canaryPrompt))
	add("a file of another kind", "400", h.ocr("../../canaryfile.exe", h.image, canaryPrompt))
	add("no file", "400", h.form("/ocr", "canaryfield", canaryFile, h.image, canaryPrompt))
	add("a broken form", "400", h.post("/ocr", "multipart/form-data; boundary=canaryboundary", "--canaryboundary\r\ncanary"))
	add("a form that is too large", "413", h.ocr(canaryFile, make([]byte, 1<<20), canaryPrompt))

	head := func(name, want, line string) {
		add(name, want, strings.Replace(h.json(body), "Host: ", line+"Host: ", 1))
	}
	head("two keys", "400", "Authorization: Bearer canarykey\r\n")
	head("a folded header", "400", "X-Canary: "+canaryHeader+"\r\n "+canaryHeader+"\r\n")
	head("no colon", "400", "Authorization Bearer "+h.key+"\r\n")
	head("a blank before the colon", "400", "Authorization : Bearer "+h.key+"\r\n")
	head("a bare line feed", "400", "X-Canary: "+canaryHeader+"\n")
	head("a zero byte", "400", "X-Canary: "+canaryHeader+"\x00\r\n")
	head("two framings", "400", "Transfer-Encoding: chunked\r\n")
	head("a length that is none", "400", "Content-Length: canarylength\r\n")
	head("large headers", "431", "Authorization: Bearer "+h.key+strings.Repeat("x", 20<<10)+"\r\n")
	add("no HTTP", "400", "canarymethod "+h.key+"\r\n\r\n")
	add("another version", "", strings.Replace(h.json(body), "HTTP/1.1", "HTTP/canaryversion", 1))
	add("a head that never ends", "", "POST /ocr HTTP/1.1\r\nAuthorization: Bearer "+h.key+"\r\nX-Canary: "+canaryHeader)
	add("a body that never ends", "408", h.json(body)[:len(h.json(body))-100])
	return all
}

// chat is a chat request with an image whose backend is to behave in some way.
func (h hostile) chat(how, extra string) string {
	return h.json(string(chatBody(page{png: h.image}, canaryPrompt+" behave:"+how, extra)))
}

func (h hostile) json(body string) string {
	return h.post("/v1/chat/completions", "application/json", body)
}

func (h hostile) ocr(name string, image []byte, prompt string) string {
	return h.form("/ocr", "file", name, image, prompt)
}

func (h hostile) form(path, field, name string, image []byte, prompt string) string {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, _ := form.CreateFormFile(field, name) // into memory, as what follows
	_, _ = part.Write(image)
	_ = form.WriteField("prompt", prompt)
	_ = form.Close()
	return h.post(path, form.FormDataContentType(), body.String())
}

func (h hostile) post(path, contentType, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nCookie: %s\r\nUser-Agent: %s\r\nX-Request-Id: %s\r\n"+
		"Connection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		path, h.address, h.key, canaryHeader, canaryHeader, canaryHeader, contentType, len(body), body)
}

// exchange sends raw bytes and returns all that comes back.
func exchange(address, request string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(stand.Patience))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, request) // the router may have heard enough
	}()
	answer, _ := io.ReadAll(conn) // a reset after the answer is no matter
	_ = conn.Close()
	<-sent
	return string(answer), nil
}

// askInnocently lets others use the router until stop is called. No canary may
// be in what they get.
func askInnocently(t *testing.T, router *stand.Router, key string, forms map[string]string) (stop func(), answers *atomic.Int64) {
	t.Helper()
	c := newClient(t, router.URL, key)
	answers = new(atomic.Int64)
	paths := []string{"GET /", "GET /health", "GET /v1/models", "GET /v1/nothing", "POST /v1/chat/completions", "POST /ocr", "GET /nothing"}
	pause := time.NewTicker(5 * time.Millisecond)
	t.Cleanup(pause.Stop)
	l := run(t, 4, func(ctx context.Context, client, turn int) done {
		<-pause.C
		method, path, _ := strings.Cut(paths[(client+turn)%len(paths)], " ")
		req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(map[string]string{"POST": "{nonsense", "GET": ""}[method]))
		if err != nil {
			return done{err: err}
		}
		req.Header.Set("Authorization", "Bearer "+c.key)
		res, err := c.http.Do(req)
		if err != nil {
			return done{err: err}
		}
		defer res.Body.Close()
		said, err := io.ReadAll(res.Body)
		all := strings.ToLower(fmt.Sprint(res.Header) + string(said))
		for name, form := range forms {
			if strings.Contains(all, strings.ToLower(form)) {
				err = fmt.Errorf("%s %s: the answer to somebody else has %s", method, path, name)
			}
		}
		answers.Add(1)
		return done{kind: path, err: err}
	})
	return func() { tally(t, l.stop()) }, answers
}
