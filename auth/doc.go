// Package auth answers one question: may this key do this now?
//
// Gate.Identify turns a credential into an Identity, from a snapshot of
// keys.yaml in memory that Gate.Run keeps current; Gate.Anonymous does the same
// for a caller without one. A wrong key is refused, and an address that sends
// many of them is throttled, after the key was checked: a good key never waits.
//
// Gate.Admit then takes one of the tenant's slots for requests in progress and
// charges its limits in the Store, and returns a Lease that whoever got it must
// Release. The package takes strings, addresses and a context and knows nothing
// of HTTP.
package auth
