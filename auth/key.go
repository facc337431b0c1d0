package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"sync"
	"time"
)

// A key reads sk-ocr-<id>-<secret>-<checksum>. The id finds the key's entry, the
// secret carries 256 random bits, and the checksum (CRC-32, IEEE, of all that
// stands before it) tells a typo from a wrong key without a look-up and lets
// secret scanners recognise a leaked key. It authenticates nothing.
const (
	keyPrefix      = "sk-ocr-"
	keyIDLength    = 8  // 40 random bits
	secretLength   = 52 // 256 random bits
	checksumLength = 8  // 32 bits in hexadecimal

	idStart      = len(keyPrefix)
	secretStart  = idStart + keyIDLength + 1
	checkedUntil = secretStart + secretLength
	keyLength    = checkedUntil + 1 + checksumLength
)

// MinPepperBytes is the shortest pepper that is accepted.
const MinPepperBytes = 16

// alphabet is Crockford's: no i, l, o, u, which are read for something else, and
// no '-', so that a double click marks one part and never half of it.
var alphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// errMalformed says that a text cannot be a key, whatever the key file holds.
var errMalformed = errors.New("not a key of this router, or mistyped")

// KeyHash is what is kept of a key: HMAC-SHA-256 of its text under the pepper.
// A slow hash would add nothing to a random secret of 256 bits, and would sell
// the router's CPU to whoever sends wrong keys.
type KeyHash [sha256.Size]byte

// KeyEntry is a key as keys.yaml keeps it. Its JSON has no hash; the admin API
// tells a key as PublicKey.
type KeyEntry struct {
	// ID is the part of the key that stands after sk-ocr-.
	ID string `yaml:"id" json:"id"`
	// Tenant is the name of the tenant that holds the key.
	Tenant string `yaml:"tenant" json:"tenant"`
	// Hash proves the key and does not tell it.
	Hash KeyHash `yaml:"hash" json:"-"`
	// Created is for people to read.
	Created time.Time `yaml:"created,omitempty" json:"created,omitzero"`
	// Expires is the moment from which the key is refused. Absent means never.
	Expires time.Time `yaml:"expires,omitempty" json:"expires,omitzero"`
	// Disabled keys are refused.
	Disabled bool `yaml:"disabled,omitempty" json:"disabled,omitempty"`
	// LoopbackOnly keys are refused from any peer but this machine.
	LoopbackOnly bool `yaml:"loopback_only,omitempty" json:"loopback_only,omitempty"`
	// Limits bound what this key may do, beside its tenant's: the tighter one counts.
	Limits Limits `yaml:"limits,omitempty" json:"limits"`
	// Note is for people to read.
	Note string `yaml:"note,omitempty" json:"note,omitempty"`
}

// States of a key, the first of these that holds.
const (
	KeyDisabled     = "disabled"
	KeyExpired      = "expired"
	KeyLoopbackOnly = "loopback_only"
	KeyActive       = "active"
)

// State says whether a key opens anything now.
func (e KeyEntry) State(now time.Time) string {
	switch {
	case e.Disabled:
		return KeyDisabled
	case !e.Expires.IsZero() && !now.Before(e.Expires):
		return KeyExpired
	case e.LoopbackOnly:
		return KeyLoopbackOnly
	}
	return KeyActive
}

// PublicKey is what may be told about a key: in the admin API and by the
// command line. Nothing in it helps to guess the key.
type PublicKey struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	// State is KeyDisabled, KeyExpired, KeyLoopbackOnly or KeyActive.
	State string `json:"state"`
	// Created and Expires are absent where they are not known, or never.
	Created      time.Time `json:"created,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
	LoopbackOnly bool      `json:"loopback_only,omitempty"`
	Note         string    `json:"note,omitempty"`
	Limits       Limits    `json:"limits"`
}

// Public returns what may be told about a key, with its state at a moment.
func (e KeyEntry) Public(now time.Time) PublicKey {
	return PublicKey{
		ID:           e.ID,
		Tenant:       e.Tenant,
		State:        e.State(now),
		Created:      e.Created,
		Expires:      e.Expires,
		LoopbackOnly: e.LoopbackOnly,
		Note:         e.Note,
		Limits:       e.Limits,
	}
}

// newKey returns a key and its id.
func newKey() (plaintext, id string) {
	var random [5 + 32]byte
	_, _ = rand.Read(random[:]) // never fails
	id = alphabet.EncodeToString(random[:5])
	checked := keyPrefix + id + "-" + alphabet.EncodeToString(random[5:])
	return checked + "-" + keyChecksum([]byte(checked)), id
}

func keyChecksum(checked []byte) string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(checked))
}

// hasher checks and hashes keys without allocating. Its buffers hold a secret
// only while it works.
type hasher struct {
	mac  hash.Hash
	text [keyLength]byte
	sum  KeyHash
}

// hashers hands out hashers of one pepper.
type hashers struct{ pool sync.Pool }

func newHashers(pepper []byte) (*hashers, error) {
	if len(pepper) < MinPepperBytes {
		return nil, fmt.Errorf("pepper has %d bytes, at least %d are needed", len(pepper), MinPepperBytes)
	}
	pepper = append([]byte(nil), pepper...)
	return &hashers{pool: sync.Pool{New: func() any {
		return &hasher{mac: hmac.New(sha256.New, pepper)}
	}}}, nil
}

// parse returns the id and the hash of a key, or errMalformed. The id is a part of key.
func (h *hashers) parse(key string) (id string, sum KeyHash, err error) {
	if len(key) != keyLength {
		return "", KeyHash{}, errMalformed
	}
	w := h.pool.Get().(*hasher)
	defer func() {
		clear(w.text[:])
		h.pool.Put(w)
	}()
	copy(w.text[:], key)
	if !wellFormed(w.text[:]) {
		return "", KeyHash{}, errMalformed
	}
	w.mac.Reset()
	w.mac.Write(w.text[:])
	w.mac.Sum(w.sum[:0])
	return key[idStart : idStart+keyIDLength], w.sum, nil
}

// wellFormed reports whether a text of keyLength has a key's shape and checksum.
func wellFormed(key []byte) bool {
	if string(key[:idStart]) != keyPrefix || key[secretStart-1] != '-' || key[checkedUntil] != '-' {
		return false
	}
	var sum uint32
	for _, c := range key[checkedUntil+1:] {
		switch {
		case '0' <= c && c <= '9':
			sum = sum<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			sum = sum<<4 | uint32(c-'a'+10)
		default:
			return false
		}
	}
	return sum == crc32.ChecksumIEEE(key[:checkedUntil])
}
