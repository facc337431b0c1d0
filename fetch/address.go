package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// parse reads a URL and holds it to its form: http or https, port 80 or 443,
// nobody's password, and a host whose name every parser reads alike.
func (f *Fetcher) parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Opaque != "":
		return nil, fmt.Errorf("%w: it is not a URL", ErrRefused)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: only http and https are", ErrRefused)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it names a user", ErrRefused)
	case !f.mayPort(u):
		return nil, fmt.Errorf("%w: only ports 80 and 443 are", ErrRefused)
	}
	u.Host = strings.ToLower(u.Host)
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		if !public(addr) {
			return nil, fmt.Errorf("%w: its address is not public", ErrRefused)
		}
	} else if !isName(host) {
		return nil, fmt.Errorf("%w: its host is neither a full name nor an address", ErrRefused)
	}
	if len(f.cfg.Hosts) > 0 && !slices.Contains(f.cfg.Hosts, host) {
		return nil, fmt.Errorf("%w: its host is not among those that are fetched from", ErrRefused)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// mayPort reports whether the port of u, as it is written, is one of the two.
func (f *Fetcher) mayPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	return slices.ContainsFunc(f.ports, func(p uint16) bool { return strconv.Itoa(int(p)) == u.Port() })
}

// isName reports whether host is a full DNS name of ASCII letters, digits and
// hyphens that no parser could take for an address: what inet_aton reads as one
// (2130706433, 0x7f.1, 127.1) ends in a label that begins with a digit, which no
// top-level domain does. Other scripts must come as punycode.
func isName(host string) bool {
	labels := strings.Split(host, ".")
	if len(host) > 253 || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	return 'a' <= last[0] && last[0] <= 'z'
}

// connect makes a connection to a host whose addresses are all public. One that
// has others beside them is somebody's trick, and refused as a whole.
func (f *Fetcher) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{}
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, addr)
	} else if addrs, err = f.network.Lookup(ctx, host); err != nil {
		return nil, err
	}
	if len(addrs) == 0 || !allPublic(addrs) {
		return nil, errNotPublic
	}
	var conn net.Conn
	for _, addr := range addrs[:min(len(addrs), maxAddresses)] {
		to, err := netip.ParseAddrPort(net.JoinHostPort(addr.String(), port))
		if err != nil {
			return nil, err
		}
		if conn, err = f.network.Dial(ctx, to); err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	return nil, ErrUnreachable
}

// lookup asks DNS, without the search list of the machine.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host+".")
	for i := range addrs {
		addrs[i] = addrs[i].Unmap() // as Go writes addresses of A records
	}
	return addrs, err
}

func (f *Fetcher) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: f.control}
	return d.DialContext(ctx, "tcp", to.String())
}

// control is called with the address of a connection when it is about to be made.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !public(to.Addr()) || !slices.Contains(f.ports, to.Port()) {
		return errNotPublic
	}
	return nil
}

var errNotPublic = fmt.Errorf("%w: no public address", ErrUnreachable)

func allPublic(addrs []netip.Addr) bool {
	return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !public(a) })
}

// public reports whether addr belongs to the internet at large. Of IPv6 that is
// 2000::/3, which leaves out loopback, link-local, private and multicast
// addresses, those that are written in IPv4's (mapped, compatible) and both NAT64
// prefixes. Within it, and of IPv4, notPublic is left out.
func public(addr netip.Addr) bool {
	if addr.Zone() != "" || addr.Is6() && (!unicast.Contains(addr) || isISATAP(addr)) {
		return false
	}
	return addr.IsValid() && !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(addr) })
}

var unicast = netip.MustParsePrefix("2000::/3")

// isISATAP reports whether an IPv4 address stands in the interface's part (RFC 5214).
func isISATAP(addr netip.Addr) bool {
	b := addr.As16()
	return b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// notPublic is from IANA's registries of special-purpose addresses.
var notPublic = prefixes(
	"0.0.0.0/8",         // this network
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // carriers' NAT; metadata at one provider
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // a provider's metadata, at a public address
	"169.254.0.0/16",    // link-local, metadata
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments, metadata at one provider
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, broadcast
	"2001::/23",         // protocol assignments: Teredo, ORCHID, benchmarks
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}
