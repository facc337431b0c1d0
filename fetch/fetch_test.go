package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const publicAddr = "93.184.215.14"

// outside is an internet of one web server, at a public address of which every
// connection is led to a test server, and of traps where no connection may arrive.
type outside struct {
	t       *testing.T
	f       *Fetcher
	names   map[string][]string // what DNS says
	lookups map[string]int
	trap    net.Listener // on loopback, at a port that f takes for one of its own
	caught  atomic.Int32 // connections to the trap
	passed  atomic.Int32 // connections that control let pass, elsewhere than to the server
	served  atomic.Int32 // requests to the server
	header  http.Header  // of the last one
}

func newOutside(t *testing.T, cfg Config, serve http.HandlerFunc) *outside {
	t.Helper()
	o := &outside{t: t, names: map[string][]string{"a.example": {publicAddr}}, lookups: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.served.Add(1)
		o.header = r.Header.Clone()
		serve(w, r)
	}))
	t.Cleanup(server.Close)
	var err error
	if o.trap, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.trap.Close() })
	go func() {
		for c, err := o.trap.Accept(); err == nil; c, err = o.trap.Accept() {
			o.caught.Add(1)
			c.Close()
		}
	}()
	o.f = New(cfg, Network{
		Lookup: o.lookup,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Addr().String() == publicAddr {
				return new(net.Dialer).DialContext(ctx, "tcp", server.Listener.Addr().String())
			}
			d := net.Dialer{Control: func(network, address string, c syscall.RawConn) error {
				if err := o.f.control(network, address, c); err != nil {
					return err
				}
				o.passed.Add(1)
				return errors.New("no test goes out")
			}}
			return d.DialContext(ctx, "tcp", to.String())
		},
	}, prometheus.NewRegistry())
	o.f.ports = append(o.f.ports, o.trapPort())
	return o
}

func (o *outside) trapPort() uint16 { return netip.MustParseAddrPort(o.trap.Addr().String()).Port() }

// lookup answers from names; where a name has several lists, "|" between them, the
// next one each time.
func (o *outside) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	list, ok := o.names[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	answers := strings.Split(strings.Join(list, ","), "|")
	answer := answers[min(o.lookups[host], len(answers)-1)]
	o.lookups[host]++
	var addrs []netip.Addr
	for _, a := range strings.Split(answer, ",") {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func (o *outside) get(url string) ([]byte, error) {
	return o.f.Get(o.t.Context(), url, func(int64) error { return nil })
}

// forms are ways to reach what is not public; PORT is the trap's.
var forms = strings.Fields(`
http://127.0.0.1/ http://127.0.0.1:PORT/ http://127.1:PORT/ http://127.0.1:PORT/ http://2130706433:PORT/ http://0177.0.0.1:PORT/
http://0177.0.0.01:PORT/ http://017700000001:PORT/ http://0x7f000001:PORT/ http://0x7f.0.0.1:PORT/ http://0x7f.1:PORT/
http://0X7F.0X0.0X0.0X1:PORT/ http://127.0.0.0x1:PORT/ http://127.000.000.001:PORT/ http://127.0.0.1.:PORT/ http://127.0.0.01/
http://4294967297/ http://0/ http://0.0.0.0:PORT/ http://0.0.0.0/ http://255.255.255.255/ http://127.255.255.254:PORT/
http://10.0.0.1/ http://10.255.255.255/ http://172.16.0.1/ http://172.31.255.255/ http://192.168.1.1/ http://100.64.0.1/
http://100.100.100.200/ http://100.127.255.255/ http://169.254.169.254/ http://169.254.169.254/latest/meta-data/ http://2852039166/
http://0xa9fea9fe/ http://0251.0376.0251.0376/ http://169.254.43518/ http://168.63.129.16/ http://192.0.0.192/ http://192.0.2.1/
http://192.88.99.1/ http://198.18.0.1/ http://198.51.100.7/ http://203.0.113.9/ http://224.0.0.1/ http://239.255.255.250/ http://240.0.0.1/
http://[::1]/ http://[::1]:PORT/ http://[::]/ http://[::]:PORT/ http://[0:0:0:0:0:0:0:1]:PORT/ http://[0000::1]:PORT/
http://[::ffff:127.0.0.1]:PORT/ http://[::ffff:7f00:1]:PORT/ http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/ http://[::ffff:10.0.0.1]/
http://[::ffff:93.184.215.14]/ http://[::127.0.0.1]:PORT/ http://[::ffff:0:127.0.0.1]/ http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::7f00:1]/
http://[64:ff9b:1::a00:1]/ http://[64:ff9b::808:808]/ http://[2002:7f00:1::]/ http://[2002:a00:1::1]/ http://[2002:5db8:d70e::]/
http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/ http://[2001:10::1]/ http://[2001:db8::1]/ http://[3fff::1]/ http://[fe80::1]/
http://[fe80::1%25lo]/ http://[fe80::1%25eth0]:PORT/ http://[fec0::1]/ http://[fc00::1]/ http://[fd00:ec2::254]/ http://[fd20:ce::254]/
http://[ff02::1]/ http://[ff0e::1]/ http://[100::1]/ http://[5f00::1]/ http://[2600::5efe:127.0.0.1]/ http://[2600::200:5efe:10.0.0.1]/
http://[::1%25lo]/ http://[127.0.0.1]/ http://[::1 http://::1/
http://localhost/ http://localhost:PORT/ http://LOCALHOST/ http://localhost./ http://metadata/ http://metadata.google.internal/
http://local.example/ http://local.example:PORT/ http://LOCAL.EXAMPLE/ http://ten.example/ http://six.example/ http://mapped.example/
http://both.example/ http://meta.example/ http://nat64.example/ http://teredo.example/ http://127.0.0.1.nip.example/ http://zero.example/
http://gone.example/ http://a.example./ http://a..example/ http://.a.example/ http://-/ http://a_b/
http://user@127.0.0.1/ http://user:password@a.example/ http://a.example@127.0.0.1:PORT/ http://127.0.0.1@a.example/ http://@a.example/
http://a.example:80@127.0.0.1:PORT/ http://a.example#@127.0.0.1/ http://127.0.0.1:PORT#@a.example/ http://127.0.0.1:PORT?@a.example/
http://a.example\@127.0.0.1/ http://127.0.0.1\@a.example/ http://127.0.0.1:PORT\.a.example/ http://a.example%40127.0.0.1/
http://127。0。0。1/ http://127.0.0.1/ http://①②⑦.⓪.⓪.①/ http://ⓛocalhost/ http://ⓐ.example/ http://аpple.example/ http://127%2e0%2e0%2e1/
http://%31%32%37.0.0.1/ http://127.0.0.1%00.a.example/ http://a.example%2f@127.0.0.1/ http://[::ffff:127。0。0。1]/
http://a.example:22/ http://a.example:8000/ http://a.example:0/ http://a.example:/ http://a.example:080/ http://a.example:65616/ http://a.example:-80/
http://a.example:80:80/ http://a.example:+80/ http://a.example:8０/ https://127.0.0.1/ https://local.example/ https://127.0.0.1:443/
ftp://a.example/ file:///etc/passwd gopher://127.0.0.1:PORT/_x dict://127.0.0.1:PORT/ ldap://127.0.0.1/ jar:http://a.example!/ data:text/html,x
javascript:1 unix:///run/docker.sock http+unix://%2Frun%2Fdocker.sock/ //127.0.0.1/ /etc/passwd 127.0.0.1:PORT http: http:/ http:// http:///
http:127.0.0.1/ http:/127.0.0.1/ http:///127.0.0.1/ http:\\127.0.0.1\ http://?a.example http://#a.example
`)

func (o *outside) forms() (list []string) {
	for _, f := range forms {
		list = append(list, strings.ReplaceAll(f, "PORT", fmt.Sprint(o.trapPort())))
	}
	return append(list, "http://127.0.0.1\t:80/", "http://a.example/\r\nHost: x", " http://127.0.0.1/", "http://127.0.0.1 /", "\x00http://127.0.0.1/", "")
}

// pretend are names whose owner lets them point into other people's networks.
func (o *outside) pretend() {
	for name, list := range map[string]string{
		"local.example": "127.0.0.1", "ten.example": "10.1.2.3", "six.example": "::1", "mapped.example": "::ffff:127.0.0.1",
		"both.example": publicAddr + ",127.0.0.1", "meta.example": "169.254.169.254", "nat64.example": "64:ff9b::a00:1",
		"teredo.example": "2001::1", "127.0.0.1.nip.example": "127.0.0.1", "zero.example": "0.0.0.0",
		// what a lenient resolver would make of these
		"localhost": "127.0.0.1", "metadata": "169.254.169.254", "metadata.google.internal": "169.254.169.254",
		"2130706433": "127.0.0.1", "0x7f000001": "127.0.0.1", "127.1": "127.0.0.1", "0": "0.0.0.0", "a_b": publicAddr, "-": publicAddr,
		"a.example.": publicAddr,
	} {
		o.names[name] = []string{list}
	}
}

func TestGet_NothingThatIsNotPublicIsConnectedTo(t *testing.T) {
	o := newOutside(t, Config{}, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page") })
	o.pretend()
	list := o.forms()
	if len(list) < 150 {
		t.Fatalf("only %d forms", len(list))
	}
	// A few end at the server because what is dangerous in them is, in Go's reading, a fragment.
	harmless := map[string]bool{"http://a.example#@127.0.0.1/": true}
	for _, form := range list {
		if _, err := o.get(form); (err == nil) != harmless[form] || err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, ErrUnreachable) {
			t.Errorf("%q: got %v", form, err)
		}
	}
	if o.passed.Load() != 0 || o.caught.Load() != 0 || int(o.served.Load()) != len(harmless) {
		t.Errorf("%d connections passed, %d arrived, %d requests were served; want 0, 0, %d", o.passed.Load(), o.caught.Load(), o.served.Load(), len(harmless))
	}
	// The counters count: another public address passes.
	if _, err := o.get("http://[2600::1]/"); !errors.Is(err, ErrUnreachable) || o.passed.Load() != 1 {
		t.Errorf("a public address: %v, %d passed", err, o.passed.Load())
	}
}

func TestGet_RedirectsAreHeldToTheSame(t *testing.T) {
	var target string
	o := newOutside(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/start" {
			w.Header().Set("Location", target)
			w.WriteHeader(302)
			return
		}
		fmt.Fprint(w, "page")
	})
	o.pretend()
	for _, target = range o.forms() {
		if strings.ContainsAny(target, "\r\n\x00") { // no header can hold it
			continue
		}
		before := o.served.Load()
		_, err := o.get("http://a.example/start")
		// Some of these are paths of the same server when they are no URL.
		if same := o.served.Load() > before+1; err == nil && !same || err != nil && !errors.Is(err, ErrUnreachable) {
			t.Errorf("%q: got %v", target, err)
		}
	}
	if o.passed.Load() != 0 || o.caught.Load() != 0 {
		t.Errorf("%d connections passed, %d arrived", o.passed.Load(), o.caught.Load())
	}
	target = "https://[2600::1]/"
	if _, err := o.get("http://a.example/start"); err == nil || o.passed.Load() != 1 {
		t.Errorf("a redirect to a public address: %v, %d passed", err, o.passed.Load())
	}
}

func TestGet_ANameThatIsRebound(t *testing.T) {
	o := newOutside(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://rebound.example/again")
		w.WriteHeader(307)
	})
	o.names["rebound.example"] = []string{publicAddr + "|127.0.0.1"}
	if _, err := o.get("http://rebound.example/"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if o.lookups["rebound.example"] != 2 || o.served.Load() != 1 || o.passed.Load() != 0 || o.caught.Load() != 0 {
		t.Errorf("%d lookups, %d served, %d passed, %d arrived", o.lookups["rebound.example"], o.served.Load(), o.passed.Load(), o.caught.Load())
	}
}

// Were the checks before it to fail, the connection itself would be refused.
func TestDial_AddressesAreCheckedWhenTheConnectionIsMade(t *testing.T) {
	o := newOutside(t, Config{}, nil)
	port := o.trapPort()
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "fd00::1"} {
		c, err := o.f.dial(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(a), port))
		if !errors.Is(err, errNotPublic) {
			t.Errorf("%s: got %v, %v", a, c, err)
		}
	}
	if err := o.f.control("tcp4", publicAddr+":22", nil); err == nil {
		t.Error("port 22 passes")
	}
	if err := o.f.control("tcp6", "[2600::1]:443", nil); err != nil {
		t.Errorf("a public address: %v", err)
	}
	if o.caught.Load() != 0 {
		t.Errorf("%d connections arrived", o.caught.Load())
	}
	// The trap works.
	if c, err := net.Dial("tcp", o.trap.Addr().String()); err != nil {
		t.Error(err)
	} else {
		_, _ = c.Read(make([]byte, 1)) // until it is closed
		if c.Close(); o.caught.Load() != 1 {
			t.Error("the trap does not count")
		}
	}
}

func TestGet_NothingOfOursGoesAlong(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	o := newOutside(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "who", Value: "me"})
		if r.URL.Path != "/page" {
			http.Redirect(w, r, "/page?secret", http.StatusFound)
			return
		}
		fmt.Fprint(w, "page")
	})
	var held int64
	body, err := o.f.Get(t.Context(), "http://a.example:80/#here", func(n int64) error { held = n; return nil })
	if err != nil || string(body) != "page" || held != 4 {
		t.Fatalf("got %q, %v, held %d", body, err, held)
	}
	for name := range o.header {
		if name != "Accept" && name != "User-Agent" && name != "Connection" {
			t.Errorf("header %s: %q", name, o.header[name])
		}
	}
	if n := testutil.ToFloat64(o.f.metrics.fetches.WithLabelValues("ok")); n != 1 {
		t.Errorf("counted %v", n)
	}
}

func TestGet_FollowsThreeRedirectsAndNoMore(t *testing.T) {
	o := newOutside(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		n := len(r.URL.Path) - 1
		if n == 0 {
			fmt.Fprint(w, "page")
			return
		}
		http.Redirect(w, r, r.URL.Path[:n], http.StatusMovedPermanently)
	})
	if body, err := o.get("http://a.example/xxx"); err != nil || string(body) != "page" {
		t.Errorf("three: %q, %v", body, err)
	}
	before := o.served.Load()
	if _, err := o.get("http://a.example/xxxx"); !errors.Is(err, ErrUnreachable) || o.served.Load()-before != 4 {
		t.Errorf("four: %v after %d requests", err, o.served.Load()-before)
	}
}

func TestGet_BoundsTheSize(t *testing.T) {
	o := newOutside(t, Config{MaxBytes: 1000}, func(w http.ResponseWriter, r *http.Request) {
		n := 1000
		if strings.Contains(r.URL.Path, "large") {
			n = 1001
		}
		if strings.Contains(r.URL.Path, "chunked") {
			w.(http.Flusher).Flush()
		}
		if strings.Contains(r.URL.Path, "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(bytes.Repeat([]byte("x"), n))
	})
	for path, want := range map[string]error{
		"": nil, "chunked": nil, "large": ErrTooLarge, "large-chunked": ErrTooLarge, "gzip": ErrUnreachable,
	} {
		body, err := o.get("http://a.example/" + path)
		if !errors.Is(err, want) || err == nil && len(body) != 1000 {
			t.Errorf("%q: got %d bytes, %v, want %v", path, len(body), err, want)
		}
	}
	full := errors.New("no room")
	if _, err := o.f.Get(t.Context(), "http://a.example/", func(int64) error { return full }); err != full {
		t.Errorf("without room: %v", err)
	}
}

func TestGet_OnlyFromTheHostsThatAreListed(t *testing.T) {
	o := newOutside(t, Config{Hosts: []string{"a.example"}}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://b.example/", http.StatusFound)
		}
	})
	o.names["b.example"] = []string{publicAddr}
	for url, want := range map[string]error{
		"http://a.example/": nil, "http://A.Example/": nil, "http://b.example/": ErrRefused,
		"http://a.example/away": ErrUnreachable, "http://x.a.example/": ErrRefused, "http://" + publicAddr + "/": ErrRefused,
	} {
		if _, err := o.get(url); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", url, err, want)
		}
	}
}

func TestGet_BoundsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		for _, c := range []struct {
			leave time.Duration
			want  error
		}{{time.Hour, ErrSlow}, {3 * time.Second, gone}} {
			f := New(Config{}, Network{
				Lookup: func(context.Context, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr(publicAddr)}, nil
				},
				Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { // answers a byte a second
					near, far := net.Pipe()
					go func() {
						defer far.Close()
						_, _ = far.Read(make([]byte, 4096))
						for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") {
							time.Sleep(time.Second)
							if _, err := far.Write([]byte{b}); err != nil {
								return
							}
						}
					}()
					return near, nil
				},
			}, prometheus.NewRegistry())
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(c.leave, func() { cancel(gone) })
			began := time.Now()
			_, err := f.Get(ctx, "http://a.example/", func(int64) error { return nil })
			if took := time.Since(began); !errors.Is(err, c.want) || took != min(c.leave, 10*time.Second) {
				t.Errorf("got %v after %s, want %v", err, took, c.want)
			}
			timer.Stop()
			cancel(nil)
			time.Sleep(2 * time.Second) // until the other end notices
		}
	})
}

func TestPublic_LeavesTheInternetItself(t *testing.T) {
	for _, a := range []string{
		"1.1.1.1", "8.8.8.8", publicAddr, "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1",
		"169.253.255.255", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2003::1",
	} {
		if !public(netip.MustParseAddr(a)) {
			t.Errorf("%s is not public", a)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}
