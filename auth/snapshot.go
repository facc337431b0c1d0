package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"net/netip"
	"time"
)

// snapshot is a key file made ready for look-ups. It is never changed: a new
// file makes a new snapshot.
type snapshot struct {
	keys      map[string]*keyState // by id
	anonymous *Identity            // of no address in particular; nil where not configured
	decoy     KeyHash              // random, compared with where there is no such key
	accounts  map[string]*account  // by tenant, also of former tenants still at work
}

type keyState struct {
	hash         KeyHash
	identity     *Identity
	expires      time.Time
	disabled     bool
	loopbackOnly bool
}

// newSnapshot joins a file with the accounts of its tenants.
func newSnapshot(file *KeyFile, accounts map[string]*account) *snapshot {
	s := &snapshot{keys: make(map[string]*keyState, len(file.Keys)), accounts: accounts}
	_, _ = rand.Read(s.decoy[:]) // never fails
	tenants := make(map[string]*Tenant, len(file.Tenants))
	for i := range file.Tenants {
		tenants[file.Tenants[i].Name] = &file.Tenants[i]
	}
	if t := tenants[AnonymousTenant]; t != nil {
		a := accounts[t.Name]
		s.anonymous = newIdentity(t, "", a, &a.slots, limitKey(t.Name, "others"))
	}
	for _, k := range file.Keys {
		a := accounts[k.Tenant]
		s.keys[k.ID] = &keyState{
			hash:         k.Hash,
			identity:     newIdentity(tenants[k.Tenant], k.ID, a, &a.slots, limitKey(k.Tenant, "")),
			expires:      k.Expires,
			disabled:     k.Disabled,
			loopbackOnly: k.LoopbackOnly,
		}
	}
	return s
}

// limitKey names a limit of requests in a store that replicas may share. A
// tenant's name holds no slash.
func limitKey(tenant, part string) string { return "requests/" + tenant + "/" + part }

// verify returns the identity of a key, or the reason why it has none. A key
// that is unknown takes as long as a wrong one, and one that is disabled or in
// the wrong place is told apart from a wrong one only after it was proven.
func (s *snapshot) verify(id string, sum KeyHash, peer netip.Addr, now time.Time) (*Identity, reason) {
	key, known := s.keys[id]
	want := &s.decoy
	if known {
		want = &key.hash
	}
	equal := subtle.ConstantTimeCompare(sum[:], want[:]) == 1
	switch {
	case !known:
		return nil, reasonUnknown
	case !equal:
		return nil, reasonWrong
	case key.disabled:
		return nil, reasonDisabled
	case !key.expires.IsZero() && !now.Before(key.expires):
		return nil, reasonExpired
	case key.loopbackOnly && !peer.Unmap().IsLoopback():
		return nil, reasonRemote
	}
	return key.identity, ""
}
