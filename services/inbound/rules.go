package inbound

import (
	"slices"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// stage says which facts a rule needs.
type stage int

// The stages, cheapest first.
const (
	stageEnvelope  stage = iota // the octets
	stageSender                 // signatures
	stageService                // discovery of the sender's domain, cached
	stageRecipient              // a question to the recipient's shard
	stages
)

// rule refuses messages. Its name is recorded with every verdict that it gives: do not change one without need.
type rule struct {
	name     string
	stage    stage
	kind     mesh.Kind // of the refusal
	incident bool      // smells of abuse: goes to the incident spool
	refuses  func(*facts, *Site) bool
}

// rules are asked in this order within a stage; a stage's rules after those of the one before. Of a message that no rule refuses it is accepted.
var rules = []rule{
	{
		name: "message-size", stage: stageEnvelope, kind: mesh.RequestSize,
		refuses: func(f *facts, _ *Site) bool { return f.size > mesh.MaxMessage },
	},
	{
		name: "message-form", stage: stageEnvelope, kind: mesh.MessageInvalid,
		refuses: func(f *facts, _ *Site) bool { return f.letter == nil },
	},
	{
		name: "type-of-own-devices", stage: stageEnvelope, kind: mesh.MessageUnsupported,
		refuses: func(f *facts, _ *Site) bool { return slices.Contains(private, f.letter.Type) },
	},
	{
		name: "type-unknown", stage: stageEnvelope, kind: mesh.MessageUnsupported,
		refuses: func(f *facts, _ *Site) bool {
			return !slices.Contains(private, f.letter.Type) && !slices.Contains(known, f.letter.Type)
		},
	},
	{
		name: "service-denied", stage: stageEnvelope, kind: mesh.ServiceBlockedService,
		refuses: func(f *facts, s *Site) bool { return f.fromOther && s.deniesService(f.delivery.GetServiceUdf(), "") },
	},
	{
		name: "report-to-abuse", stage: stageEnvelope, kind: mesh.MessageUnsupported,
		refuses: func(f *facts, _ *Site) bool { return (f.letter.Type == TagReport) != isAbuse(f.recipient) },
	},

	{
		name: "signature", stage: stageSender, kind: mesh.MessageInvalid, incident: true,
		refuses: func(f *facts, _ *Site) bool { return f.sender == nil },
	},
	{
		name: "sender-claimed", stage: stageSender, kind: mesh.MessageInvalid, incident: true,
		refuses: func(f *facts, _ *Site) bool { return f.claimsAnother() },
	},
	{
		name: "sender-not-transmitting", stage: stageSender, kind: mesh.MessageInvalid, incident: true,
		refuses: func(f *facts, _ *Site) bool { return !f.fromOther && f.address == "" },
	},

	{
		name: "service-domain-denied", stage: stageService, kind: mesh.ServiceBlockedService,
		refuses: func(f *facts, s *Site) bool { return f.fromOther && s.deniesService("", f.serviceDomain) },
	},
	{
		name: "service-not-allowed", stage: stageService, kind: mesh.ServiceBlockedService,
		refuses: func(f *facts, s *Site) bool {
			return f.fromOther && !s.allowsService(f.delivery.GetServiceUdf(), f.serviceDomain)
		},
	},
	{
		name: "service-accreditation", stage: stageService, kind: mesh.Unaccredited, incident: true,
		refuses: func(f *facts, _ *Site) bool { return f.fromOther && !f.accredited },
	},
	{
		name: "sender-denied", stage: stageService, kind: mesh.ServiceBlockedSender,
		refuses: func(f *facts, s *Site) bool { return s.deniesSender(f.address, f.identity()) },
	},

	{
		name: "recipient-unknown", stage: stageRecipient, kind: mesh.UnknownAccount,
		refuses: func(f *facts, _ *Site) bool { return !f.exists },
	},
	{
		name: "recipient-moved", stage: stageRecipient, kind: mesh.Redirect,
		refuses: func(f *facts, _ *Site) bool { return f.standing.GetRedirect() != "" },
	},
	{
		name: "recipient-blocked", stage: stageRecipient, kind: mesh.RecipientBlockedSender,
		refuses: func(f *facts, _ *Site) bool {
			return !isAbuse(f.recipient) && f.standing.GetState() != shardpb.AccountState_ACCOUNT_STATE_CONNECTED
		},
	},
	{
		name: "contact-blocked", stage: stageRecipient, kind: mesh.RecipientBlockedSender, incident: true,
		refuses: func(f *facts, _ *Site) bool { return f.may("Block") },
	},
	{
		name: "contact-pinned", stage: stageRecipient, kind: mesh.InsufficientPrivilege, incident: true,
		refuses: func(f *facts, _ *Site) bool { return f.standing.GetPinnedProfileUdf() != "" },
	},
	{
		name: "contact-right", stage: stageRecipient, kind: mesh.InsufficientPrivilege,
		refuses: func(f *facts, _ *Site) bool { return !f.admitted() },
	},
}

// private are messages between the devices of one account and its service: from outside they are never accepted (FLOWS §9 step 6).
var private = []string{
	mesh.TagMessageComplete, mesh.TagMessageError, mesh.TagRespondConnection, mesh.TagAcknowledgeConnection, mesh.TagRequestConnection,
	mesh.TagMessagePIN, mesh.TagMessageClaim,
}

// TagReport is a message to abuse@domain that shows another message (docs/divergences.md): it goes to the incident spool.
const TagReport = "MessageReport"

// known are the other types.
var known = []string{
	mesh.TagRequestContact, mesh.TagReplyContact, mesh.TagGroupInvitation, mesh.TagRequestConfirmation, mesh.TagResponseConfirmation,
	mesh.TagRequestTask, mesh.TagMessageText, TagReport,
}

// abuse is the local part to which reports are sent; nobody can have it as an account (D-11).
const abuse = "abuse"

func isAbuse(address string) bool {
	return len(address) > len(abuse) && address[:len(abuse)+1] == abuse+"@"
}

// claimsAnother: the sender in a readable message is none of the signer's addresses (D-29).
func (f *facts) claimsAnother() bool {
	if f.letter.Message == nil || f.letter.Message.Sender == "" {
		return false
	}
	a, err := mesh.ParseAddress(f.letter.Message.Sender)
	return err != nil || !slices.Contains(f.sender.Addresses, a.String())
}

func (f *facts) may(right string) bool { return slices.Contains(f.standing.GetRights(), right) }

// admitted is the user's policy: what a contact was granted; from anybody a RequestContact, and a ReplyContact with a live PIN.
func (f *facts) admitted() bool {
	switch f.letter.Type {
	case mesh.TagRequestContact, TagReport:
		return true
	case mesh.TagReplyContact:
		return f.standing.GetLivePin() || f.may("Contact")
	}
	return f.may(class(f.letter.Type))
}

// decide asks the rules of one stage.
func decide(s stage, f *facts, site *Site) *rule {
	for i := range rules {
		if rules[i].stage == s && rules[i].refuses(f, site) {
			return &rules[i]
		}
	}
	return nil
}
