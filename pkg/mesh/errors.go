package mesh

import (
	"errors"
	"fmt"
)

// Kind classifies an error. The list is closed: a new kind is mapped in services/internal/rpc and in the gateway, and shown in a test.
type Kind uint8

// The kinds that have a code of their own in the protocol carry the registry's name (PROTOCOL §5).
const (
	Internal                Kind = iota // unknown: its text stays in the log; 500
	AccountRegistered                   // 409/1
	ResponseNotFound                    // 400/2
	UnknownAccount                      // 404/3
	NameInvalid                         // 400/4
	AccountPending                      // 300/5 for CreateAccount, 401/5 for others
	ProfileInvalid                      // 400/6, also a member whose value cannot be
	NotAuthenticated                    // 401/7
	NotAuthorized                       // 401/8
	TicketExpired                       // 401/9, also when a fresh ticket is needed
	TicketInvalid                       // 401/10
	RequestStale                        // 401/11
	RequestSize                         // 400/12
	MessageInvalid                      // 400/13
	MessageUnsupported                  // 400/14
	ServiceBlockedSender                // 401/15
	ServiceBlockedService               // 401/16
	RecipientBlockedSender              // 401/17
	RecipientBlockedService             // 401/18
	InsufficientPrivilege               // 401/19
	Redirect                            // 303 or 307/20; Err's text is the target
	Conflict                            // 409/21
	UnknownContainer                    // 404/22
	QuotaExceeded                       // 400/23
	UnknownOperation                    // 400/24, also a transaction or member that this build does not have
	PublicationNotFound                 // 404/25
	ClaimInvalid                        // 401/26
	ResponsePending                     // 300/27
	ResponseRefused                     // 401/28
	ResponseExpired                     // 400/29
	CapabilityNotFound                  // 404/30
	RateLimited                         // 429/31
	Overloaded                          // 503/31: overload, no verdict, database away; try again
	EncodingUnsupported                 // 415/32
	EncryptionRequired                  // 401/33
	Unaccredited                        // 401/34
	PageKeyInvalid                      // 400/35
	BadRequest                          // 400 without extended code: malformed JSON, wrong type
	WrongShard                          // between roles only: the map is stale; 503/31 when it reaches the protocol
)

// Error is the one error type that crosses packages and roles.
type Error struct {
	Op   string // what was tried, as in "shard.Upload"
	Kind Kind
	Err  error // for the log; never shown to a client, but for Redirect
}

// E makes an Error.
func E(op string, kind Kind, err error) *Error { return &Error{Op: op, Kind: kind, Err: err} }

// Errorf makes an Error with a formatted inner text.
func Errorf(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Error gives operation, kind and inner text, for logs.
func (e *Error) Error() string {
	s := e.Op + ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the inner error.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, Internal when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Code is a main and an extended status code (PROTOCOL §5).
type Code struct {
	Status   int
	Extended int
}

type kindInfo struct {
	name string // of the registry; StatusDescription
	code Code
}

var kinds = map[Kind]kindInfo{
	Internal:                {"MeshServiceError", Code{500, 0}},
	AccountRegistered:       {"MeshAccountAlreadyRegistered", Code{409, 1}},
	ResponseNotFound:        {"MeshResponseNotFound", Code{400, 2}},
	UnknownAccount:          {"MeshUnknownAccount", Code{404, 3}},
	NameInvalid:             {"MeshAccountNameInvalid", Code{400, 4}},
	AccountPending:          {"MeshAccountPending", Code{401, 5}},
	ProfileInvalid:          {"MeshProfileInvalid", Code{400, 6}},
	NotAuthenticated:        {"MeshNotAuthenticated", Code{401, 7}},
	NotAuthorized:           {"MeshNotAuthorized", Code{401, 8}},
	TicketExpired:           {"MeshTicketExpired", Code{401, 9}},
	TicketInvalid:           {"MeshTicketInvalid", Code{401, 10}},
	RequestStale:            {"MeshRequestStale", Code{401, 11}},
	RequestSize:             {"MeshRequestSize", Code{400, 12}},
	MessageInvalid:          {"MeshMessageInvalid", Code{400, 13}},
	MessageUnsupported:      {"MeshMessageUnsupported", Code{400, 14}},
	ServiceBlockedSender:    {"MeshServiceBlockedSender", Code{401, 15}},
	ServiceBlockedService:   {"MeshServiceBlockedService", Code{401, 16}},
	RecipientBlockedSender:  {"MeshRecipientBlockedSender", Code{401, 17}},
	RecipientBlockedService: {"MeshRecipientBlockedService", Code{401, 18}},
	InsufficientPrivilege:   {"MeshMessageInsufficientPrivilege", Code{401, 19}},
	Redirect:                {"MeshRedirect", Code{303, 20}},
	Conflict:                {"MeshConflict", Code{409, 21}},
	UnknownContainer:        {"MeshUnknownContainer", Code{404, 22}},
	QuotaExceeded:           {"MeshQuotaExceeded", Code{400, 23}},
	UnknownOperation:        {"MeshUnknownOperation", Code{400, 24}},
	PublicationNotFound:     {"MeshPublicationNotFound", Code{404, 25}},
	ClaimInvalid:            {"MeshClaimInvalid", Code{401, 26}},
	ResponsePending:         {"MeshResponsePending", Code{300, 27}},
	ResponseRefused:         {"MeshResponseRefused", Code{401, 28}},
	ResponseExpired:         {"MeshResponseExpired", Code{400, 29}},
	CapabilityNotFound:      {"MeshCapabilityNotFound", Code{404, 30}},
	RateLimited:             {"MeshRateLimited", Code{429, 31}},
	Overloaded:              {"MeshRateLimited", Code{503, 31}},
	EncodingUnsupported:     {"MeshEncodingUnsupported", Code{415, 32}},
	EncryptionRequired:      {"MeshEncryptionRequired", Code{401, 33}},
	Unaccredited:            {"MeshServiceUnaccredited", Code{401, 34}},
	PageKeyInvalid:          {"MeshPageKeyInvalid", Code{400, 35}},
	BadRequest:              {"MeshRequestInvalid", Code{400, 0}},
	WrongShard:              {"MeshRateLimited", Code{503, 31}},
}

// Kinds lists every kind, for tests that each is mapped.
func Kinds() []Kind {
	var all []Kind
	for k := Internal; k <= WrongShard; k++ {
		all = append(all, k)
	}
	return all
}

// String is the registry's name of the kind, the StatusDescription of an answer.
func (k Kind) String() string {
	if i, ok := kinds[k]; ok {
		return i.name
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Code is the protocol's status for the kind.
func (k Kind) Code() Code { return kinds[k].code }

// KindOfCode is the inverse of Code, as a client reads an answer; Internal when unknown.
func KindOfCode(c Code) Kind {
	for k := Internal; k <= WrongShard; k++ {
		if kinds[k].code == c {
			return k
		}
	}
	for k := AccountRegistered; k <= PageKeyInvalid; k++ { // the registry's main codes are "typical"
		if c.Extended != 0 && kinds[k].code.Extended == c.Extended {
			return k
		}
	}
	return Internal
}
