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
	tenants   map[string]*Tenant
	accounts  map[string]*account // by tenant, also of former tenants still at work
}

type keyState struct {
	hash         KeyHash
	identity     *Identity
	expires      time.Time
	disabled     bool
	loopbackOnly bool
}

// newSnapshot joins a file with the accounts of its tenants. Of the snapshot
// before it, nil at first, it takes over what keys hold.
func newSnapshot(file *KeyFile, accounts map[string]*account, old *snapshot) *snapshot {
	s := &snapshot{keys: make(map[string]*keyState, len(file.Keys)), accounts: accounts}
	_, _ = rand.Read(s.decoy[:]) // never fails
	tenants := make(map[string]*Tenant, len(file.Tenants))
	for i := range file.Tenants {
		tenants[file.Tenants[i].Name] = &file.Tenants[i]
	}
	s.tenants = tenants
	owners := make(map[string]*scope, len(tenants))
	for name, t := range tenants {
		owners[name] = newScope("tenant/"+name, t.Limits, &accounts[name].slots)
	}
	if t := tenants[AnonymousTenant]; t != nil {
		s.anonymous = &Identity{Tenant: t, account: accounts[t.Name], owner: owners[t.Name]}
	}
	for _, k := range file.Keys {
		held := new(slots)
		if old != nil && old.keys[k.ID] != nil {
			held = old.keys[k.ID].identity.key.slots
		}
		s.keys[k.ID] = &keyState{
			hash: k.Hash,
			identity: &Identity{
				Tenant:  tenants[k.Tenant],
				KeyID:   k.ID,
				account: accounts[k.Tenant],
				owner:   owners[k.Tenant],
				key:     newScope("key/"+k.ID, k.Limits, held),
			},
			expires:      k.Expires,
			disabled:     k.Disabled,
			loopbackOnly: k.LoopbackOnly,
		}
	}
	return s
}

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
