// Package make1 implements MAKE-1: mutual authentication of request and response by an X448
// exchange (the Noise IK set es, ss | ee, se) or by a ticket that an exchange gave, carried in
// members that DARE envelopes have. draft-hallambaker-mesh-protocol-06 §4.3 asks for it and leaves
// it to a draft that never came; what stands here is docs/divergences.md "MAKE-1".
//
// The client seals with [Client.Exchange] or [Ticket.Seal] and opens the one answer with
// [Pending.Open]. The service recognises with [Classify], opens with [OpenExchange] and
// [Exchange.Authenticate] or with [OpenTicket], and seals with Answer or Refuse.
//
// Promised: an answer that opens was made by the holder of the service key for this very request;
// a request that opens was made by the holder of the client key for this domain and service key;
// responses and tickets stay secret when both static keys are lost later. Not promised: that a
// request is not a replay (the caller keeps ReplayKey and deduplicates), forward secrecy of the
// exchange request, and anything about a [Hint].
//
// The package does no I/O and has no clock; it stores nothing but the tickets that a [Ring] has opened lately. Every value made by it has its own
// ephemeral key and Salt; sealing twice never repeats a key. Slices handed in are not kept, but
// for the envelope's, which must not change while a request is open.
//
// The X25519 suite, optional for a service, is not built: the Mesh's own keys are X448.
package make1

import "time"

// Suite is the `kwd` of an exchange.
const Suite = "mmm-make1-x448-sha2-512-a256gcm"

// Window is how far the time in a Salt may lie from the service's clock, either way: enough for
// clocks that are kept by hand, short enough for a replay cache to hold.
const Window = 120 * time.Second

// Mode is the Mode member of a credential.
type Mode string

// The three modes. Which transactions a mode may call is the gateway's to say.
const (
	Device  Mode = "Device"  // a device by its own profile
	Profile Mode = "Profile" // a device connected to an account
	Service Mode = "Service" // a host of another service
)
