// Package make1 implements MAKE-1 (AUTH.md §3): mutual authentication of request and response by
// an X448 exchange or a ticket, carried in DARE envelopes. Both sides; no I/O, no clock, no stored state.
package make1

import (
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Suite is the `kwd` of an exchange.
const Suite = "mmm-make1-x448-sha2-512-a256gcm"

// Window is how far the time in a Salt may lie from the service's clock: 120 s (AUTH §4).
const Window = 120 * time.Second

// Mode is the Mode member of a credential.
type Mode string

// The three modes.
const (
	Device  Mode = "Device"
	Profile Mode = "Profile"
	Service Mode = "Service"
)

// Credential is what a caller shows, sealed in rkd.
type Credential struct {
	Mode      Mode             `json:"Mode"`
	Account   string           `json:"Account,omitempty"`
	Envelopes []*dare.Envelope `json:"Envelopes,omitempty"`
}

// Ticket is what a client keeps of an exchange.
type Ticket struct {
	Octets       []byte // opaque
	Secret       []byte // TS
	Domain       string
	ServiceKID   string // KEYUDF(S)
	ck0          []byte
	NotOnOrAfter time.Time
}

// ---- client ----

// Client seals requests for one service key.
type Client struct {
	Domain string         // target domain, lower-case A-label
	S      keys.PublicKey // service authentication key
	Holder keys.Holder    // holds the client's authentication key
	AuthKID string        // its name
}

// Pending is a request that waits for its answer: it opens exactly that answer.
type Pending struct{ _ struct{} }

// Exchange seals payload (request JSON) in an exchange; now goes into the Salt.
func (c *Client) Exchange(cred Credential, payload []byte, now time.Time) (*dare.Envelope, *Pending, error) {
	panic("stub")
}

// SealTicket seals payload under a ticket.
func (t *Ticket) Seal(payload []byte, now time.Time) (*dare.Envelope, *Pending, error) { panic("stub") }

// Answer is an opened answer.
type Answer struct {
	Payload  []byte
	Ticket   *Ticket    // of an exchange response that brought one
	Received *jbcd.Time // the service's time, when the header had it (always in sealed refusals)
}

// ErrHint: the answer is an unsigned hint, it proves nothing. Hint.Payload is what it says.
type Hint struct{ Payload []byte }

// Error implements error.
func (h *Hint) Error() string { panic("stub") }

// Open opens the answer to the request: exchange response, ticket response or sealed refusal. A plain envelope → *Hint. Everything else → an error.
func (p *Pending) Open(e *dare.Envelope) (*Answer, error) { panic("stub") }

// ---- service ----

// RequestKind is what Classify finds (AUTH §3.4).
type RequestKind uint8

// The kinds of requests.
const (
	KindNull RequestKind = iota
	KindExchange
	KindTicket
)

// Classify recognises the kind; anything malformed → error of kind mesh.NotAuthenticated.
func Classify(e *dare.Envelope) (RequestKind, error) { panic("stub") }

// Exchange is an exchange request at the service, opened step by step (AUTH §4). The order of calls is the order of checks.
type Exchange struct {
	Salt       []byte    // 24 octets
	Time       time.Time // from the Salt
	Credential *Credential
	Payload    []byte
}

// OpenExchange computes es and opens the credential (verification order step 5). serverKey says which S kid names;
// unknown → mesh.TicketInvalid. On an error after es is known the returned Exchange is not nil and Refuse seals.
func OpenExchange(e *dare.Envelope, domain string, serverKey func(kid string) (keys.Holder, bool)) (*Exchange, error) {
	panic("stub")
}

// ReplayKey names the request for the replay cache (E.u, Salt).
func (x *Exchange) ReplayKey() string { panic("stub") }

// Authenticate computes ss with the client's key (taken from the verified credential) and opens the payload.
func (x *Exchange) Authenticate(client keys.PublicKey) error { panic("stub") }

// Answer seals the response JSON. issue, when not nil, is called with the ticket secret and returns the opaque ticket and its end.
func (x *Exchange) Answer(payload []byte, now time.Time, issue func(secret []byte) (ticket []byte, notOnOrAfter time.Time, err error)) (*dare.Envelope, error) {
	panic("stub")
}

// Refuse seals a refusal under K_err with `Received` = now (caller not authenticated).
func (x *Exchange) Refuse(payload []byte, now time.Time) (*dare.Envelope, error) { panic("stub") }

// TicketRequest is a ticket request at the service.
type TicketRequest struct {
	Salt    []byte // first 24 octets
	Time    time.Time
	Content *TicketContent
	Payload []byte
}

// OpenTicket opens the ticket with the ring (no key opens, wrong type, suite, S or domain → mesh.TicketInvalid, result nil; expired → mesh.TicketExpired, result usable for Refuse;
// request does not open → mesh.NotAuthenticated, result usable for Refuse), then the payload.
func OpenTicket(e *dare.Envelope, domain string, serviceKIDs func(kid string) (sU []byte, ok bool), ring *Ring, now time.Time) (*TicketRequest, error) {
	panic("stub")
}

// ReplayKey names the request for the replay cache (kid, Salt).
func (t *TicketRequest) ReplayKey() string { panic("stub") }

// Answer seals the response JSON; received adds `Received` (every sealed refusal has it).
func (t *TicketRequest) Answer(payload []byte, now time.Time, received bool) (*dare.Envelope, error) {
	panic("stub")
}

// TicketContent is the plaintext of a ticket (AUTH §5): type octet first, binary, no rights.
type TicketContent struct {
	ServiceKID string
	Domain     string
	Secret     []byte
	Account    string // canonical address if local
	ProfileUDF string // ProfileAccount UDF; Service mode: UDF of the ProfileService
	DeviceUDF  string // Service mode: UDF of the ProfileHost
	AuthKID    string
	Mode       Mode
	Epoch      uint64
	Issued     time.Time
	Expires    time.Time
}

// Ring is the ticket key ring (D-53); safe for concurrent use, immutable after loading.
type Ring struct{ _ struct{} }

// RingEntry is one key of the ring file: a JSON array of {id, key, not_before}.
type RingEntry struct {
	ID        jbcd.Binary `json:"id"`  // 4 octets
	Key       jbcd.Binary `json:"key"` // 32 octets
	NotBefore jbcd.Time   `json:"not_before"`
}

// NewRing checks and holds entries.
func NewRing(entries []RingEntry) (*Ring, error) { panic("stub") }

// NewRingEntry makes a random one.
func NewRingEntry(notBefore time.Time) RingEntry { panic("stub") }

// SealTicket seals content under the newest entry valid at now.
func (r *Ring) SealTicket(c *TicketContent, now time.Time) ([]byte, error) { panic("stub") }

var _ = mesh.Internal
