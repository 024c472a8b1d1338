package inbound

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// facts are what the rules see of one message for one recipient. They are filled in stages: a rule of a stage is asked when the facts of
// that stage are there and no rule before it has refused.
type facts struct {
	delivery  *eventpb.Delivery
	recipient string // canonical

	// stage envelope
	size     int
	envelope *dare.Envelope      // nil: cannot be read
	letter   *mesh.Letter        // nil: breaks the identifier rules
	verify   func() *mesh.Sender // once for all recipients: it is what costs most

	// stage sender
	sender    *mesh.Sender // nil: not signed, or not as it must be
	address   string       // the sender's address in the domain that transmits it; empty: none there
	fromOther bool         // another provider transmitted it

	// stage service
	serviceDomain string // of the sender's address
	accredited    bool   // the transmitting service is that of the domain

	// stage recipient
	asked    bool
	exists   bool
	standing *shardpb.PolicyResponse
}

// domainOf is the part of an address after the @.
func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}

// claims are the addresses that the service may vouch for: the Sender where the message names one, as that is what people are shown, and
// otherwise any address of the signer.
func (f *facts) claims() []string {
	if f.letter.Message == nil || f.letter.Message.Sender == "" {
		return f.sender.Addresses
	}
	if named, ok := f.sender.Named(f.letter.Message.Sender); ok {
		return []string{named}
	}
	return nil // refused by a rule before
}

// source is who transmitted the message: another service, or an account of ours.
func (f *facts) source() string {
	if f.fromOther {
		return udf.Canonical(f.delivery.GetServiceUdf())
	}
	return f.delivery.GetSenderAccount()
}

// identity is by what UDF the sender is known: of the ProfileAccount, or of its mesh when the profile has no signature of its own, since
// anybody can put anybody's key into such a profile.
func (f *facts) identity() string {
	if f.sender.UDF != "" {
		return f.sender.UDF
	}
	return f.sender.MeshUDF
}

// addressOf is the account that posted the message, when it is one of the signer's.
func addressOf(s *mesh.Sender, account string) string {
	if slices.Contains(s.Addresses, account) {
		return account
	}
	return ""
}

// inputs is what `meshctl message explain` shows of the facts: no content, no keys.
func (f *facts) inputs() string {
	in := struct {
		Sender     string   `json:"sender,omitempty"`
		Service    string   `json:"service,omitempty"`
		Accredited bool     `json:"accredited"`
		Type       string   `json:"type,omitempty"`
		Size       int      `json:"size"`
		Encrypted  bool     `json:"encrypted"`
		Contact    bool     `json:"contact"`
		Rights     []string `json:"rights,omitempty"`
		LivePIN    bool     `json:"live_pin"`
	}{
		Sender:     f.address,
		Service:    f.delivery.GetServiceUdf(),
		Accredited: f.accredited,
		Size:       f.size,
		Contact:    f.standing.GetContact(),
		Rights:     f.standing.GetRights(),
		LivePIN:    f.standing.GetLivePin(),
	}
	if f.letter != nil {
		in.Type, in.Encrypted = f.letter.Type, f.letter.Encrypted
	}
	text, err := json.Marshal(in)
	if err != nil { // strings, numbers and booleans only
		return "{}"
	}
	return string(text)
}

// class is the right that a message needs (FLOWS §9 step 6).
func class(messageType string) string {
	switch messageType {
	case mesh.TagRequestContact, mesh.TagReplyContact:
		return "Contact"
	case mesh.TagRequestConfirmation, mesh.TagResponseConfirmation:
		return "Confirmation"
	case mesh.TagGroupInvitation:
		return "Group"
	case mesh.TagRequestTask:
		return "Task"
	}
	return "Message"
}
