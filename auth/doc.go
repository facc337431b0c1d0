// Package auth answers one question: may this key do this now?
//
// Gate.Identify turns a credential into an Identity, from a snapshot of
// keys.yaml in memory that Gate.Run keeps current; Gate.Anonymous does the same
// for a caller without one. A wrong key is refused, and an address that sends
// many of them is throttled, after the key was checked: a good key never waits.
//
// Gate.Admit then charges one request to the limits of its scopes (tenant, key,
// route and the whole) in the Store, takes a slot for requests in progress of
// each, and returns a Lease that whoever got it must Release. What the body
// asks for is charged with Lease.Charge once it is known, all of it or nothing,
// and corrected by Lease.Settle when the work is done. The package takes
// strings, addresses and a context and knows nothing of HTTP.
package auth
